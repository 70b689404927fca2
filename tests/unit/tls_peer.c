#include "tests/unit/tls_peer.h"

#include <mbedtls/ecp.h>
#include <mbedtls/rsa.h>
#include <psa/crypto.h>
#include <string.h>

#include "tests/unit/unit.h"

/*----- wire -----*/

void pipe_put(struct pipe *p, const void *bytes, size_t len)
{
    assert_true(len <= sizeof p->bytes - p->len);
    memcpy(p->bytes + p->len, bytes, len);
    p->len += len;
}

void pipe_drop(struct pipe *p, size_t len)
{
    assert_true(len <= p->len);
    p->len -= len;
    memmove(p->bytes, p->bytes + len, p->len);
}

size_t pipe_get(struct pipe *p, void *bytes, size_t size)
{
    size_t n = size < p->len ? size : p->len;

    memcpy(bytes, p->bytes, n);
    pipe_drop(p, n);
    return n;
}

static int bio_put(struct pipe *p, const unsigned char *bytes, size_t len)
{
    pipe_put(p, bytes, len);
    return (int)len;
}

static int bio_get(struct pipe *p, unsigned char *bytes, size_t size)
{
    size_t n = pipe_get(p, bytes, size);

    return n > 0 ? (int)n : MBEDTLS_ERR_SSL_WANT_READ;
}

static int server_send(void *wire, const unsigned char *bytes, size_t len)
{
    return bio_put(&((struct tls_wire *)wire)->to_client, bytes, len);
}

static int server_recv(void *wire, unsigned char *bytes, size_t size)
{
    return bio_get(&((struct tls_wire *)wire)->to_server, bytes, size);
}

static int client_send(void *wire, const unsigned char *bytes, size_t len)
{
    return bio_put(&((struct tls_wire *)wire)->to_server, bytes, len);
}

static int client_recv(void *wire, unsigned char *bytes, size_t size)
{
    return bio_get(&((struct tls_wire *)wire)->to_client, bytes, size);
}

/*----- server -----*/

static void self_sign(struct tls_server *s, mbedtls_pk_context *key, mbedtls_x509_crt *crt)
{
    mbedtls_x509write_cert w;
    unsigned char der[2048], serial[] = {1};
    int n;

    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, key);
    mbedtls_x509write_crt_set_issuer_key(&w, key);
    assert_int_equal(mbedtls_x509write_crt_set_subject_name(&w, "CN=acme.example"), 0);
    assert_int_equal(mbedtls_x509write_crt_set_issuer_name(&w, "CN=acme.example"), 0);
    assert_int_equal(mbedtls_x509write_crt_set_serial_raw(&w, serial, sizeof serial), 0);
    assert_int_equal(mbedtls_x509write_crt_set_validity(&w, "20200101000000", "20991231235959"), 0);
    n = mbedtls_x509write_crt_der(&w, der, sizeof der, mbedtls_ctr_drbg_random, &s->drbg);
    assert_true(n > 0);
    mbedtls_x509_crt_init(crt);
    assert_int_equal(mbedtls_x509_crt_parse_der(crt, der + sizeof der - n, (size_t)n), 0);
    mbedtls_x509write_crt_free(&w);
}

/* How many of these there were is how many records the front has sent under the
 * application keys of TLS 1.3. */
static int write_ticket(void *server, const mbedtls_ssl_session *session, unsigned char *start,
                        const unsigned char *end, size_t *len, uint32_t *lifetime)
{
    struct tls_server *s = server;

    s->tickets_written++;
    return mbedtls_ssl_ticket_write(&s->tickets, session, start, end, len, lifetime);
}

static int parse_ticket(void *server, mbedtls_ssl_session *session, unsigned char *buf, size_t len)
{
    struct tls_server *s = server;
    int r = mbedtls_ssl_ticket_parse(&s->tickets, session, buf, len);

    s->resumed = r == 0;
    return r;
}

static void stash(void *server, mbedtls_ssl_key_export_type type, const unsigned char *secret,
                  size_t len, const unsigned char client_random[32],
                  const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
    struct tls_server *s = server;

    switch (type) {
    case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET:
        assert_int_equal(len, sizeof s->master);
        memcpy(s->master, secret, len);
        memcpy(s->randoms, server_random, 32);
        memcpy(s->randoms + 32, client_random, 32);
        s->prf = prf;
        break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET:
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET:
        memcpy(s->secrets[type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET],
               secret, len);
        s->secret_len = len;
        break;
    default:
        break;
    }
}

void tls_server_init(struct tls_server *s)
{
    memset(s, 0, sizeof *s);
    assert_int_equal(psa_crypto_init(), PSA_SUCCESS);
    mbedtls_entropy_init(&s->entropy);
    mbedtls_ctr_drbg_init(&s->drbg);
    assert_int_equal(mbedtls_ctr_drbg_seed(&s->drbg, mbedtls_entropy_func, &s->entropy, NULL, 0),
                     0);

    mbedtls_pk_init(&s->ec_key);
    assert_int_equal(mbedtls_pk_setup(&s->ec_key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), 0);
    assert_int_equal(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(s->ec_key),
                                         mbedtls_ctr_drbg_random, &s->drbg),
                     0);
    self_sign(s, &s->ec_key, &s->ec_crt);
    mbedtls_pk_init(&s->rsa_key);
    assert_int_equal(mbedtls_pk_setup(&s->rsa_key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)), 0);
    assert_int_equal(mbedtls_rsa_gen_key(mbedtls_pk_rsa(s->rsa_key), mbedtls_ctr_drbg_random,
                                         &s->drbg, 1024, 65537),
                     0);
    self_sign(s, &s->rsa_key, &s->rsa_crt);

    mbedtls_ssl_config_init(&s->conf);
    assert_int_equal(mbedtls_ssl_config_defaults(&s->conf, MBEDTLS_SSL_IS_SERVER,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    mbedtls_ssl_conf_rng(&s->conf, mbedtls_ctr_drbg_random, &s->drbg);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&s->conf, &s->ec_crt, &s->ec_key), 0);
    assert_int_equal(mbedtls_ssl_conf_own_cert(&s->conf, &s->rsa_crt, &s->rsa_key), 0);
    mbedtls_ssl_ticket_init(&s->tickets);
    assert_int_equal(mbedtls_ssl_ticket_setup(&s->tickets, mbedtls_ctr_drbg_random, &s->drbg,
                                              MBEDTLS_CIPHER_AES_256_GCM, 86400),
                     0);
    mbedtls_ssl_conf_session_tickets_cb(&s->conf, write_ticket, parse_ticket, s);
    mbedtls_ssl_conf_new_session_tickets(&s->conf, 2);
}

void tls_server_dispose(struct tls_server *s)
{
    mbedtls_ssl_config_free(&s->conf);
    mbedtls_ssl_ticket_free(&s->tickets);
    mbedtls_x509_crt_free(&s->ec_crt);
    mbedtls_x509_crt_free(&s->rsa_crt);
    mbedtls_pk_free(&s->ec_key);
    mbedtls_pk_free(&s->rsa_key);
    mbedtls_ctr_drbg_free(&s->drbg);
    mbedtls_entropy_free(&s->entropy);
    mbedtls_psa_crypto_free();
}

void tls_server_begin(struct tls_server *s, struct tls_wire *wire)
{
    wire->to_server.len = wire->to_client.len = 0;
    s->tickets_written = 0;
    s->resumed = false;
    s->secret_len = 0;
    mbedtls_ssl_init(&s->ssl);
    assert_int_equal(mbedtls_ssl_setup(&s->ssl, &s->conf), 0);
    mbedtls_ssl_set_bio(&s->ssl, wire, server_send, server_recv, NULL);
    mbedtls_ssl_set_export_keys_cb(&s->ssl, stash, s);
}

bool tls_server_step(struct tls_server *s)
{
    int r = mbedtls_ssl_handshake(&s->ssl);

    if (r == MBEDTLS_ERR_SSL_WANT_READ || r == MBEDTLS_ERR_SSL_WANT_WRITE)
        return false;
    assert_int_equal(r, 0);
    return true;
}

/* RFC 5246, 6.3: client_write_key, server_write_key, then the IVs (no MAC keys). */
static void expand_key_block(const struct tls_server *s, const struct tls_suite *suite,
                             struct handover *h)
{
    uint8_t block[2 * (HANDOVER_KEY_MAX + HANDOVER_IV_SIZE)];
    size_t key = suite->key_len, iv = suite->fixed_iv_len;

    assert_int_equal(mbedtls_ssl_tls_prf(s->prf, s->master, sizeof s->master, "key expansion",
                                         s->randoms, sizeof s->randoms, block, 2 * (key + iv)),
                     0);
    memcpy(h->in.key, block, key);
    memcpy(h->out.key, block + key, key);
    memcpy(h->in.iv, block + 2 * key, iv);
    memcpy(h->out.iv, block + 2 * key + iv, iv);
    h->in.key_len = h->out.key_len = (uint8_t)key;
    h->in.iv_len = h->out.iv_len = (uint8_t)iv;
}

void tls_server_end(struct tls_server *s, struct handover *out)
{
    const struct tls_suite *suite =
        tls_suite_find((uint16_t)mbedtls_ssl_get_ciphersuite_id_from_ssl(&s->ssl));
    int limit = mbedtls_ssl_get_max_out_record_payload(&s->ssl);

    assert_non_null(suite);
    memset(out, 0, sizeof *out);
    out->tls_version = suite->version;
    out->suite = suite->id;
    out->resumed = s->resumed;
    out->in.record_limit = 16384;
    out->out.record_limit = (uint16_t)limit;
    if (suite->version == TLS_1_3) {
        assert_int_equal(s->secret_len, suite->hash_len);
        memcpy(out->in.secret, s->secrets[0], s->secret_len);
        memcpy(out->out.secret, s->secrets[1], s->secret_len);
        out->in.secret_len = out->out.secret_len = suite->hash_len;
        out->out.seq = s->tickets_written;
    } else {
        expand_key_block(s, suite, out);
        out->in.seq = out->out.seq = 1; /* Finished was 0 */
    }
    mbedtls_ssl_free(&s->ssl);
}

/*----- client -----*/

void tls_client_connect(struct tls_client *c, struct tls_server *s, struct tls_wire *wire,
                        const struct tls_suite *suite, mbedtls_ssl_session *session,
                        struct handover *out)
{
    bool server_done = false;
    int r = -1;

    mbedtls_ssl_config_init(&c->conf);
    assert_int_equal(mbedtls_ssl_config_defaults(&c->conf, MBEDTLS_SSL_IS_CLIENT,
                                                 MBEDTLS_SSL_TRANSPORT_STREAM,
                                                 MBEDTLS_SSL_PRESET_DEFAULT),
                     0);
    mbedtls_ssl_conf_rng(&c->conf, mbedtls_ctr_drbg_random, &s->drbg);
    mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_min_tls_version(&c->conf, (mbedtls_ssl_protocol_version)suite->version);
    mbedtls_ssl_conf_max_tls_version(&c->conf, (mbedtls_ssl_protocol_version)suite->version);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        &c->conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    c->suites[0] = suite->id;
    c->suites[1] = 0;
    mbedtls_ssl_conf_ciphersuites(&c->conf, c->suites);

    tls_server_begin(s, wire);
    mbedtls_ssl_init(&c->ssl);
    assert_int_equal(mbedtls_ssl_setup(&c->ssl, &c->conf), 0);
    assert_int_equal(mbedtls_ssl_set_hostname(&c->ssl, "acme.example"), 0);
    mbedtls_ssl_set_bio(&c->ssl, wire, client_send, client_recv, NULL);
    if (session)
        assert_int_equal(mbedtls_ssl_set_session(&c->ssl, session), 0);
    for (int turn = 0; turn < 20 && !(r == 0 && server_done); turn++) {
        if (r != 0) {
            r = mbedtls_ssl_handshake(&c->ssl);
            assert_true(r == 0 || r == MBEDTLS_ERR_SSL_WANT_READ);
        }
        if (!server_done)
            server_done = tls_server_step(s);
    }
    assert_true(r == 0 && server_done);
    tls_server_end(s, out);
}

void tls_client_dispose(struct tls_client *c)
{
    mbedtls_ssl_free(&c->ssl);
    mbedtls_ssl_config_free(&c->conf);
}
