/* KeyUpdate against OpenSSL's client, in mid-stream, from either side, asked for or
 * not: Mbed TLS has none. */
#include <openssl/ssl.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"
#include "tests/unit/tls_peer.h"
#include "tests/unit/unit.h"

static struct tls_server server;
static struct tls_wire wire;
static uint8_t pattern[1 << 16];

static SSL_CTX *ctx;
static SSL *ssl;
static BIO *to_ssl, *from_ssl; /* owned by ssl */

static struct record tenant;
static uint8_t inbox[4 * RECORD_WIRE_MAX];
static size_t inbox_len;

/*----- the client -----*/

static void client_to_wire(void)
{
    uint8_t bytes[4096];
    int n;

    while ((n = BIO_read(from_ssl, bytes, sizeof bytes)) > 0)
        pipe_put(&wire.to_server, bytes, (size_t)n);
}

static void wire_to_client(void)
{
    assert_int_equal(BIO_write(to_ssl, wire.to_client.bytes, (int)wire.to_client.len),
                     (int)wire.to_client.len);
    wire.to_client.len = 0;
}

static void client_expect(const uint8_t *want, size_t len)
{
    static uint8_t buf[sizeof pattern];
    size_t got = 0, n;

    wire_to_client();
    while (got < len) {
        assert_int_equal(SSL_read_ex(ssl, buf, len - got, &n), 1);
        assert_memory_equal(buf, want + got, n);
        got += n;
    }
    client_to_wire(); /* a KeyUpdate that we asked for */
}

static void client_send(const uint8_t *data, size_t len)
{
    size_t n;

    assert_int_equal(SSL_write_ex(ssl, data, len, &n), 1);
    assert_int_equal(n, len);
    client_to_wire();
}

static void client_update_key(int how)
{
    assert_int_equal(SSL_key_update(ssl, how), 1);
    assert_int_equal(SSL_do_handshake(ssl), 1);
    client_to_wire();
}

/*----- the tenant -----*/

static void tenant_expect(const uint8_t *want, size_t len)
{
    size_t got = 0;

    inbox_len += pipe_get(&wire.to_server, inbox + inbox_len, sizeof inbox - inbox_len);
    for (;;) {
        uint8_t *data;
        size_t used, data_len;
        enum rc rc = record_read(&tenant, inbox, inbox_len, &used, &data, &data_len);

        if (rc == RC_OK) {
            assert_true(data_len <= len - got);
            assert_memory_equal(data, want + got, data_len);
            got += data_len;
        }
        inbox_len -= used;
        memmove(inbox, inbox + used, inbox_len);
        if (rc != RC_OK) {
            assert_int_equal(rc, RC_AGAIN);
            break;
        }
    }
    assert_int_equal(got, len);
    assert_int_equal(inbox_len, 0);
}

static void tenant_send(const uint8_t *data, size_t len)
{
    static uint8_t out[8 * RECORD_WIRE_MAX];
    size_t used, written;

    assert_int_equal(record_write(&tenant, 1, data, len, &used, out, sizeof out, &written), RC_OK);
    pipe_put(&wire.to_client, out, written);
}

/*----- both -----*/

static void connect_with(const char *suite)
{
    struct handover handover;
    bool server_done = false;
    int r = 0;

    ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION), 1);
    assert_int_equal(SSL_CTX_set_ciphersuites(ctx, suite), 1);
    ssl = SSL_new(ctx);
    to_ssl = BIO_new(BIO_s_mem());
    from_ssl = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, to_ssl, from_ssl);
    SSL_set_connect_state(ssl);

    tls_server_begin(&server, &wire);
    for (int turn = 0; turn < 20 && !(r == 1 && server_done); turn++) {
        if (r != 1)
            r = SSL_do_handshake(ssl);
        client_to_wire();
        if (!server_done)
            server_done = tls_server_step(&server);
        wire_to_client();
    }
    assert_true(r == 1 && server_done);
    tls_server_end(&server, &handover);
    assert_int_equal(record_init(&tenant, &handover), RC_OK);
    handover_wipe(&handover);
    inbox_len = 0;
}

static void disconnect(void)
{
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    record_dispose(&tenant);
}

static void both_talk(size_t len)
{
    client_send(pattern, len);
    tenant_expect(pattern, len);
    tenant_send(pattern + 1, len);
    client_expect(pattern + 1, len);
}

static const char *const names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                    "TLS_CHACHA20_POLY1305_SHA256"};

static void the_client_updates_its_key_in_mid_stream(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        connect_with(names[i]);
        both_talk(1000);
        for (unsigned round = 0; round < 20; round++) {
            client_send(pattern, 40000);
            client_update_key(SSL_KEY_UPDATE_NOT_REQUESTED);
            client_send(pattern + 40000, 20000);
            tenant_expect(pattern, 60000);
            assert_false(record_pending(&tenant));
            both_talk(10 + round);
        }
        disconnect();
    }
}

static void the_client_asks_for_our_key_update_in_mid_stream(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        connect_with(names[i]);
        for (unsigned round = 0; round < 20; round++) {
            tenant_send(pattern, 30000);
            client_update_key(SSL_KEY_UPDATE_REQUESTED);
            client_send(pattern, 100);
            tenant_expect(pattern, 100);
            assert_true(record_pending(&tenant));
            tenant_send(pattern + 30000, 30000);
            assert_true(tenant.out.seq < 30); /* began again at 0 */
            client_expect(pattern, 60000);
            both_talk(10 + round);
        }
        disconnect();
    }
}

static void many_requests_in_a_row_are_answered_by_one(void **state)
{
    (void)state;
    connect_with(names[0]);
    for (unsigned n = 0; n < RECORD_KEY_UPDATE_MAX; n++)
        client_update_key(SSL_KEY_UPDATE_REQUESTED);
    both_talk(500);
    assert_int_equal(tenant.out.seq, 1);
    disconnect();
}

static void we_update_our_key_and_ask_for_the_clients(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        connect_with(names[i]);
        for (unsigned round = 0; round < 5; round++) {
            both_talk(3000);
            /* What a key that has served long makes the layer do by itself. */
            tenant.key_update = true;
            tenant.key_update_ask = round % 2 == 0;
            tenant_send(pattern, 20000);
            client_expect(pattern, 20000);
            both_talk(3000);
            assert_int_equal(tenant.in.seq < 3, round % 2 == 0);
        }
        disconnect();
    }
}

/* The bound is lowered: nobody sends 2^23 records here. */
static void keys_that_have_served_are_replaced_in_both_directions(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint8_t first_in[HANDOVER_SECRET_MAX], first_out[HANDOVER_SECRET_MAX];

        connect_with(names[i]);
        tenant.rekey_after = 20;
        memcpy(first_in, tenant.in.secret, sizeof first_in);
        memcpy(first_out, tenant.out.secret, sizeof first_out);
        for (unsigned round = 0; round < 100; round++) {
            both_talk(3000); /* 1 record in, 3 out */
            assert_true(tenant.in.seq <= 20 + 1 && tenant.out.seq <= 20);
        }
        assert_memory_not_equal(first_in, tenant.in.secret, sizeof first_in);
        assert_memory_not_equal(first_out, tenant.out.secret, sizeof first_out);
        disconnect();
    }
}

static void a_key_update_may_be_the_first_record_and_the_last(void **state)
{
    uint8_t *data;
    size_t used, n;

    (void)state;
    connect_with(names[0]);
    client_update_key(SSL_KEY_UPDATE_REQUESTED);
    tenant_expect(pattern, 0);
    both_talk(2000);
    client_update_key(SSL_KEY_UPDATE_REQUESTED);
    assert_int_equal(SSL_shutdown(ssl), 0);
    client_to_wire();
    inbox_len = pipe_get(&wire.to_server, inbox, sizeof inbox);
    assert_int_equal(record_read(&tenant, inbox, inbox_len, &used, &data, &n), RC_CLOSED);
    assert_int_equal(record_eof(&tenant), RC_OK);
    tenant_send(pattern, 2000); /* the answer to both, and its rest */
    client_expect(pattern, 2000);
    disconnect();
}

static void both_ask_at_once(void **state)
{
    (void)state;
    connect_with(names[1]);
    tenant.key_update = tenant.key_update_ask = true;
    tenant_send(pattern, 5000);
    client_update_key(SSL_KEY_UPDATE_REQUESTED);
    client_send(pattern, 5000);
    tenant_expect(pattern, 5000);
    client_expect(pattern, 5000);
    both_talk(5000);
    both_talk(5000);
    disconnect();
}

static void close_notify_is_understood(void **state)
{
    uint8_t byte;
    size_t n;

    (void)state;
    connect_with(names[2]);
    both_talk(10);
    assert_int_equal(SSL_shutdown(ssl), 0);
    client_to_wire();
    inbox_len = pipe_get(&wire.to_server, inbox, sizeof inbox);
    uint8_t *data, out[64];
    size_t used, written;
    assert_int_equal(record_read(&tenant, inbox, inbox_len, &used, &data, &n), RC_CLOSED);
    record_close(&tenant);
    assert_int_equal(record_write(&tenant, 1, NULL, 0, &used, out, sizeof out, &written),
                     RC_CLOSED);
    pipe_put(&wire.to_client, out, written);
    wire_to_client();
    assert_int_equal(SSL_read_ex(ssl, &byte, 1, &n), 0);
    assert_int_equal(SSL_get_error(ssl, 0), SSL_ERROR_ZERO_RETURN);
    disconnect();
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)((i * 31 + 7) % 251);
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
        cmocka_unit_test(the_client_updates_its_key_in_mid_stream),
        cmocka_unit_test(the_client_asks_for_our_key_update_in_mid_stream),
        cmocka_unit_test(many_requests_in_a_row_are_answered_by_one),
        cmocka_unit_test(we_update_our_key_and_ask_for_the_clients),
        cmocka_unit_test(keys_that_have_served_are_replaced_in_both_directions),
        cmocka_unit_test(a_key_update_may_be_the_first_record_and_the_last),
        cmocka_unit_test(both_ask_at_once),
        cmocka_unit_test(close_notify_is_understood),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
