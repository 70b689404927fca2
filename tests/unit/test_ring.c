/* The ring: wrap, fullness, a peer that lies, the doorbell's protocol, the next
 * client. */
#include <stdlib.h>
#include <string.h>

#include "common/core/ring.h"
#include "tests/unit/unit.h"

#define ORDER 12
#define SIZE  4096u

static void *memory;
static struct ring server, client;
static struct ring_page *page;

static int setup(void **state)
{
    size_t len = ring_bytes(ORDER, ORDER + 1);

    (void)state;
    memory = aligned_alloc(RING_PAGE_SIZE, len);
    assert_non_null(memory);
    memset(memory, 0, len);
    ring_format(memory, ORDER, ORDER + 1);
    page = memory;
    assert_int_equal(ring_attach(&server, memory, len, RING_SERVER), RC_OK);
    assert_int_equal(ring_peer(&server), RING_WAITING);
    assert_int_equal(ring_attach(&client, memory, len, RING_CLIENT), RC_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

static void write_bytes(struct ring *r, const void *data, uint32_t len)
{
    struct ring_span span;
    uint32_t room;

    assert_int_equal(ring_writable(r, &span, &room), RC_OK);
    assert_true(room >= len);
    assert_true(ring_span_fill(&span, 0, data, len));
    ring_publish(r, len);
}

static void expect_bytes(struct ring *r, const void *data, uint32_t len)
{
    struct ring_span span;
    uint8_t got[2 * SIZE];
    uint32_t n;

    assert_int_equal(ring_readable(r, &span, &n), RC_OK);
    assert_int_equal(n, len);
    assert_int_equal(span.len[0] + span.len[1], len);
    assert_true(ring_span_copy(&span, 0, got, len));
    assert_memory_equal(got, data, len);
    ring_consume(r, len);
}

static void bytes_come_out_as_they_went_in_both_ways(void **state)
{
    (void)state;
    write_bytes(&client, "to the tenant", 13);
    write_bytes(&server, "to the front", 12);
    expect_bytes(&server, "to the tenant", 13);
    expect_bytes(&client, "to the front", 12);
    expect_bytes(&server, "", 0);
}

static void every_place_of_the_end_is_wrapped_around(void **state)
{
    uint8_t data[100];

    (void)state;
    for (uint32_t i = 0; i < 3 * SIZE; i++) {
        memset(data, (int)i, sizeof data);
        write_bytes(&client, data, i % 99 + 1);
        expect_bytes(&server, data, i % 99 + 1);
    }
}

static void a_full_ring_has_no_room_and_all_its_bytes(void **state)
{
    struct ring_span span;
    uint8_t data[SIZE];
    uint32_t n;

    (void)state;
    for (uint32_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7);
    write_bytes(&client, data, 1000); /* so that it wraps */
    expect_bytes(&server, data, 1000);
    write_bytes(&client, data, SIZE);
    assert_int_equal(ring_writable(&client, &span, &n), RC_OK);
    assert_int_equal(n, 0);
    assert_int_equal(span.len[0] + span.len[1], 0);
    expect_bytes(&server, data, SIZE);
}

static void indices_run_past_32_bits(void **state)
{
    (void)state;
    atomic_store(&page->left.prod, UINT32_MAX - 5);
    atomic_store(&page->left.cons, UINT32_MAX - 5);
    assert_int_equal(ring_attach(&server, memory, ring_bytes(ORDER, ORDER + 1), RING_SERVER),
                     RC_OK);
    assert_int_equal(ring_attach(&client, memory, ring_bytes(ORDER, ORDER + 1), RING_CLIENT),
                     RC_OK);
    write_bytes(&client, "across the end", 14);
    expect_bytes(&server, "across the end", 14);
    assert_int_equal(atomic_load(&page->left.cons), 8);
}

static void a_producer_index_is_good_up_to_the_edge_only(void **state)
{
    struct ring_span span;
    uint32_t n;

    (void)state;
    atomic_store(&page->left.prod, SIZE);
    assert_int_equal(ring_readable(&server, &span, &n), RC_OK);
    assert_int_equal(n, SIZE);
    atomic_store(&page->left.prod, SIZE + 1);
    assert_int_equal(ring_readable(&server, &span, &n), RC_MALFORMED);
    atomic_store(&page->left.prod, UINT32_MAX); /* before what was read */
    assert_int_equal(ring_readable(&server, &span, &n), RC_MALFORMED);
}

static void a_consumer_index_is_good_up_to_the_edge_only(void **state)
{
    struct ring_span span;
    uint32_t n;

    (void)state;
    ring_publish(&server, 10);
    atomic_store(&page->right.cons, 10);
    assert_int_equal(ring_writable(&server, &span, &n), RC_OK);
    assert_int_equal(n, 2 * SIZE);
    atomic_store(&page->right.cons, 11); /* more than was written */
    assert_int_equal(ring_writable(&server, &span, &n), RC_MALFORMED);
    atomic_store(&page->right.cons, 10 - 2 * SIZE);
    assert_int_equal(ring_writable(&server, &span, &n), RC_OK);
    assert_int_equal(n, 0);
    atomic_store(&page->right.cons, 9 - 2 * SIZE);
    assert_int_equal(ring_writable(&server, &span, &n), RC_MALFORMED);
}

static void our_own_indices_are_never_read_back(void **state)
{
    struct ring_span span;
    uint32_t n;

    (void)state;
    write_bytes(&client, "abc", 3);
    atomic_store(&page->left.cons, 12345);
    atomic_store(&page->right.prod, 12345);
    expect_bytes(&server, "abc", 3);
    assert_int_equal(ring_writable(&server, &span, &n), RC_OK);
    assert_int_equal(n, 2 * SIZE);
    ring_publish(&server, 1);
    assert_int_equal(atomic_load(&page->right.prod), 1);
    assert_int_equal(atomic_load(&page->left.cons), 3);
}

static void orders_that_do_not_fit_the_memory_are_refused(void **state)
{
    static const uint16_t bad[] = {0, RING_ORDER_MIN - 1, ORDER + 1, RING_ORDER_MAX + 1, 32, 65535};
    size_t len = ring_bytes(ORDER, ORDER + 1);
    struct ring r;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        page->left_order = bad[i];
        assert_int_equal(ring_attach(&r, memory, len, RING_CLIENT), RC_MALFORMED);
    }
    page->left_order = ORDER;
    assert_int_equal(ring_attach(&r, memory, len - 1, RING_CLIENT), RC_MALFORMED);
    assert_int_equal(ring_attach(&r, memory, 10, RING_CLIENT), RC_MALFORMED);
    assert_int_equal(ring_attach(&r, memory, len, RING_CLIENT), RC_OK);
}

static void a_doorbell_is_owed_once_for_each_asking(void **state)
{
    (void)state;
    /* Each is told of the other's first write without asking. */
    assert_true(ring_must_notify(&client, RING_NOTIFY_WRITE));
    assert_false(ring_must_notify(&client, RING_NOTIFY_WRITE));
    assert_true(ring_must_notify(&server, RING_NOTIFY_WRITE));

    assert_false(ring_must_notify(&client, RING_NOTIFY_READ));
    ring_want(&server, RING_NOTIFY_READ);
    assert_false(ring_must_notify(&client, RING_NOTIFY_WRITE)); /* it asked for the other */
    assert_true(ring_must_notify(&client, RING_NOTIFY_READ));
    assert_false(ring_must_notify(&client, RING_NOTIFY_READ));

    ring_want(&server, RING_NOTIFY_READ | RING_NOTIFY_WRITE);
    assert_true(ring_must_notify(&client, RING_NOTIFY_WRITE));
    assert_true(ring_must_notify(&client, RING_NOTIFY_READ));
    assert_false(ring_must_notify(&server, RING_NOTIFY_WRITE)); /* the client asked nothing */
}

static void leaving_is_seen_and_a_server_opens_anew(void **state)
{
    (void)state;
    assert_int_equal(ring_peer(&server), RING_CONNECTED);
    assert_int_equal(ring_peer(&client), RING_CONNECTED);
    write_bytes(&client, "lost", 4);
    ring_leave(&client);
    assert_int_equal(ring_peer(&server), RING_GONE);

    ring_reopen(&server);
    assert_int_equal(ring_peer(&server), RING_WAITING);
    expect_bytes(&server, "", 0);
    write_bytes(&server, "before it came", 14);
    assert_int_equal(ring_attach(&client, memory, ring_bytes(ORDER, ORDER + 1), RING_CLIENT),
                     RC_OK);
    assert_int_equal(ring_peer(&server), RING_CONNECTED);
    expect_bytes(&client, "before it came", 14);
    assert_true(ring_must_notify(&client, RING_NOTIFY_WRITE));

    ring_leave(&server);
    assert_int_equal(ring_peer(&client), RING_GONE);
}

static void a_liveness_that_is_none_is_gone(void **state)
{
    (void)state;
    atomic_store(&page->cli_live, 77);
    assert_int_equal(ring_peer(&server), RING_GONE);
}

static void a_span_is_cut_across_its_seam(void **state)
{
    uint8_t a[4] = "abc", b[4] = "def", out[8] = {0};
    struct ring_span span = {{a, b}, {3, 3}}, cut = ring_span_cut(&span, 2, 3);

    (void)state;
    assert_int_equal(cut.len[0], 1);
    assert_int_equal(cut.len[1], 2);
    assert_true(ring_span_copy(&cut, 0, out, 3));
    assert_string_equal((char *)out, "cde");
    assert_false(ring_span_copy(&cut, 0, out, 4));
    assert_false(ring_span_copy(&span, 4, out, 3));
    assert_false(ring_span_fill(&span, 6, out, 1));
    cut = ring_span_cut(&span, 9, 3);
    assert_int_equal(cut.len[0] + cut.len[1], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_come_out_as_they_went_in_both_ways),
        TEST(every_place_of_the_end_is_wrapped_around),
        TEST(a_full_ring_has_no_room_and_all_its_bytes),
        TEST(indices_run_past_32_bits),
        TEST(a_producer_index_is_good_up_to_the_edge_only),
        TEST(a_consumer_index_is_good_up_to_the_edge_only),
        TEST(our_own_indices_are_never_read_back),
        TEST(orders_that_do_not_fit_the_memory_are_refused),
        TEST(a_doorbell_is_owed_once_for_each_asking),
        TEST(leaving_is_seen_and_a_server_opens_anew),
        TEST(a_liveness_that_is_none_is_gone),
        cmocka_unit_test(a_span_is_cut_across_its_seam),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
