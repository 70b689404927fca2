/* The handover's codec: what goes in comes out, and nothing else is taken. */
#include <stdlib.h>
#include <string.h>

#include "common/core/handover.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/unit.h"

static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c,
                                  0xc02f, 0xc030, 0xcca8, 0xcca9};

#define SUITES (sizeof suites / sizeof suites[0])

static void make(uint16_t suite, struct handover *h)
{
    fixture_handover(suite, h);
    h->resumed = true;
    h->in.seq = 0x1122334455667788;
    h->out.seq = 3;
    h->out.record_limit = 4096;
    strcpy(h->sni, "acme.example");
    strcpy(h->alpn, "http/1.1");
    strcpy(h->client_addr, "2001:db8::1");
    h->client_port = 54321;
    strcpy(h->client_identity, "CN=a client");
    h->times = (struct handover_times){.hello_unix_ms = 1700000000123,
                                       .route_us = 1,
                                       .boot_asked_us = 2,
                                       .boot_done_us = 3,
                                       .handshake_us = 4,
                                       .handover_us = 5};
}

static size_t encode(const struct handover *h, uint8_t buf[HANDOVER_SIZE_MAX])
{
    size_t len;

    assert_int_equal(handover_encode(h, buf, HANDOVER_SIZE_MAX, &len), RC_OK);
    return len;
}

/* A buffer of exactly that size, so that a read past it is seen. */
static enum rc decode(const uint8_t *bytes, size_t len, struct handover *out)
{
    uint8_t *exact = malloc(len ? len : 1);
    enum rc rc;

    assert_non_null(exact);
    memcpy(exact, bytes, len);
    rc = handover_decode(exact, len, out);
    free(exact);
    return rc;
}

static void expect_refused(const uint8_t *bytes, size_t len, enum rc rc)
{
    struct handover out, before;

    memset(&out, 0x5a, sizeof out);
    before = out;
    assert_int_equal(decode(bytes, len, &out), rc);
    assert_memory_equal(&out, &before, sizeof out);
}

static void every_suite_comes_back_as_it_went(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        uint8_t buf[HANDOVER_SIZE_MAX], again[HANDOVER_SIZE_MAX];
        struct handover h, out;
        size_t len;

        make(suites[i], &h);
        len = encode(&h, buf);
        assert_int_equal(decode(buf, len, &out), RC_OK);
        assert_int_equal(out.suite, suites[i]);
        assert_int_equal(out.in.seq, h.in.seq);
        assert_memory_equal(out.in.secret, h.in.secret, sizeof h.in.secret);
        assert_memory_equal(out.out.key, h.out.key, sizeof h.out.key);
        assert_memory_equal(out.out.iv, h.out.iv, sizeof h.out.iv);
        assert_string_equal(out.client_identity, "CN=a client");
        assert_int_equal(out.times.hello_unix_ms, h.times.hello_unix_ms);
        assert_int_equal(encode(&out, again), len);
        assert_memory_equal(again, buf, len);
    }
}

static void the_longest_handover_fits(void **state)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover h, out;
    size_t len;

    (void)state;
    make(0x1302, &h);
    memset(h.sni, 'x', sizeof h.sni - 1);
    memset(h.alpn, 'x', sizeof h.alpn - 1);
    memset(h.client_addr, 'x', sizeof h.client_addr - 1);
    memset(h.client_identity, 'x', sizeof h.client_identity - 1);
    len = encode(&h, buf);
    assert_int_equal(decode(buf, len, &out), RC_OK);
    assert_string_equal(out.sni, h.sni);
    assert_string_equal(out.client_identity, h.client_identity);
}

static void a_handover_cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        uint8_t buf[HANDOVER_SIZE_MAX + 1] = {0};
        struct handover h;
        size_t len;

        make(suites[i], &h);
        len = encode(&h, buf);
        for (size_t n = 0; n < len; n++)
            expect_refused(buf, n, RC_MALFORMED);
        expect_refused(buf, len + 1, RC_MALFORMED);
    }
}

static void too_small_a_buffer_is_told(void **state)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover h;
    size_t len, whole;

    (void)state;
    make(0x1301, &h);
    whole = encode(&h, buf);
    for (size_t n = 0; n < whole; n++)
        assert_int_equal(handover_encode(&h, buf, n, &len), RC_TOO_LARGE);
}

static void another_version_or_magic_is_refused(void **state)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover h;
    size_t len;

    (void)state;
    make(0x1301, &h);
    len = encode(&h, buf);
    assert_memory_equal(buf, "RKHV\1\0", 6);
    buf[4] = HANDOVER_VERSION + 1;
    expect_refused(buf, len, RC_VERSION);
    expect_refused(buf, 6, RC_VERSION); /* whatever follows is not ours to judge */
    buf[4] = HANDOVER_VERSION;
    buf[5] = 1;
    expect_refused(buf, len, RC_VERSION);
    buf[0] = 'r';
    expect_refused(buf, len, RC_MALFORMED);
}

/* Each makes one contradiction. */
static void wrong_version(struct handover *h)
{
    h->tls_version = h->tls_version == TLS_1_3 ? TLS_1_2 : TLS_1_3;
}
static void no_version(struct handover *h)
{
    h->tls_version = 0x0301;
}
static void unknown_suite(struct handover *h)
{
    h->suite = 0x002f;
}
static void longer_secret(struct handover *h)
{
    h->in.secret_len = h->in.secret_len == 48 ? 32 : 48;
}
static void no_secrets(struct handover *h)
{
    h->out.secret_len = h->out.key_len = h->out.iv_len = 0;
}
static void shorter_key(struct handover *h)
{
    h->out.key_len = (uint8_t)(h->out.key_len ? h->out.key_len - 1 : 16);
}
static void other_key(struct handover *h)
{
    h->in.key_len = h->in.key_len == 32 ? 16 : 32;
}
static void other_iv(struct handover *h)
{
    h->in.iv_len = h->in.iv_len == 12 ? 4 : 12;
}
static void no_limit(struct handover *h)
{
    h->in.record_limit = 0;
}
static void small_limit(struct handover *h)
{
    h->out.record_limit = h->tls_version == TLS_1_3 ? 62 : 63;
}
static void large_limit(struct handover *h)
{
    h->out.record_limit = 16385;
}

static void lengths_that_contradict_the_suite_are_refused(void **state)
{
    void (*const spoil[])(struct handover *) = {
        wrong_version, no_version, unknown_suite, longer_secret, no_secrets, shorter_key,
        other_key,     other_iv,   no_limit,      small_limit,   large_limit};

    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        for (size_t j = 0; j < sizeof spoil / sizeof spoil[0]; j++) {
            uint8_t buf[HANDOVER_SIZE_MAX];
            struct handover h;

            make(suites[i], &h);
            spoil[j](&h);
            expect_refused(buf, encode(&h, buf), RC_MALFORMED);
        }
    }
}

static void the_smallest_limits_are_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < SUITES; i++) {
        uint8_t buf[HANDOVER_SIZE_MAX];
        struct handover h, out;

        make(suites[i], &h);
        h.in.record_limit = h.out.record_limit = h.tls_version == TLS_1_3 ? 63 : 64;
        assert_int_equal(decode(buf, encode(&h, buf), &out), RC_OK);
    }
}

static void lengths_past_their_field_are_refused(void **state)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover h;
    size_t len, secret_len_at = 4 + 2 + 2 + 2 + 1 + 1;

    (void)state;
    make(0x1302, &h);
    len = encode(&h, buf);
    assert_int_equal(buf[secret_len_at], 48);
    buf[secret_len_at] = 49;
    expect_refused(buf, len, RC_MALFORMED);
    buf[secret_len_at] = 255;
    expect_refused(buf, len, RC_MALFORMED);
    buf[secret_len_at] = 48;
    buf[secret_len_at - 1] = 2; /* woken: neither false nor true */
    expect_refused(buf, len, RC_MALFORMED);
}

static void a_wiped_handover_is_all_zeroes(void **state)
{
    const struct handover zeroes = {0};
    struct handover h;

    (void)state;
    make(0x1301, &h);
    handover_wipe(&h);
    assert_memory_equal(&h, &zeroes, sizeof h);
}

static void only_suites_with_an_aead_and_ecdhe_are_known(void **state)
{
    (void)state;
    for (unsigned id = 0; id <= UINT16_MAX; id++) {
        const struct tls_suite *suite = tls_suite_find((uint16_t)id);
        bool ours = false;

        for (size_t i = 0; i < SUITES; i++)
            ours |= suites[i] == id;
        assert_int_equal(suite != NULL, ours);
        if (suite)
            assert_int_equal(suite->id, id);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_suite_comes_back_as_it_went),
        cmocka_unit_test(the_longest_handover_fits),
        cmocka_unit_test(a_handover_cut_anywhere_is_refused),
        cmocka_unit_test(too_small_a_buffer_is_told),
        cmocka_unit_test(another_version_or_magic_is_refused),
        cmocka_unit_test(lengths_that_contradict_the_suite_are_refused),
        cmocka_unit_test(the_smallest_limits_are_taken),
        cmocka_unit_test(lengths_past_their_field_are_refused),
        cmocka_unit_test(a_wiped_handover_is_all_zeroes),
        cmocka_unit_test(only_suites_with_an_aead_and_ecdhe_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
