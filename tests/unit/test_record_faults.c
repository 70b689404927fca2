/* What the record layer makes of a peer at fault: nothing of it gets through, and no key
 * is left behind.  Which alert it owes for what is in test_record_alerts.c. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/record_pair.h"

static uint8_t buf[4 * RECORD_WIRE_MAX];

static void a_limit_that_was_agreed_on_holds(void **state)
{
    const uint16_t suites[] = {AES_13, AES_12, CHACHA_12};
    uint8_t text[101] = {1};
    struct handover h;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fixture_handover(suites[i], &h);
        h.in.record_limit = 100;
        pair_begin_with(&h);
        assert_int_equal(pair_send(TLS_DATA, text, 100), RC_OK);
        assert_int_equal(pair_send(TLS_DATA, text, 101), RC_TOO_LARGE);
        pair_expect_refusal(RC_TOO_LARGE, TLS_RECORD_OVERFLOW);
        pair_end();
    }
    /* In TLS 1.3 padding counts (RFC 8449, 4). */
    fixture_handover(AES_13, &h);
    h.in.record_limit = 100;
    pair_begin_with(&h);
    size_t used, size = fixture_seal(&client, TLS_DATA, text, 50, 51, buf);
    assert_int_equal(pair_give(buf, size, &used), RC_TOO_LARGE);
    pair_expect_refusal(RC_TOO_LARGE, TLS_RECORD_OVERFLOW);
    pair_end();
}

/*----- changed on the way -----*/

static void no_byte_of_a_record_can_be_changed(void **state)
{
    const uint16_t suites[] = {0x1301, 0x1302, 0x1303, AES_12, 0xc030, CHACHA_12};
    const char text[] = "the quick brown fox jumps over it";

    (void)state;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        size_t size = 1;

        for (size_t at = 0; at < size; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                size_t used;
                enum rc rc;

                pair_begin(suites[i]);
                size = fixture_seal(&client, TLS_DATA, text, sizeof text, 0, buf);
                buf[at] ^= (uint8_t)(1u << bit);
                rc = pair_give(buf, size, &used);
                assert_int_not_equal(rc, RC_OK);
                if (rc == RC_AGAIN) /* its length grew: it waits for what never comes */
                    assert_true(at == 3 || at == 4);
                else if (at >= RECORD_HEAD_SIZE)
                    pair_expect_refusal(RC_CRYPTO, TLS_BAD_RECORD_MAC);
                assert_null(memmem(buf, size, text, sizeof text));
                pair_end();
            }
        }
        assert_true(size > sizeof text + 20);
    }
}

static void records_cannot_be_replayed_dropped_or_swapped(void **state)
{
    const uint16_t suites[] = {AES_13, AES_12, CHACHA_12};
    uint8_t first[64], second[64];
    size_t size, used;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        pair_begin(suites[i]);
        size = fixture_seal(&client, TLS_DATA, "1", 1, 0, first);
        memcpy(buf, first, size);
        memcpy(buf + size, first, size);
        assert_int_equal(pair_give(buf, 2 * size, &used), RC_OK);
        assert_int_equal(used, size);
        assert_int_equal(pair_give(buf + size, size, &used), RC_CRYPTO);
        pair_end();

        pair_begin(suites[i]);
        size = fixture_seal(&client, TLS_DATA, "1", 1, 0, first);
        size = fixture_seal(&client, TLS_DATA, "2", 1, 0, second);
        assert_int_equal(pair_give(second, size, &used), RC_CRYPTO);
        pair_end();
    }
}

static void a_stream_that_is_cut_is_known(void **state)
{
    size_t size, used;

    (void)state;
    pair_begin(AES_13);
    size = fixture_seal(&client, TLS_DATA, "all of it", 9, 0, buf);
    for (size_t len = 0; len < size; len++) {
        assert_int_equal(pair_give(buf, len, &used), RC_AGAIN);
        assert_int_equal(used, 0);
        assert_int_equal(record_eof(&tenant), RC_MALFORMED);
    }
    assert_int_equal(pair_give(buf, size, &used), RC_OK);
    assert_int_equal(record_eof(&tenant), RC_MALFORMED);
    assert_int_equal(pair_send(TLS_ALERT, "\x01", 2), RC_CLOSED);
    assert_int_equal(record_eof(&tenant), RC_OK);
    assert_wiped(&tenant.in, sizeof tenant.in);
    pair_end();
}

/*----- floods -----*/

static void flood(uint16_t suite, uint8_t type, const char *text, size_t len, unsigned most)
{
    pair_begin(suite);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < most; i++) {
            assert_int_equal(pair_send(type, text, len), RC_AGAIN);
            if (type == TLS_HANDSHAKE)
                assert_int_equal(record_key_update(&client.out), RC_OK);
        }
        assert_int_equal(pair_send(TLS_DATA, "x", 1), RC_OK);
    }
    for (unsigned i = 0; i < most; i++) {
        assert_int_equal(pair_send(type, text, len), RC_AGAIN);
        if (type == TLS_HANDSHAKE)
            assert_int_equal(record_key_update(&client.out), RC_OK);
    }
    assert_int_equal(pair_send(type, text, len), RC_MALFORMED);
    pair_expect_refusal(RC_MALFORMED, TLS_UNEXPECTED_MESSAGE);
    pair_end();
}

static void floods_without_data_end_the_connection(void **state)
{
    (void)state;
    flood(AES_13, TLS_DATA, "", 0, RECORD_EMPTY_MAX);
    flood(AES_12, TLS_DATA, "", 0, RECORD_EMPTY_MAX);
    flood(AES_13, TLS_HANDSHAKE, "\x18\0\0\x01\0", 5, RECORD_KEY_UPDATE_MAX);
    flood(AES_13, TLS_ALERT, "\x01\x5a", 2, RECORD_WARNING_MAX);
    flood(CHACHA_12, TLS_ALERT, "\x01\x64", 2, RECORD_WARNING_MAX);
}

/*----- alerts of the peer, ends of our own -----*/

static void a_fatal_alert_is_not_answered(void **state)
{
    const struct {
        uint16_t suite;
        const char *alert;
    } cases[] = {{AES_13, "\x02\x28"}, {AES_13, "\x01\x28"}, {AES_12, "\x02\x28"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t out[64];
        size_t used, written;

        pair_begin(cases[i].suite);
        assert_int_equal(pair_send(TLS_ALERT, cases[i].alert, 2), RC_CANCELED);
        assert_int_equal(record_alert(&tenant), 0x28);
        assert_false(record_pending(&tenant));
        assert_wiped(&tenant.in, sizeof tenant.in);
        assert_wiped(&tenant.out, sizeof tenant.out);
        assert_int_equal(record_write(&tenant, 0, "x", 1, &used, out, sizeof out, &written),
                         RC_CLOSED);
        assert_int_equal(written, 0);
        assert_int_equal(record_eof(&tenant), RC_MALFORMED);
        pair_end();
    }
}

static void user_canceled_is_followed_by_close_notify(void **state)
{
    (void)state;
    pair_begin(AES_13);
    assert_int_equal(pair_send(TLS_ALERT, "\x01\x5a", 2), RC_AGAIN);
    assert_int_equal(pair_send(TLS_ALERT, "\x01\0", 2), RC_CLOSED);
    pair_end();
}

static void we_can_give_up_ourselves(void **state)
{
    uint8_t more[] = "more";
    size_t used;

    (void)state;
    pair_begin(AES_13);
    record_fail(&tenant, TLS_INTERNAL_ERROR);
    assert_int_equal(pair_give(more, sizeof more, &used), RC_CANCELED);
    assert_int_equal(used, sizeof more);
    assert_wiped(&tenant.in, sizeof tenant.in);
    pair_expect_last_alert(TLS_FATAL, TLS_INTERNAL_ERROR);
    pair_end();
}

static void renegotiation_is_refused_once_with_a_warning(void **state)
{
    uint8_t out[256], type, *text;
    size_t used, written, len, at;

    (void)state;
    pair_begin(AES_12);
    /* In pieces of a byte, as an evil client would. */
    for (const char *p = "\x01\0\0\x03hey", *e = p + 7; p < e; p++) {
        assert_false(record_pending(&tenant));
        assert_int_equal(pair_send(TLS_HANDSHAKE, p, 1), RC_AGAIN);
    }
    assert_true(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, "data", 4, &used, out, sizeof out, &written), RC_OK);
    at = fixture_open(&client, out, written, &type, &text, &len);
    assert_int_equal(type, TLS_ALERT);
    assert_memory_equal(text, "\x01\x64", 2);
    fixture_open(&client, out + at, written - at, &type, &text, &len);
    assert_int_equal(type, TLS_DATA);
    assert_memory_equal(text, "data", 4);
    assert_int_equal(pair_send(TLS_DATA, "goes on", 7), RC_OK);
    assert_int_equal(pair_send(TLS_HANDSHAKE, "\x01", 1), RC_MALFORMED);
    pair_expect_refusal(RC_MALFORMED, TLS_UNEXPECTED_MESSAGE);
    pair_end();
}

static void dispose_leaves_nothing(void **state)
{
    (void)state;
    pair_begin(AES_13);
    record_dispose(&tenant);
    assert_wiped(&tenant, sizeof tenant);
    record_dispose(&tenant);
    fixture_client_dispose(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_that_was_agreed_on_holds),
        cmocka_unit_test(no_byte_of_a_record_can_be_changed),
        cmocka_unit_test(records_cannot_be_replayed_dropped_or_swapped),
        cmocka_unit_test(a_stream_that_is_cut_is_known),
        cmocka_unit_test(floods_without_data_end_the_connection),
        cmocka_unit_test(a_fatal_alert_is_not_answered),
        cmocka_unit_test(user_canceled_is_followed_by_close_notify),
        cmocka_unit_test(we_can_give_up_ourselves),
        cmocka_unit_test(renegotiation_is_refused_once_with_a_warning),
        cmocka_unit_test(dispose_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
