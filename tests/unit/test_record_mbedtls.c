/* The record layer against Mbed TLS's own client, after a real handshake: every
 * suite of both versions, resumed and not, in arbitrary cuts. */
#include <stdlib.h>
#include <string.h>

#include "common/core/secret.h"
#include "tenant-runtime/runtime/record.h"
#include "tests/unit/tls_peer.h"
#include "tests/unit/unit.h"

#define EXCHANGES 1000

static struct tls_server server;
static struct tls_wire wire;
static uint8_t pattern[1 << 16];

/* The tenant's end of the wire. */
static struct record tenant;
static uint8_t inbox[2 * RECORD_WIRE_MAX];
static size_t inbox_len;
static uint64_t now_ms = 5000;

static uint32_t next_random(void)
{
    static uint32_t x = 2463534242u; /* xorshift: the same in every run */

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

static void tenant_begin(const struct handover *h)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover decoded;
    size_t len;

    assert_int_equal(handover_encode(h, buf, sizeof buf, &len), RC_OK);
    assert_int_equal(handover_decode(buf, len, &decoded), RC_OK);
    assert_int_equal(record_init(&tenant, &decoded), RC_OK);
    handover_wipe(&decoded);
    inbox_len = 0;
}

/* Reads until `want` bytes have come, from cuts of at most `cut` bytes. */
static void tenant_expect(const uint8_t *want, size_t len, size_t cut)
{
    size_t got = 0;

    while (got < len) {
        uint8_t *data;
        size_t used, data_len;
        enum rc rc = record_read(&tenant, inbox, inbox_len, &used, &data, &data_len);

        if (rc == RC_OK) {
            assert_true(data_len <= len - got);
            assert_memory_equal(data, want + got, data_len);
            got += data_len;
        } else {
            assert_int_equal(rc, RC_AGAIN);
        }
        inbox_len -= used;
        memmove(inbox, inbox + used, inbox_len);
        if (rc == RC_AGAIN && got < len) {
            size_t room = sizeof inbox - inbox_len;
            size_t n = pipe_get(&wire.to_server, inbox + inbox_len, cut < room ? cut : room);

            assert_true(n > 0);
            inbox_len += n;
        }
    }
}

static void tenant_send(const uint8_t *data, size_t len, size_t room)
{
    static uint8_t out[2 * RECORD_WIRE_MAX];
    enum rc rc;

    do {
        size_t used, written;

        rc = record_write(&tenant, now_ms, data, len, &used, out, room, &written);
        assert_true(rc == RC_OK || rc == RC_FULL);
        assert_true(written <= room);
        pipe_put(&wire.to_client, out, written);
        data += used;
        len -= used;
    } while (rc == RC_FULL);
    assert_int_equal(len, 0);
}

/* Keeps the newest ticket in *session, when it is not NULL. */
static void client_expect(struct tls_client *c, const uint8_t *want, size_t len,
                          mbedtls_ssl_session *session)
{
    static uint8_t buf[sizeof pattern];
    size_t got = 0;

    while (got < len) {
        int n = mbedtls_ssl_read(&c->ssl, buf, len - got);

        if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            if (session) {
                mbedtls_ssl_session_free(session);
                mbedtls_ssl_session_init(session);
                assert_int_equal(mbedtls_ssl_get_session(&c->ssl, session), 0);
            }
            continue;
        }
        if (n == MBEDTLS_ERR_SSL_WANT_READ && wire.to_client.len > 0)
            continue; /* it stops behind each ticket */
        assert_true(n > 0);
        assert_memory_equal(buf, want + got, (size_t)n);
        got += (size_t)n;
    }
}

static void client_send_all(struct tls_client *c, const uint8_t *data, size_t len)
{
    while (len > 0) {
        int n = mbedtls_ssl_write(&c->ssl, data, len);

        assert_true(n > 0);
        data += n;
        len -= (size_t)n;
    }
}

static size_t random_len(unsigned i)
{
    /* Mostly small, some a record or more. */
    return 1 + next_random() % (i % 50 == 0 ? 40000 : 700);
}

static void exchange(struct tls_client *c, unsigned i, mbedtls_ssl_session *session)
{
    size_t up = random_len(i), down = random_len(i + 25);
    size_t room = i % 3 == 0 ? RECORD_ROOM_MIN : 2 * RECORD_WIRE_MAX - i % 999;
    const uint8_t *p = pattern + next_random() % 20000;

    now_ms += i % 100 == 0 ? RECORD_IDLE_MS : 1;
    client_send_all(c, p, up);
    tenant_expect(p, up, 1 + next_random() % (i % 7 == 0 ? 3 : 30000));
    tenant_send(p, down, room);
    client_expect(c, p, down, session);
}

static void close_both_ways(struct tls_client *c)
{
    uint8_t out[256], byte, *data;
    size_t used, written, data_len;

    assert_int_equal(record_eof(&tenant), RC_MALFORMED);
    record_close(&tenant);
    assert_true(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, now_ms, NULL, 0, &used, out, sizeof out, &written),
                     RC_CLOSED);
    pipe_put(&wire.to_client, out, written);
    assert_int_equal(mbedtls_ssl_read(&c->ssl, &byte, 1), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    assert_int_equal(mbedtls_ssl_close_notify(&c->ssl), 0);
    inbox_len = pipe_get(&wire.to_server, inbox, sizeof inbox);
    assert_int_equal(record_read(&tenant, inbox, inbox_len, &used, &data, &data_len), RC_CLOSED);
    assert_int_equal(used, inbox_len);
    assert_int_equal(record_eof(&tenant), RC_OK);
}

static void talk(const struct tls_suite *suite, mbedtls_ssl_session *from, mbedtls_ssl_session *to)
{
    struct tls_client client;
    struct handover handover;

    tls_client_connect(&client, &server, &wire, suite, from, &handover);
    assert_int_equal(handover.suite, suite->id);
    assert_int_equal(handover.resumed, from != NULL);
    tenant_begin(&handover);
    handover_wipe(&handover);
    for (unsigned i = 0; i < EXCHANGES; i++)
        exchange(&client, i, to);
    if (to && suite->version == TLS_1_2)
        assert_int_equal(mbedtls_ssl_get_session(&client.ssl, to), 0);
    close_both_ways(&client);
    record_dispose(&tenant);
    tls_client_dispose(&client);
}

static void both_ends_agree(uint16_t suite_id)
{
    const struct tls_suite *suite = tls_suite_find(suite_id);
    mbedtls_ssl_session session;

    mbedtls_ssl_session_init(&session);
    talk(suite, NULL, &session);
    talk(suite, &session, NULL);
    mbedtls_ssl_session_free(&session);
}

#define SUITE(id)                                            \
    static void a_thousand_exchanges_with_##id(void **state) \
    {                                                        \
        (void)state;                                         \
        both_ends_agree(id);                                 \
    }
SUITE(0x1301)
SUITE(0x1302)
SUITE(0x1303)
SUITE(0xc02b)
SUITE(0xc02c)
SUITE(0xc02f)
SUITE(0xc030)
SUITE(0xcca8)
SUITE(0xcca9)

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)next_random();
    tls_server_init(&server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_server_dispose(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_exchanges_with_0x1301),
        cmocka_unit_test(a_thousand_exchanges_with_0x1302),
        cmocka_unit_test(a_thousand_exchanges_with_0x1303),
        cmocka_unit_test(a_thousand_exchanges_with_0xc02b),
        cmocka_unit_test(a_thousand_exchanges_with_0xc02c),
        cmocka_unit_test(a_thousand_exchanges_with_0xc02f),
        cmocka_unit_test(a_thousand_exchanges_with_0xc030),
        cmocka_unit_test(a_thousand_exchanges_with_0xcca8),
        cmocka_unit_test(a_thousand_exchanges_with_0xcca9),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
