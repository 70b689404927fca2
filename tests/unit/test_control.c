/* The control socket's messages, there and back, and cut short. */
#include <string.h>

#include "common/core/control.h"
#include "unit.h"

/* One of each, with something in every field. */
static struct control_msg sample(enum control_type type)
{
    struct control_msg m = {.type = type};

    switch (type) {
    case CONTROL_HELLO:
        m.hello = (struct control_hello){1, 2, 3, 4, 5};
        break;
    case CONTROL_WELCOME:
        m.welcome = (struct control_welcome){1, 2, 3, 4};
        break;
    case CONTROL_HOLDING:
        m.holding = (struct control_holding){{1, 2}, 3, 4, 5};
        break;
    case CONTROL_WAKE:
        m.wake = (struct control_wake){1, 2, "acme.example"};
        break;
    case CONTROL_ROUTE:
        m.route = (struct control_route){
            1, 2, 3, 4, 5, CONTROL_CERTS_MAX, "acme", "http/1.1", {"k0", "k1", "k2", "k3"}};
        break;
    case CONTROL_READY:
        m.ready = (struct control_ready){1, 2, {3, 4}, 5, 4096, 8, 1, 6, 7};
        break;
    case CONTROL_REFUSED:
        m.refused = (struct control_refused){1, RC_FAILED, "why"};
        break;
    case CONTROL_ACTIVITY:
        m.activity = (struct control_activity){{1, 2}, 3, 4};
        break;
    case CONTROL_RELEASE:
        m.release = (struct control_release){{1, 2}, 1};
        break;
    case CONTROL_RELEASED:
    case CONTROL_BUSY:
    case CONTROL_GONE:
        m.instance = (struct control_instance){1, 2};
        break;
    case CONTROL_INVALIDATE:
        m.tenant = 1;
        break;
    case CONTROL_COMPLAINT:
        m.complaint = (struct control_complaint){{1, 2}, RC_UNMAPPED, "why"};
        break;
    case CONTROL_STATS:
        for (size_t i = 0; i < CONTROL_COUNTER_NR; i++)
            m.counters[i] = i + 1;
        break;
    case CONTROL_KEY:
    case CONTROL_FORGET:
        m.key = (struct control_key){1, "key"};
        break;
    case CONTROL_KEY_FILE:
        m.request = 1;
        break;
    case CONTROL_SYNCED:
        break;
    }
    return m;
}

static void each_message_comes_back_as_it_was(void **state)
{
    uint8_t buf[CONTROL_SIZE_MAX], again[CONTROL_SIZE_MAX];
    size_t len, len2;

    (void)state;
    for (int type = CONTROL_HELLO; type <= CONTROL_FORGET; type++) {
        struct control_msg m = sample((enum control_type)type), out;

        assert_int_equal(control_encode(&m, buf, sizeof buf, &len), RC_OK);
        assert_int_equal(control_decode(buf, len, &out), RC_OK);
        assert_int_equal(out.type, type);
        assert_int_equal(control_encode(&out, again, sizeof again, &len2), RC_OK);
        assert_int_equal(len, len2);
        assert_memory_equal(buf, again, len);
        assert_int_equal(control_fds(&m), control_fds(&out));
    }
}

static void a_message_cut_short_or_with_a_byte_behind_it_is_malformed(void **state)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    (void)state;
    for (int type = CONTROL_HELLO; type <= CONTROL_FORGET; type++) {
        struct control_msg m = sample((enum control_type)type), out;

        assert_int_equal(control_encode(&m, buf, sizeof buf - 1, &len), RC_OK);
        for (size_t n = 0; n < len; n++)
            assert_int_equal(control_decode(buf, n, &out), RC_MALFORMED);
        buf[len] = 0;
        assert_int_equal(control_decode(buf, len + 1, &out), RC_MALFORMED);
    }
}

static void an_unknown_type_and_too_many_certificates_are_refused(void **state)
{
    struct control_msg m = sample(CONTROL_ROUTE), out;
    uint8_t buf[CONTROL_SIZE_MAX] = {0};
    size_t len;

    (void)state;
    assert_int_equal(control_decode(buf, 1, &out), RC_MALFORMED);
    buf[0] = CONTROL_FORGET + 1;
    assert_int_equal(control_decode(buf, 1, &out), RC_MALFORMED);
    m.route.certs = CONTROL_CERTS_MAX + 1;
    assert_int_equal(control_encode(&m, buf, sizeof buf, &len), RC_OK);
    assert_int_equal(control_decode(buf, len, &out), RC_MALFORMED);
}

static void descriptors_come_with_route_ready_and_key_file_only(void **state)
{
    (void)state;
    for (int type = CONTROL_HELLO; type <= CONTROL_FORGET; type++) {
        struct control_msg m = sample((enum control_type)type);
        size_t want = type == CONTROL_ROUTE      ? CONTROL_CERTS_MAX
                      : type == CONTROL_READY    ? 3
                      : type == CONTROL_KEY_FILE ? 1
                                                 : 0;

        assert_int_equal(control_fds(&m), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_comes_back_as_it_was),
        cmocka_unit_test(a_message_cut_short_or_with_a_byte_behind_it_is_malformed),
        cmocka_unit_test(an_unknown_type_and_too_many_certificates_are_refused),
        cmocka_unit_test(descriptors_come_with_route_ready_and_key_file_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
