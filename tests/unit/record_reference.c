#include "tests/unit/record_reference.h"

#include <mbedtls/ssl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED(cond)                                                            \
    do {                                                                      \
        if (!(cond)) {                                                        \
            fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #cond); \
            ERR_print_errors_fp(stderr);                                      \
            abort();                                                          \
        }                                                                     \
    } while (0)

static SSL_CTX *server_ctx, *client_ctx;
static struct {
    uint16_t suite;
    SSL_SESSION *session;
} sessions[16];

/* Of the handshake in progress, from the key log. */
static uint8_t secrets[2][HANDOVER_SECRET_MAX];

static void take_secret(const SSL *ssl, const char *line)
{
    static const char *const labels[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};

    (void)ssl;
    for (int i = 0; i < 2; i++) {
        size_t len = strlen(labels[i]);
        const char *hex = line + len + 65; /* behind the client's random */

        if (strncmp(line, labels[i], len) != 0)
            continue;
        for (size_t n = 0; n < sizeof secrets[i] && hex[2 * n]; n++) {
            unsigned byte;

            NEED(sscanf(hex + 2 * n, "%2x", &byte) == 1);
            secrets[i][n] = (uint8_t)byte;
        }
    }
}

static void self_sign(EVP_PKEY *key)
{
    X509 *crt = X509_new();

    NEED(key && crt);
    NEED(X509_set_version(crt, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(crt), 1) == 1);
    NEED(X509_gmtime_adj(X509_getm_notBefore(crt), 0) != NULL);
    NEED(X509_gmtime_adj(X509_getm_notAfter(crt), 86400) != NULL);
    NEED(X509_set_pubkey(crt, key) == 1 && X509_sign(crt, key, EVP_sha256()) > 0);
    NEED(SSL_CTX_use_certificate(server_ctx, crt) == 1);
    NEED(SSL_CTX_use_PrivateKey(server_ctx, key) == 1);
    X509_free(crt);
    EVP_PKEY_free(key);
}

static void make_contexts(void)
{
    server_ctx = SSL_CTX_new(TLS_server_method());
    client_ctx = SSL_CTX_new(TLS_client_method());
    NEED(server_ctx && client_ctx);
    self_sign(EVP_EC_gen("P-256"));
    self_sign(EVP_RSA_gen(2048));
    SSL_CTX_set_keylog_callback(server_ctx, take_secret);
    SSL_CTX_set_options(server_ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_id_context(server_ctx, (const unsigned char *)"x", 1);
}

static void move(SSL *from, SSL *to)
{
    uint8_t bytes[16384];
    int n;

    while ((n = BIO_read(SSL_get_wbio(from), bytes, sizeof bytes)) > 0)
        NEED(BIO_write(SSL_get_rbio(to), bytes, n) == n);
}

static void export_keys(SSL *server, const struct tls_suite *suite, struct handover *h)
{
    uint8_t block[2 * (HANDOVER_KEY_MAX + HANDOVER_IV_SIZE)], master[48], randoms[64];
    size_t key = suite->key_len, iv = suite->fixed_iv_len;

    if (suite->version == TLS_1_3) {
        memcpy(h->in.secret, secrets[0], suite->hash_len);
        memcpy(h->out.secret, secrets[1], suite->hash_len);
        h->in.secret_len = h->out.secret_len = suite->hash_len;
        return;
    }
    NEED(SSL_SESSION_get_master_key(SSL_get0_session(server), master, sizeof master) == 48);
    NEED(SSL_get_server_random(server, randoms, 32) == 32);
    NEED(SSL_get_client_random(server, randoms + 32, 32) == 32);
    NEED(mbedtls_ssl_tls_prf(suite->hash_len == 48 ? MBEDTLS_SSL_TLS_PRF_SHA384
                                                   : MBEDTLS_SSL_TLS_PRF_SHA256,
                             master, sizeof master, "key expansion", randoms, sizeof randoms, block,
                             2 * (key + iv)) == 0);
    memcpy(h->in.key, block, key);
    memcpy(h->out.key, block + key, key);
    memcpy(h->in.iv, block + 2 * key, iv);
    memcpy(h->out.iv, block + 2 * key + iv, iv);
    h->in.key_len = h->out.key_len = (uint8_t)key;
    h->in.iv_len = h->out.iv_len = (uint8_t)iv;
    h->in.seq = h->out.seq = 1; /* Finished was 0 */
}

static SSL *make_end(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);

    NEED(ssl);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    return ssl;
}

/* `session`: in, to resume; out, to resume from later. */
static SSL *shake(const struct tls_suite *suite, uint8_t mfl, SSL_SESSION **session)
{
    SSL *server = make_end(server_ctx), *client = make_end(client_ctx);
    const char *name = OPENSSL_cipher_name(suite->name);
    int c = 0, s = 0;
    uint8_t byte;

    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    NEED(SSL_set_min_proto_version(client, suite->version) == 1);
    NEED(SSL_set_max_proto_version(client, suite->version) == 1);
    if (suite->version == TLS_1_3)
        NEED(SSL_set_ciphersuites(client, suite->name) == 1);
    else
        NEED(SSL_set_cipher_list(client, name) == 1);
    if (mfl)
        NEED(SSL_set_tlsext_max_fragment_length(client, mfl) == 1);
    SSL_set_num_tickets(server, *session ? 0 : 1);
    if (*session)
        NEED(SSL_set_session(client, *session) == 1);
    for (int turn = 0; turn < 10 && !(c == 1 && s == 1); turn++) {
        if (c != 1)
            c = SSL_do_handshake(client);
        move(client, server);
        if (s != 1)
            s = SSL_do_handshake(server);
        move(server, client);
    }
    NEED(c == 1 && s == 1);
    NEED(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(server)) == suite->id);
    if (!*session) {
        NEED(SSL_read(client, &byte, 1) < 0); /* the ticket */
        *session = SSL_get1_session(client);
    }
    SSL_free(client);
    return server;
}

void reference_begin(struct reference *r, uint16_t id, uint8_t mfl, struct handover *out)
{
    const struct tls_suite *suite = tls_suite_find(id);
    SSL_SESSION **session = NULL, *none = NULL;

    NEED(suite);
    if (!server_ctx)
        make_contexts();
    for (size_t i = 0; !session; i++) {
        NEED(i < sizeof sessions / sizeof sessions[0]);
        if (sessions[i].suite == id || !sessions[i].suite)
            session = &sessions[i].session;
        if (!sessions[i].suite)
            sessions[i].suite = id;
    }
    if (mfl)
        session = &none;
    else if (!*session)
        SSL_free(shake(suite, 0, session));
    r->server = shake(suite, mfl, session);
    SSL_SESSION_free(none);
    r->in = SSL_get_rbio(r->server);
    r->out = SSL_get_wbio(r->server);
    memset(out, 0, sizeof *out);
    out->tls_version = suite->version;
    out->suite = id;
    out->in.record_limit = out->out.record_limit = (uint16_t)(mfl ? 256u << mfl : 16384u);
    export_keys(r->server, suite, out);
    if (suite->version == TLS_1_3 && mfl)
        out->out.seq = 1; /* not resumed: a ticket is out */
}

void reference_end(struct reference *r)
{
    SSL_free(r->server);
    ERR_clear_error();
}

enum reference_end reference_read(struct reference *r, const void *bytes, size_t len, uint8_t *text,
                                  size_t *text_len, uint8_t *alert)
{
    size_t n;

    if (len > 0)
        NEED(BIO_write(r->in, bytes, (int)len) == (int)len);
    for (;;) {
        ERR_clear_error();
        if (SSL_read_ex(r->server, text + *text_len, 16384, &n) == 1) {
            *text_len += n;
            continue;
        }
        switch (SSL_get_error(r->server, 0)) {
        case SSL_ERROR_WANT_READ:
            return REFERENCE_WAITS;
        case SSL_ERROR_ZERO_RETURN:
            return REFERENCE_CLOSED;
        default:
            if (SSL_get_shutdown(r->server) & SSL_RECEIVED_SHUTDOWN && !ERR_peek_error())
                return REFERENCE_CLOSED; /* of a level that it does not know */
            n = (size_t)ERR_GET_REASON(ERR_peek_error());
            if (n < SSL_AD_REASON_OFFSET)
                return REFERENCE_REFUSED;
            *alert = (uint8_t)(n - SSL_AD_REASON_OFFSET);
            return REFERENCE_CANCELED;
        }
    }
}

size_t reference_sent(struct reference *r, uint8_t *to, size_t size)
{
    int n = BIO_read(r->out, to, (int)size);

    return n > 0 ? (size_t)n : 0;
}
