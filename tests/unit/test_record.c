/* The record layer towards a client that behaves: cuts, sizes, KeyUpdate, the age
 * of keys, the end. */
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/unit.h"

#define AES_13    0x1301
#define AES_12    0xc02b
#define CHACHA_12 0xcca9

static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, AES_12, 0xc030, CHACHA_12};

#define SUITES (sizeof suites / sizeof suites[0])

static struct record tenant;
static struct fixture_client client;
static uint8_t in[4 * RECORD_WIRE_MAX], out[64 * RECORD_WIRE_MAX];
static uint8_t pattern[1 << 18];

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

static enum rc read_some(uint8_t *p, size_t len, size_t *used)
{
    uint8_t *data;
    size_t data_len;

    return record_read(&tenant, p, len, used, &data, &data_len);
}

static enum rc send_record(uint8_t type, const void *text, size_t len)
{
    size_t used, size = fixture_seal(&client, type, text, len, 0, in);

    return read_some(in, size, &used);
}

/* Writes all of it into `out`; the bytes there. */
static size_t write_all(uint64_t now_ms, const void *data, size_t len)
{
    size_t used, written;

    assert_int_equal(record_write(&tenant, now_ms, data, len, &used, out, sizeof out, &written),
                     RC_OK);
    assert_int_equal(used, len);
    assert_false(record_pending(&tenant));
    return written;
}

/* Opens the record at out + at; where the next one is. */
static size_t expect(size_t at, size_t end_at, uint8_t type, const void *text, size_t len)
{
    uint8_t got_type, *got;
    size_t got_len;

    at += fixture_open(&client, out + at, end_at - at, &got_type, &got, &got_len);
    assert_int_equal(got_type, type);
    assert_int_equal(got_len, len);
    assert_memory_equal(got, text, len);
    return at;
}

/*----- in -----*/

static void a_stream_may_come_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        size_t sealed = 0, have = 0, got = 0;

        begin(suites[i]);
        for (size_t n = 0; n < 20; n++)
            sealed += fixture_seal(&client, TLS_DATA, pattern + 13 * n, 13, n, in + sealed);
        sealed += fixture_seal(&client, TLS_ALERT, "\x01", 2, 0, in + sealed);
        for (size_t n = 0; n < sealed; n++) {
            uint8_t *data;
            size_t used, len;
            enum rc rc;

            out[have++] = in[n];
            rc = record_read(&tenant, out, have, &used, &data, &len);
            if (rc == RC_OK) {
                assert_memory_equal(data, pattern + got, len);
                got += len;
            } else {
                assert_int_equal(rc, n + 1 < sealed ? RC_AGAIN : RC_CLOSED);
            }
            have -= used;
            assert_true(have == 0 || used == 0);
        }
        assert_int_equal(got, 20 * 13);
        end();
    }
}

static void the_longest_record_is_taken_and_fits_the_buffer(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        size_t used, size;

        begin(suites[i]);
        size = fixture_seal(&client, TLS_DATA, pattern, RECORD_PLAIN_MAX, 0, in);
        assert_true(size <= RECORD_WIRE_MAX);
        assert_int_equal(read_some(in, size - 1, &used), RC_AGAIN);
        assert_int_equal(read_some(in, size, &used), RC_OK);
        end();
    }
}

static void padding_is_taken_off(void **state)
{
    uint8_t *data;
    size_t used, len, size;

    (void)state;
    begin(AES_13);
    size = fixture_seal(&client, TLS_DATA, "ends in zero\0", 13, 5000, in);
    assert_int_equal(record_read(&tenant, in, size, &used, &data, &len), RC_OK);
    assert_int_equal(len, 13);
    assert_memory_equal(data, "ends in zero\0", 13);
    end();
}

/*----- sizes -----*/

/* Plaintext sizes of the records in `out`. */
static size_t record_sizes(size_t written, size_t *sizes)
{
    size_t n = 0;

    for (size_t at = 0; at < written; n++) {
        uint8_t type, *text;

        at += fixture_open(&client, out + at, written - at, &type, &text, &sizes[n]);
    }
    return n;
}

static void records_are_small_first_then_full_then_small_after_silence(void **state)
{
    static size_t sizes[256];
    size_t n, small = (RECORD_SMALL_FOR + RECORD_SMALL - 1) / RECORD_SMALL;

    (void)state;
    begin(AES_13);
    n = record_sizes(write_all(10, pattern, sizeof pattern), sizes);
    for (size_t i = 0; i < n - 1; i++)
        assert_int_equal(sizes[i], i < small ? RECORD_SMALL : RECORD_PLAIN_MAX);

    record_sizes(write_all(10 + RECORD_IDLE_MS - 1, pattern, 20000), sizes);
    assert_int_equal(sizes[0], RECORD_PLAIN_MAX);
    record_sizes(write_all(9 + 2 * RECORD_IDLE_MS, pattern, 20000), sizes);
    assert_int_equal(sizes[0], RECORD_SMALL);
    end();
}

static void no_record_is_longer_than_the_client_takes(void **state)
{
    const uint16_t limits[] = {63, 64, 1299, 1301, 4096};
    static size_t sizes[8192];

    (void)state;
    for (size_t i = 0; i < SUITES * 5; i++) {
        struct handover h;
        size_t n, total = 0;

        fixture_handover(suites[i / 5], &h);
        h.out.record_limit = limits[i % 5];
        begin_with(&h);
        n = record_sizes(write_all(1, pattern, 200000), sizes);
        for (size_t j = 0; j < n; j++) {
            assert_true(sizes[j] <= limits[i % 5]);
            total += sizes[j];
        }
        assert_int_equal(total, 200000);
        assert_int_equal(sizes[n - 2], limits[i % 5]);
        end();
    }
}

static void little_room_is_enough_and_less_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        const uint8_t *p = pattern;
        size_t left = 150000, used, written;

        begin(suites[i]);
        while (left > 0) {
            enum rc rc = record_write(&tenant, 1, p, left, &used, out, RECORD_ROOM_MIN, &written);

            assert_int_equal(rc, used == left ? RC_OK : RC_FULL);
            assert_true(used > 0 && written <= RECORD_ROOM_MIN);
            expect(0, written, TLS_DATA, p, used);
            p += used;
            left -= used;
        }
        assert_int_equal(record_write(&tenant, 1, p, 100, &used, out, 100, &written), RC_FULL);
        assert_int_equal(used, 0);
        assert_int_equal(written, 0);
        record_close(&tenant);
        assert_int_equal(record_write(&tenant, 1, NULL, 0, &used, out, 10, &written), RC_FULL);
        assert_true(record_pending(&tenant));
        end();
    }
}

static void a_full_record_is_cut_for_lack_of_room_only_where_it_pays(void **state)
{
    static size_t sizes[8];
    size_t used, written;

    (void)state;
    begin(AES_13);
    write_all(1, pattern, RECORD_SMALL_FOR);
    client.in.seq = tenant.out.seq;
    assert_int_equal(record_write(&tenant, 1, pattern, 40000, &used, out,
                                  RECORD_WIRE_MAX + RECORD_WIRE_MAX / 4, &written),
                     RC_FULL);
    assert_int_equal(record_sizes(written, sizes), 1);
    assert_int_equal(sizes[0], RECORD_PLAIN_MAX);
    assert_int_equal(record_write(&tenant, 1, pattern, 40000, &used, out, 32768, &written),
                     RC_FULL);
    assert_int_equal(record_sizes(written, sizes), 2);
    assert_int_equal(written, 32768);
    end();
}

/*----- KeyUpdate and the age of keys -----*/

static void a_key_update_changes_the_way_in(void **state)
{
    (void)state;
    begin(AES_13);
    for (unsigned i = 0; i < 5; i++) {
        /* In pieces: two bytes, then three. */
        assert_int_equal(send_record(TLS_HANDSHAKE, "\x18\0", 2), RC_AGAIN);
        assert_int_equal(send_record(TLS_HANDSHAKE, "\0\x01\0", 3), RC_AGAIN);
        assert_false(record_pending(&tenant));
        assert_int_equal(record_key_update(&client.out), RC_OK);
        assert_int_equal(send_record(TLS_DATA, "new", 3), RC_OK);
    }
    assert_int_equal(tenant.in.seq, 1);
    end();
}

static void a_key_update_that_was_asked_for_goes_out_once_before_data(void **state)
{
    size_t used, written, at;

    (void)state;
    begin(AES_13);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(send_record(TLS_HANDSHAKE, "\x18\0\0\x01\x01", 5), RC_AGAIN);
        assert_int_equal(record_key_update(&client.out), RC_OK);
    }
    assert_int_equal(record_write(&tenant, 1, "data", 4, &used, out, 20, &written), RC_FULL);
    assert_int_equal(written, 0);
    assert_true(record_pending(&tenant));
    written = write_all(1, "data", 4);
    at = expect(0, written, TLS_HANDSHAKE, "\x18\0\0\x01\0", 5);
    assert_int_equal(record_key_update(&client.in), RC_OK);
    at = expect(at, written, TLS_DATA, "data", 4);
    assert_int_equal(at, written);
    end();
}

static void a_key_that_served_long_is_replaced(void **state)
{
    struct handover h;
    size_t written, at;

    (void)state;
    fixture_handover(AES_13, &h);
    h.out.seq = RECORD_REKEY_AFTER - 1;
    begin_with(&h);
    written = write_all(1, pattern, 2 * RECORD_SMALL);
    at = expect(0, written, TLS_DATA, pattern, RECORD_SMALL);
    at = expect(at, written, TLS_HANDSHAKE, "\x18\0\0\x01\0", 5);
    assert_int_equal(record_key_update(&client.in), RC_OK);
    at = expect(at, written, TLS_DATA, pattern + RECORD_SMALL, RECORD_SMALL);
    assert_int_equal(at, written);
    assert_false(record_worn(&tenant));
    end();
}

static void a_client_whose_key_served_long_is_asked_for_the_next(void **state)
{
    struct handover h;

    (void)state;
    fixture_handover(AES_13, &h);
    h.in.seq = RECORD_REKEY_AFTER - 1;
    begin_with(&h);
    assert_int_equal(send_record(TLS_DATA, "x", 1), RC_OK);
    expect(0, write_all(1, NULL, 0), TLS_HANDSHAKE, "\x18\0\0\x01\x01", 5);
    assert_int_equal(send_record(TLS_DATA, "x", 1), RC_OK);
    assert_false(record_pending(&tenant)); /* asked once */
    assert_int_equal(record_key_update(&client.in), RC_OK);
    assert_int_equal(send_record(TLS_HANDSHAKE, "\x18\0\0\x01\x01", 5), RC_AGAIN);
    expect(0, write_all(1, NULL, 0), TLS_HANDSHAKE, "\x18\0\0\x01\0", 5); /* an answer asks not */
    end();
}

static void tls_1_2_closes_when_its_key_has_served(void **state)
{
    struct handover h;
    size_t used, written, at;

    (void)state;
    fixture_handover(AES_12, &h);
    h.out.seq = RECORD_CLOSE_AFTER / 4 * 3 - 1;
    begin_with(&h);
    assert_false(record_worn(&tenant));
    write_all(1, "x", 1);
    assert_true(record_worn(&tenant));
    end();

    h.out.seq = RECORD_CLOSE_AFTER - 1;
    begin_with(&h);
    assert_int_equal(
        record_write(&tenant, 1, pattern, 2 * RECORD_SMALL, &used, out, sizeof out, &written),
        RC_CLOSED);
    assert_int_equal(used, RECORD_SMALL);
    at = expect(0, written, TLS_DATA, pattern, RECORD_SMALL);
    at = expect(at, written, TLS_ALERT, "\x01", 2);
    assert_int_equal(at, written);
    end();

    fixture_handover(CHACHA_12, &h);
    h.out.seq = RECORD_CLOSE_AFTER;
    begin_with(&h);
    write_all(1, "x", 1);
    assert_false(record_worn(&tenant));
    end();
}

static void sequence_numbers_never_wrap(void **state)
{
    struct handover h;
    size_t used, written;

    (void)state;
    fixture_handover(CHACHA_12, &h);
    h.out.seq = h.in.seq = UINT64_MAX - 1;
    begin_with(&h);
    write_all(1, "x", 1);
    assert_int_equal(record_write(&tenant, 1, "x", 1, &used, out, sizeof out, &written), RC_CRYPTO);
    assert_int_equal(written, 0);
    assert_int_equal(record_write(&tenant, 1, "x", 1, &used, out, sizeof out, &written), RC_CLOSED);
    assert_int_equal(send_record(TLS_DATA, "x", 1), RC_OK);
    memset(in, 7, 45);
    memcpy(in, (uint8_t[]){TLS_DATA, 3, 3, 0, 40}, 5);
    assert_int_equal(read_some(in, 45, &used), RC_CRYPTO);
    assert_int_equal(in[5], 7); /* not even tried: a failed opening clears it */
    end();
}

/*----- the end -----*/

static void an_answer_can_be_finished_after_close_notify_came(void **state)
{
    size_t used, written, at;

    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        begin(suites[i]);
        assert_int_equal(send_record(TLS_ALERT, "\x01", 2), RC_CLOSED);
        written = write_all(1, "the rest", 8);
        at = expect(0, written, TLS_DATA, "the rest", 8);
        record_close(&tenant);
        record_close(&tenant);
        assert_int_equal(record_write(&tenant, 1, NULL, 0, &used, out, sizeof out, &written),
                         RC_CLOSED);
        at = expect(0, written, TLS_ALERT, "\x01", 2);
        assert_int_equal(at, written);
        end();
    }
}

static void a_handover_that_contradicts_itself_is_refused(void **state)
{
    struct handover h;

    (void)state;
    fixture_handover(AES_13, &h);
    h.tls_version = TLS_1_2;
    assert_int_equal(record_init(&tenant, &h), RC_INVAL);
    h.suite = 0x002f;
    assert_int_equal(record_init(&tenant, &h), RC_INVAL);
    record_dispose(&tenant);
}

/*----- no memory -----*/

static int callocs_left = -1; /* before one fails; negative: none does */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    if (callocs_left == 0)
        return NULL;
    if (callocs_left > 0)
        callocs_left--;
    return __real_calloc(n, size);
}

static void each_allocation_may_fail_in_init(void **state)
{
    const struct record wiped = {0};

    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        struct handover h;
        enum rc rc = RC_NOMEM;
        int n;

        fixture_handover(suites[i], &h);
        for (n = 0; rc != RC_OK; n++) {
            callocs_left = n;
            rc = record_init(&tenant, &h);
            callocs_left = -1;
            assert_true(rc == RC_OK || rc == RC_NOMEM);
            if (rc) {
                assert_memory_equal(&tenant.in, &wiped.in, sizeof wiped.in);
                assert_memory_equal(&tenant.out, &wiped.out, sizeof wiped.out);
            }
        }
        assert_true(n > 1 || tls_suite_find(suites[i])->version == TLS_1_2);
        record_dispose(&tenant);
    }
}

static void each_allocation_may_fail_in_a_key_update(void **state)
{
    enum rc rc = RC_NOMEM;
    size_t used, written;

    (void)state;
    for (int n = 0; rc != RC_AGAIN; n++) {
        size_t size;

        begin(AES_13);
        size = fixture_seal(&client, TLS_HANDSHAKE, "\x18\0\0\x01\x01", 5, 0, in);
        callocs_left = n;
        rc = read_some(in, size, &used);
        callocs_left = -1;
        if (rc != RC_AGAIN) {
            assert_int_equal(rc, RC_NOMEM);
            assert_int_equal(record_alert(&tenant), TLS_INTERNAL_ERROR);
        }
        end();
    }
    rc = RC_NOMEM;
    for (int n = 0; rc != RC_OK; n++) {
        begin(AES_13);
        assert_int_equal(send_record(TLS_HANDSHAKE, "\x18\0\0\x01\x01", 5), RC_AGAIN);
        callocs_left = n;
        rc = record_write(&tenant, 1, "x", 1, &used, out, sizeof out, &written);
        callocs_left = -1;
        assert_true(rc == RC_OK || rc == RC_NOMEM);
        if (rc) {
            assert_int_equal(used, 0);
            assert_int_equal(record_write(&tenant, 1, "x", 1, &used, out, sizeof out, &written),
                             RC_CLOSED);
        }
        end();
    }
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)((i * 31 + 7) % 251);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_may_come_byte_by_byte),
        cmocka_unit_test(the_longest_record_is_taken_and_fits_the_buffer),
        cmocka_unit_test(padding_is_taken_off),
        cmocka_unit_test(records_are_small_first_then_full_then_small_after_silence),
        cmocka_unit_test(no_record_is_longer_than_the_client_takes),
        cmocka_unit_test(little_room_is_enough_and_less_is_told),
        cmocka_unit_test(a_full_record_is_cut_for_lack_of_room_only_where_it_pays),
        cmocka_unit_test(a_key_update_changes_the_way_in),
        cmocka_unit_test(a_key_update_that_was_asked_for_goes_out_once_before_data),
        cmocka_unit_test(a_key_that_served_long_is_replaced),
        cmocka_unit_test(a_client_whose_key_served_long_is_asked_for_the_next),
        cmocka_unit_test(tls_1_2_closes_when_its_key_has_served),
        cmocka_unit_test(sequence_numbers_never_wrap),
        cmocka_unit_test(an_answer_can_be_finished_after_close_notify_came),
        cmocka_unit_test(a_handover_that_contradicts_itself_is_refused),
        cmocka_unit_test(each_allocation_may_fail_in_init),
        cmocka_unit_test(each_allocation_may_fail_in_a_key_update),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
