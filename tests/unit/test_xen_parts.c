/* What a tenant writes into its vchan's page, and names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/backend/xen/xen_channel.h"
#include "orchestrator/backend/xen/xen_event.h"
#include "orchestrator/backend/xen/xen_name.h"
#include "tests/unit/unit.h"

/* A page of such orders; its grants count up from 100. */
static void page(void *copy, unsigned left, unsigned right)
{
    const uint16_t orders[] = {(uint16_t)left, (uint16_t)right};

    memset(copy, 0, RING_PAGE_SIZE);
    memcpy((char *)copy + offsetof(struct ring_page, left_order), orders, sizeof orders);
    for (uint32_t n = 0, ref; n < XEN_GRANTS_MAX; n++) {
        ref = 100 + n;
        memcpy((char *)copy + offsetof(struct ring_page, grants) + 4 * n, &ref, 4);
    }
}

static void a_page_names_its_rings(void **state)
{
    static struct xen_grants g;
    char copy[RING_PAGE_SIZE];

    (void)state;
    page(copy, 17, 18);
    assert_int_equal(xen_channel_grants(copy, 8, &g), RC_OK);
    assert_int_equal(g.nr, 1 + 32 + 64);
    assert_int_equal(g.bytes, ring_bytes(17, 18));
    assert_int_equal(g.ref[0], 8);
    for (uint32_t n = 1; n < g.nr; n++)
        assert_int_equal(g.ref[n], 99 + n);
}

static void a_page_that_lies_is_refused(void **state)
{
    static const unsigned bad[][2] = {
        {11, 12},
        {12, 11},
        {0, 0},
        {LAUNCH_LEFT_ORDER + 1, 12},
        {12, LAUNCH_RIGHT_ORDER + 1},
        {20, 20},
        {65535, 12},
        {12, 65535},
    };
    static struct xen_grants g;
    char copy[RING_PAGE_SIZE];

    (void)state;
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        page(copy, bad[n][0], bad[n][1]);
        assert_int_equal(xen_channel_grants(copy, 8, &g), RC_MALFORMED);
    }
    page(copy, RING_ORDER_MIN, RING_ORDER_MIN);
    assert_int_equal(xen_channel_grants(copy, 8, &g), RC_OK);
    assert_int_equal(g.nr, 3);
}

/* A worker can write to the page of its channel: what it names there must not get it
 * another's. */
static void channels_that_share_a_page_are_refused(void **state)
{
    static struct xen_grants all[2];
    char copy[RING_PAGE_SIZE];

    (void)state;
    page(copy, 12, 13);
    assert_int_equal(xen_channel_grants(copy, 8, &all[0]), RC_OK);
    assert_int_equal(xen_channel_grants(copy, 9, &all[1]), RC_OK);
    assert_false(xen_channels_apart(all, 2)); /* both name 100 to 102 */
    for (unsigned n = 1; n < all[1].nr; n++)
        all[1].ref[n] += 3;
    assert_true(xen_channels_apart(all, 2));
    all[1].ref[2] = all[0].ref[0];
    assert_false(xen_channels_apart(all, 2));
    all[1].ref[2] = all[1].ref[1];
    assert_false(xen_channels_apart(all, 2));
    all[1].ref[2] = 1; /* xenstore's */
    assert_false(xen_channels_apart(all, 2));
}

static void what_is_no_channel_is_not_opened(void **state)
{
    const struct xen_vchan vchan = {.ring_ref = 8, .port = 3};
    struct xen_bell bell = {.fd = -1};
    struct xen_grants g;

    (void)state;
    if (access("/dev/xen/gntdev", F_OK) == 0)
        skip();
    assert_int_equal(xen_channels_look(1, &vchan, 1, &g), RC_IO);
    assert_int_equal(xen_bell_bind(&bell, 1, 3), RC_IO);
    assert_int_equal(bell.fd, -1);
}

static void a_name_says_whose_it_is(void **state)
{
    char name[XEN_NAME_MAX], prefix[XEN_NAME_MAX], text[XEN_UUID_TEXT], tenant[200];
    uint8_t uuid[XEN_UUID_SIZE], again[XEN_UUID_SIZE];
    struct xen_house house;

    (void)state;
    assert_int_equal(xen_house_of("/nonexistent", &house), RC_NOT_FOUND);
    assert_int_equal(xen_house_of("/tmp", &house), RC_OK);
    assert_int_equal(strlen(house.text), 8);
    xen_name_prefix(&house, prefix);
    assert_int_equal(xen_name_instance(&house, "acme", 12, name), RC_OK);
    assert_int_equal(strncmp(name, prefix, strlen(prefix)), 0);
    assert_string_equal(name + strlen(prefix), "acme-12");
    memset(tenant, 'a', sizeof tenant);
    tenant[sizeof tenant - 1] = '\0';
    assert_int_equal(xen_name_instance(&house, tenant, 12, name), RC_INVAL);

    assert_int_equal(xen_uuid_new(&house, uuid), RC_OK);
    assert_memory_equal(uuid, house.tag, sizeof house.tag);
    xen_uuid_text(uuid, text);
    assert_int_equal(strncmp(text, house.text, 8), 0);
    assert_true(xen_uuid_parse(text, again));
    assert_memory_equal(uuid, again, sizeof uuid);
    xen_name_pool(&house, uuid, name);
    assert_int_equal(strncmp(name, prefix, strlen(prefix)), 0);
    assert_string_equal(name + strlen(prefix) + 5, text + 24);
}

static void a_packet_that_is_no_event_is_refused(void **state)
{
    struct xen_event e = {.type = XEN_DONE}, out;

    (void)state;
    assert_true(xen_event_take(&e, sizeof e, &out));
    assert_false(xen_event_take(&e, sizeof e - 1, &out));
    assert_false(xen_event_take(&e, 0, &out));
    e.type = 0;
    assert_false(xen_event_take(&e, sizeof e, &out));
    e.type = XEN_USAGE + 1;
    assert_false(xen_event_take(&e, sizeof e, &out));
    e = (struct xen_event){.type = XEN_DONE, .rc = RC_NR};
    assert_false(xen_event_take(&e, sizeof e, &out));
    e = (struct xen_event){.type = XEN_DONE, .channels = LAUNCH_CHANNELS_MAX + 1};
    assert_false(xen_event_take(&e, sizeof e, &out));
    e = (struct xen_event){.type = XEN_CHECK, .level = XEN_LEVEL_FAULT + 1};
    assert_false(xen_event_take(&e, sizeof e, &out));
    e = (struct xen_event){.type = XEN_DONE};
    memset(e.text, 'a', sizeof e.text);
    assert_false(xen_event_take(&e, sizeof e, &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_names_its_rings),
        cmocka_unit_test(a_page_that_lies_is_refused),
        cmocka_unit_test(channels_that_share_a_page_are_refused),
        cmocka_unit_test(what_is_no_channel_is_not_opened),
        cmocka_unit_test(a_name_says_whose_it_is),
        cmocka_unit_test(a_packet_that_is_no_event_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
