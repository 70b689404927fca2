/* What the record layer makes of a peer at fault: the right alert, nothing else,
 * and no key left behind. */
#include <stdio.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/unit.h"

#define AES_13    0x1301
#define AES_12    0xc02b
#define CHACHA_12 0xcca9

static struct record tenant;
static struct fixture_client client;
static uint8_t buf[4 * RECORD_WIRE_MAX];

static void begin_with(struct handover *h)
{
    assert_int_equal(record_init(&tenant, h), RC_OK);
    fixture_client_init(&client, h);
}

static void begin(uint16_t suite)
{
    struct handover h;

    fixture_handover(suite, &h);
    begin_with(&h);
}

static void end(void)
{
    record_dispose(&tenant);
    fixture_client_dispose(&client);
}

static void assert_wiped(const void *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(((const uint8_t *)p)[i], 0);
}

static enum rc read_all(uint8_t *p, size_t len, size_t *used)
{
    uint8_t *data;
    size_t data_len;

    return record_read(&tenant, p, len, used, &data, &data_len);
}

/* One sealed record to the tenant. */
static enum rc send_record(uint8_t type, const void *text, size_t len)
{
    size_t used, size = fixture_seal(&client, type, text, len, 0, buf);
    enum rc rc = read_all(buf, size, &used);

    assert_int_equal(used, size);
    return rc;
}

/* The alert is the one record that is written; both keys are gone then. */
static void expect_last_alert(uint8_t level, uint8_t alert)
{
    uint8_t out[256], type, *text;
    size_t used, written, len;

    assert_true(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, "late", 4, &used, out, sizeof out, &written),
                     RC_CLOSED);
    assert_int_equal(used, 0);
    assert_int_equal(fixture_open(&client, out, written, &type, &text, &len), written);
    assert_int_equal(type, TLS_ALERT);
    assert_int_equal(len, 2);
    assert_int_equal(text[0], level);
    assert_string_equal(tls_alert_text(text[1]), tls_alert_text(alert));
    assert_int_equal(text[1], alert);
    assert_wiped(&tenant.out, sizeof tenant.out);
    assert_false(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, "late", 4, &used, out, sizeof out, &written),
                     RC_CLOSED);
    assert_int_equal(written, 0);
}

static void expect_refusal(enum rc rc, uint8_t alert)
{
    uint8_t more[] = "anything";
    size_t used;

    assert_int_equal(record_alert(&tenant), alert);
    assert_wiped(&tenant.in, sizeof tenant.in);
    assert_int_equal(read_all(more, sizeof more, &used), rc);
    assert_int_equal(used, sizeof more);
    expect_last_alert(TLS_FATAL, alert);
}

/*----- sealed, but not what may be sent -----*/

struct piece {
    uint8_t type;
    uint8_t len;
    const char *text;
};

struct fault {
    const char *name;
    uint16_t suite;
    struct piece pieces[3]; /* a record each; all but the last are taken */
    uint8_t alert;
};

#define CCS 20
#define PIECE(type, text)            \
    {                                \
        type, sizeof(text) - 1, text \
    }

static const struct fault faults[] = {
    {"a NewSessionTicket from a client",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x04\0\0\x01\0")},
     TLS_UNEXPECTED_MESSAGE},
    {"a ClientHello in TLS 1.3",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x01\0")},
     TLS_UNEXPECTED_MESSAGE},
    {"one byte of a Finished", AES_13, {PIECE(TLS_HANDSHAKE, "\x14")}, TLS_UNEXPECTED_MESSAGE},
    {"a KeyUpdate without body", AES_13, {PIECE(TLS_HANDSHAKE, "\x18\0\0\0")}, TLS_DECODE_ERROR},
    {"a KeyUpdate of two bytes",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x02\0\0")},
     TLS_DECODE_ERROR},
    {"a KeyUpdate of 65,537 bytes",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x18\x01\0\x01\0")},
     TLS_DECODE_ERROR},
    {"a KeyUpdate that asks for 2",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01\x02")},
     TLS_ILLEGAL_PARAMETER},
    {"bytes behind a KeyUpdate",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01\0\x18")},
     TLS_UNEXPECTED_MESSAGE},
    {"data between the pieces of a KeyUpdate",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x18\0"), PIECE(TLS_DATA, "x")},
     TLS_UNEXPECTED_MESSAGE},
    {"close_notify between the pieces of a KeyUpdate",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01"), PIECE(TLS_ALERT, "\x01\0")},
     TLS_UNEXPECTED_MESSAGE},
    {"an encrypted ChangeCipherSpec", AES_13, {PIECE(CCS, "\x01")}, TLS_UNEXPECTED_MESSAGE},
    {"a heartbeat in TLS 1.3", AES_13, {PIECE(24, "\x01")}, TLS_UNEXPECTED_MESSAGE},
    {"no content type at all", AES_13, {PIECE(0, "")}, TLS_UNEXPECTED_MESSAGE},
    {"zeroes only", AES_13, {PIECE(0, "\0\0\0\0\0\0\0\0\0\0")}, TLS_UNEXPECTED_MESSAGE},
    {"an empty handshake record in TLS 1.3",
     AES_13,
     {PIECE(TLS_HANDSHAKE, "")},
     TLS_UNEXPECTED_MESSAGE},
    {"an empty alert in TLS 1.3", AES_13, {PIECE(TLS_ALERT, "")}, TLS_UNEXPECTED_MESSAGE},
    {"half an alert in TLS 1.3", AES_13, {PIECE(TLS_ALERT, "\x01")}, TLS_DECODE_ERROR},
    {"two alerts in one record", AES_13, {PIECE(TLS_ALERT, "\x01\x5a\x01\0")}, TLS_DECODE_ERROR},

    {"a HelloRequest from a client",
     AES_12,
     {PIECE(TLS_HANDSHAKE, "\0\0\0\0")},
     TLS_UNEXPECTED_MESSAGE},
    {"a KeyUpdate in TLS 1.2",
     AES_12,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01\0")},
     TLS_UNEXPECTED_MESSAGE},
    {"a second ClientHello",
     AES_12,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x02xx"), PIECE(TLS_HANDSHAKE, "\x01\0\0\x02xx")},
     TLS_UNEXPECTED_MESSAGE},
    {"two ClientHellos in one record",
     CHACHA_12,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x02xx\x01")},
     TLS_UNEXPECTED_MESSAGE},
    {"a ClientHello without body", AES_12, {PIECE(TLS_HANDSHAKE, "\x01\0\0\0")}, TLS_DECODE_ERROR},
    {"a ClientHello of a megabyte",
     AES_12,
     {PIECE(TLS_HANDSHAKE, "\x01\x10\0\0")},
     TLS_DECODE_ERROR},
    {"data between the pieces of a ClientHello",
     AES_12,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x02x"), PIECE(TLS_DATA, "x")},
     TLS_UNEXPECTED_MESSAGE},
    {"an empty handshake record in TLS 1.2",
     AES_12,
     {PIECE(TLS_HANDSHAKE, "")},
     TLS_UNEXPECTED_MESSAGE},
    {"an empty alert in TLS 1.2", CHACHA_12, {PIECE(TLS_ALERT, "")}, TLS_UNEXPECTED_MESSAGE},
    {"half an alert in TLS 1.2", CHACHA_12, {PIECE(TLS_ALERT, "\x02")}, TLS_DECODE_ERROR},
    {"an alert of level 3", AES_12, {PIECE(TLS_ALERT, "\x03\x0a")}, TLS_ILLEGAL_PARAMETER},
    {"a ChangeCipherSpec after the handshake",
     AES_12,
     {PIECE(CCS, "\x01")},
     TLS_UNEXPECTED_MESSAGE},
    {"a heartbeat in TLS 1.2", AES_12, {PIECE(24, "\x01")}, TLS_UNEXPECTED_MESSAGE},
};

static void each_forbidden_message_gets_its_alert(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const struct fault *f = &faults[i];
        bool more = true;

        printf("%s\n", f->name);
        begin(f->suite);
        for (size_t j = 0; more; j++) {
            const struct piece *p = &f->pieces[j];

            more = j + 1 < 3 && f->pieces[j + 1].type != 0;
            assert_int_equal(send_record(p->type, p->text, p->len), more ? RC_AGAIN : RC_MALFORMED);
        }
        tenant.no_renegotiation = false; /* of a first ClientHello; the fault outweighs it */
        expect_refusal(RC_MALFORMED, f->alert);
        end();
    }
}

/*----- not even sealed -----*/

struct raw_fault {
    const char *name;
    uint16_t suite;
    uint8_t head[5];
    enum rc rc;
    uint8_t alert;
};

static const struct raw_fault raw_faults[] = {
    {"ChangeCipherSpec in TLS 1.3", AES_13, {20, 3, 3, 0, 1}, RC_MALFORMED, 10},
    {"a plain alert in TLS 1.3", AES_13, {21, 3, 3, 0, 2}, RC_MALFORMED, 10},
    {"a plain handshake record", AES_13, {22, 3, 3, 0, 100}, RC_MALFORMED, 10},
    {"HTTP in TLS 1.3", AES_13, {'G', 'E', 'T', ' ', '/'}, RC_MALFORMED, 10},
    {"one byte too many in TLS 1.3", AES_13, {23, 3, 3, 0x40, 18}, RC_TOO_LARGE, 22},
    {"a record of 65,535 bytes", AES_13, {23, 3, 3, 255, 255}, RC_TOO_LARGE, 22},
    {"no room for a tag in TLS 1.3", AES_13, {23, 3, 3, 0, 15}, RC_CRYPTO, 20},
    {"an empty record in TLS 1.3", AES_13, {23, 3, 3, 0, 0}, RC_CRYPTO, 20},
    {"ChangeCipherSpec in TLS 1.2", AES_12, {20, 3, 3, 0, 1}, RC_MALFORMED, 10},
    {"HTTP in TLS 1.2", AES_12, {'G', 'E', 'T', ' ', '/'}, RC_MALFORMED, 10},
    {"TLS 1.0's version", AES_12, {23, 3, 1, 0, 100}, RC_MALFORMED, 70},
    {"a version of the future", CHACHA_12, {23, 4, 3, 0, 100}, RC_MALFORMED, 70},
    {"one byte too many with AES-GCM", AES_12, {23, 3, 3, 0x40, 25}, RC_TOO_LARGE, 22},
    {"one byte too many with ChaCha20", CHACHA_12, {23, 3, 3, 0x40, 17}, RC_TOO_LARGE, 22},
    {"no room for nonce and tag", AES_12, {23, 3, 3, 0, 23}, RC_CRYPTO, 20},
    {"no room for a tag in TLS 1.2", CHACHA_12, {23, 3, 3, 0, 15}, RC_CRYPTO, 20},
};

static void each_bad_head_is_refused_before_its_body_comes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof raw_faults / sizeof raw_faults[0]; i++) {
        const struct raw_fault *f = &raw_faults[i];
        size_t used;

        printf("%s\n", f->name);
        begin(f->suite);
        memcpy(buf, f->head, sizeof f->head);
        assert_int_equal(read_all(buf, 4, &used), RC_AGAIN);
        assert_int_equal(used, 0);
        assert_int_equal(read_all(buf, sizeof f->head, &used), f->rc);
        assert_int_equal(used, sizeof f->head);
        expect_refusal(f->rc, f->alert);
        end();
    }
}

static void a_limit_that_was_agreed_on_holds(void **state)
{
    const uint16_t suites[] = {AES_13, AES_12, CHACHA_12};
    uint8_t text[101] = {1};
    struct handover h;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fixture_handover(suites[i], &h);
        h.in.record_limit = 100;
        begin_with(&h);
        assert_int_equal(send_record(TLS_DATA, text, 100), RC_OK);
        assert_int_equal(send_record(TLS_DATA, text, 101), RC_TOO_LARGE);
        expect_refusal(RC_TOO_LARGE, TLS_RECORD_OVERFLOW);
        end();
    }
    /* In TLS 1.3 padding counts (RFC 8449, 4). */
    fixture_handover(AES_13, &h);
    h.in.record_limit = 100;
    begin_with(&h);
    size_t used, size = fixture_seal(&client, TLS_DATA, text, 50, 51, buf);
    assert_int_equal(read_all(buf, size, &used), RC_TOO_LARGE);
    expect_refusal(RC_TOO_LARGE, TLS_RECORD_OVERFLOW);
    end();
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

                begin(suites[i]);
                size = fixture_seal(&client, TLS_DATA, text, sizeof text, 0, buf);
                buf[at] ^= (uint8_t)(1u << bit);
                rc = read_all(buf, size, &used);
                assert_int_not_equal(rc, RC_OK);
                if (rc == RC_AGAIN) /* its length grew: it waits for what never comes */
                    assert_true(at == 3 || at == 4);
                else if (at >= RECORD_HEAD_SIZE)
                    expect_refusal(RC_CRYPTO, TLS_BAD_RECORD_MAC);
                assert_null(memmem(buf, size, text, sizeof text));
                end();
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
        begin(suites[i]);
        size = fixture_seal(&client, TLS_DATA, "1", 1, 0, first);
        memcpy(buf, first, size);
        memcpy(buf + size, first, size);
        assert_int_equal(read_all(buf, 2 * size, &used), RC_OK);
        assert_int_equal(used, size);
        assert_int_equal(read_all(buf + size, size, &used), RC_CRYPTO);
        end();

        begin(suites[i]);
        size = fixture_seal(&client, TLS_DATA, "1", 1, 0, first);
        size = fixture_seal(&client, TLS_DATA, "2", 1, 0, second);
        assert_int_equal(read_all(second, size, &used), RC_CRYPTO);
        end();
    }
}

static void a_stream_that_is_cut_is_known(void **state)
{
    size_t size, used;

    (void)state;
    begin(AES_13);
    size = fixture_seal(&client, TLS_DATA, "all of it", 9, 0, buf);
    for (size_t len = 0; len < size; len++) {
        assert_int_equal(read_all(buf, len, &used), RC_AGAIN);
        assert_int_equal(used, 0);
        assert_int_equal(record_eof(&tenant), RC_MALFORMED);
    }
    assert_int_equal(read_all(buf, size, &used), RC_OK);
    assert_int_equal(record_eof(&tenant), RC_MALFORMED);
    assert_int_equal(send_record(TLS_ALERT, "\x01", 2), RC_CLOSED);
    assert_int_equal(record_eof(&tenant), RC_OK);
    assert_wiped(&tenant.in, sizeof tenant.in);
    end();
}

/*----- floods -----*/

static void flood(uint16_t suite, uint8_t type, const char *text, size_t len, unsigned most)
{
    begin(suite);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < most; i++) {
            assert_int_equal(send_record(type, text, len), RC_AGAIN);
            if (type == TLS_HANDSHAKE)
                assert_int_equal(record_key_update(&client.out), RC_OK);
        }
        assert_int_equal(send_record(TLS_DATA, "x", 1), RC_OK);
    }
    for (unsigned i = 0; i < most; i++) {
        assert_int_equal(send_record(type, text, len), RC_AGAIN);
        if (type == TLS_HANDSHAKE)
            assert_int_equal(record_key_update(&client.out), RC_OK);
    }
    assert_int_equal(send_record(type, text, len), RC_MALFORMED);
    expect_refusal(RC_MALFORMED, TLS_UNEXPECTED_MESSAGE);
    end();
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

        begin(cases[i].suite);
        assert_int_equal(send_record(TLS_ALERT, cases[i].alert, 2), RC_CANCELED);
        assert_int_equal(record_alert(&tenant), 0x28);
        assert_false(record_pending(&tenant));
        assert_wiped(&tenant.in, sizeof tenant.in);
        assert_wiped(&tenant.out, sizeof tenant.out);
        assert_int_equal(record_write(&tenant, 0, "x", 1, &used, out, sizeof out, &written),
                         RC_CLOSED);
        assert_int_equal(written, 0);
        assert_int_equal(record_eof(&tenant), RC_MALFORMED);
        end();
    }
}

static void user_canceled_is_followed_by_close_notify(void **state)
{
    (void)state;
    begin(AES_13);
    assert_int_equal(send_record(TLS_ALERT, "\x01\x5a", 2), RC_AGAIN);
    assert_int_equal(send_record(TLS_ALERT, "\x01\0", 2), RC_CLOSED);
    end();
}

static void we_can_give_up_ourselves(void **state)
{
    uint8_t more[] = "more";
    size_t used;

    (void)state;
    begin(AES_13);
    record_fail(&tenant, TLS_INTERNAL_ERROR);
    assert_int_equal(read_all(more, sizeof more, &used), RC_CANCELED);
    assert_int_equal(used, sizeof more);
    assert_wiped(&tenant.in, sizeof tenant.in);
    expect_last_alert(TLS_FATAL, TLS_INTERNAL_ERROR);
    end();
}

static void renegotiation_is_refused_once_with_a_warning(void **state)
{
    uint8_t out[256], type, *text;
    size_t used, written, len, at;

    (void)state;
    begin(AES_12);
    /* In pieces of a byte, as an evil client would. */
    for (const char *p = "\x01\0\0\x03hey", *e = p + 7; p < e; p++) {
        assert_false(record_pending(&tenant));
        assert_int_equal(send_record(TLS_HANDSHAKE, p, 1), RC_AGAIN);
    }
    assert_true(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, "data", 4, &used, out, sizeof out, &written), RC_OK);
    at = fixture_open(&client, out, written, &type, &text, &len);
    assert_int_equal(type, TLS_ALERT);
    assert_memory_equal(text, "\x01\x64", 2);
    fixture_open(&client, out + at, written - at, &type, &text, &len);
    assert_int_equal(type, TLS_DATA);
    assert_memory_equal(text, "data", 4);
    assert_int_equal(send_record(TLS_DATA, "goes on", 7), RC_OK);
    assert_int_equal(send_record(TLS_HANDSHAKE, "\x01", 1), RC_MALFORMED);
    expect_refusal(RC_MALFORMED, TLS_UNEXPECTED_MESSAGE);
    end();
}

static void dispose_leaves_nothing(void **state)
{
    (void)state;
    begin(AES_13);
    record_dispose(&tenant);
    assert_wiped(&tenant, sizeof tenant);
    record_dispose(&tenant);
    fixture_client_dispose(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_forbidden_message_gets_its_alert),
        cmocka_unit_test(each_bad_head_is_refused_before_its_body_comes),
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
