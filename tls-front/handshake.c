#include "tls-front/handshake.h"

#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <psa/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "tls-front/handshake_sign.h"

#define ALPN_MAX                8
#define ALPN_TEXT               64
#define RECORD_TYPE_APPLICATION 23
/* A flight of ours is a certificate chain and little else. */
#define OUT_MAX ((size_t)256 * 1024)

struct tls_config {
    unsigned refs;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt chains[TLS_CERTS_MAX];
    struct handshake_key keys[TLS_CERTS_MAX];
    size_t certs;
    mbedtls_ssl_ticket_context tickets;
    uint64_t tenant;
    char alpn_text[ALPN_TEXT];
    const char *alpn[ALPN_MAX + 1]; /* into alpn_text */
};

/* What the export callback said.  TLS 1.3: traffic secrets; TLS 1.2: master
 * secret and randoms. */
struct stash {
    uint8_t client[HANDOVER_SECRET_MAX], server[HANDOVER_SECRET_MAX];
    size_t len;
    uint8_t randoms[64]; /* server's, client's: the order of the key block */
    mbedtls_tls_prf_types prf;
};

struct handshake {
    struct tls_config *config; /* a reference */
    mbedtls_ssl_context ssl;
    struct handshake_sign sign;
    const uint8_t *in; /* borrowed during handshake_run() */
    size_t in_len, in_at;
    struct tls_bytes out;
    struct stash stash;
    /* Records that were sent since the client's last byte was read. */
    unsigned sent;         /* of any type */
    unsigned sent_sealed;  /* of type application_data */
    unsigned first_flight; /* sent_sealed when the client was first read after it */
    bool over;
};

enum rc tls_init(void)
{
    return psa_crypto_init() == PSA_SUCCESS ? RC_OK : RC_CRYPTO;
}

/*----- configurations -----*/

static enum rc from_mbedtls(int r)
{
    switch (r) {
    case 0:
        return RC_OK;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
    case MBEDTLS_ERR_X509_ALLOC_FAILED:
    case MBEDTLS_ERR_PK_ALLOC_FAILED:
        return RC_NOMEM;
    default:
        return RC_INVAL;
    }
}

static enum rc parse_pem(struct tls_config *c, const struct tls_pem *pem)
{
    mbedtls_x509_crt *chain = &c->chains[c->certs];
    struct handshake_key *key = &c->keys[c->certs];
    int r;

    if (strlen(pem->key) >= sizeof key->id)
        return RC_INVAL;
    mbedtls_x509_crt_init(chain);
    c->certs++;
    r = mbedtls_x509_crt_parse(chain, pem->chain, pem->chain_len);
    /* What Mbed TLS takes for the private key is the public one of the certificate: it
     * tells it of which kind the key is, and us which one to sign with. */
    key->pk = &chain->pk;
    memcpy(key->id, pem->key, strlen(pem->key) + 1);
    if (r == 0)
        r = mbedtls_ssl_conf_own_cert(&c->conf, chain, &chain->pk);
    return r > 0 ? RC_INVAL : from_mbedtls(r); /* > 0: so many bad certificates */
}

static enum rc set_alpn(struct tls_config *c, const char *alpn)
{
    size_t n = 0;
    char *rest;

    if (strlen(alpn) >= sizeof c->alpn_text)
        return RC_TOO_LARGE;
    memcpy(c->alpn_text, alpn, strlen(alpn) + 1);
    for (char *p = strtok_r(c->alpn_text, ",", &rest); p && n < ALPN_MAX;
         p = strtok_r(NULL, ",", &rest))
        c->alpn[n++] = p;
    return n == 0 ? RC_OK : from_mbedtls(mbedtls_ssl_conf_alpn_protocols(&c->conf, c->alpn));
}

static enum rc rotate(struct tls_config *c, const uint8_t *secret)
{
    struct ticket_key key;
    enum rc rc = ticket_derive(secret, c->tenant, &key);

    if (!rc)
        rc = from_mbedtls(mbedtls_ssl_ticket_rotate(&c->tickets, key.name, sizeof key.name, key.key,
                                                    sizeof key.key, TICKET_LIFETIME_S));
    secret_wipe(&key, sizeof key);
    return rc;
}

enum rc tls_config_tickets(struct tls_config *c, const struct ticket_secrets *secrets)
{
    /* The context keeps two keys and issues with the one that came last. */
    enum rc rc = rotate(c, secrets->before);

    return rc ? rc : rotate(c, secrets->now);
}

static enum rc set_up(struct tls_config *c, const char *alpn, const struct ticket_secrets *secrets)
{
    static const uint16_t groups[] = {
        MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
        MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
    enum rc rc;
    int r;

    r = mbedtls_ssl_config_defaults(&c->conf, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT);
    if (r)
        return from_mbedtls(r);
    mbedtls_ssl_conf_rng(&c->conf, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
    mbedtls_ssl_conf_min_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_groups(&c->conf, groups);
    mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_NONE);
    rc = set_alpn(c, alpn);
    if (rc)
        return rc;

    r = mbedtls_ssl_ticket_setup(&c->tickets, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE,
                                 MBEDTLS_CIPHER_AES_256_GCM, TICKET_LIFETIME_S);
    if (r)
        return from_mbedtls(r);
    rc = tls_config_tickets(c, secrets);
    if (rc)
        return rc;
    mbedtls_ssl_conf_session_tickets_cb(&c->conf, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, &c->tickets);
    mbedtls_ssl_conf_new_session_tickets(&c->conf, TLS_TICKETS);
    return RC_OK;
}

enum rc tls_config_new(struct tls_config **out, const struct tls_pem *pems, size_t n,
                       const char *alpn, uint64_t tenant, const struct ticket_secrets *secrets)
{
    struct tls_config *c;
    enum rc rc;

    CHECK(n >= 1 && n <= TLS_CERTS_MAX);
    c = calloc(1, sizeof *c);
    if (!c)
        return RC_NOMEM;
    c->refs = 1;
    c->tenant = tenant;
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_ssl_ticket_init(&c->tickets);
    rc = set_up(c, alpn, secrets);
    for (size_t i = 0; !rc && i < n; i++)
        rc = parse_pem(c, &pems[i]);
    if (rc) {
        tls_config_unref(c);
        return rc;
    }
    *out = c;
    return RC_OK;
}

struct tls_config *tls_config_ref(struct tls_config *c)
{
    c->refs++;
    return c;
}

void tls_config_unref(struct tls_config *c)
{
    if (!c || --c->refs > 0)
        return;
    mbedtls_ssl_config_free(&c->conf);
    mbedtls_ssl_ticket_free(&c->tickets);
    for (size_t i = 0; i < c->certs; i++)
        mbedtls_x509_crt_free(&c->chains[i]);
    secret_wipe(c, sizeof *c);
    free(c);
}

/*----- the wire, in memory -----*/

static int receive(void *ctx, unsigned char *buf, size_t len)
{
    struct handshake *hs = ctx;
    size_t n = hs->in_len - hs->in_at;

    if (n == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > len)
        n = len;
    memcpy(buf, hs->in + hs->in_at, n);
    hs->in_at += n;
    if (hs->first_flight == 0)
        hs->first_flight = hs->sent_sealed;
    hs->sent = hs->sent_sealed = 0;
    return (int)n;
}

/* Mbed TLS sends one whole record a call, as nothing is ever refused here. */
static int send(void *ctx, const unsigned char *buf, size_t len)
{
    struct handshake *hs = ctx;
    struct tls_bytes *out = &hs->out;

    if (len > OUT_MAX - out->len)
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    if (out->size - out->len < len) {
        size_t size = out->len + len < 2048 ? 2048 : 2 * (out->len + len);
        uint8_t *p = realloc(out->p, size);

        if (!p)
            return MBEDTLS_ERR_SSL_ALLOC_FAILED;
        out->p = p;
        out->size = size;
    }
    memcpy(out->p + out->len, buf, len);
    out->len += len;
    handshake_sign_sent(&hs->sign, buf, len);
    hs->sent++;
    hs->sent_sealed += buf[0] == RECORD_TYPE_APPLICATION;
    return (int)len;
}

/* Comes before the client's Finished is verified: keep, and tell nobody yet. */
static void stash_keys(void *ctx, mbedtls_ssl_key_export_type type, const unsigned char *secret,
                       size_t len, const unsigned char client_random[32],
                       const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
    struct stash *s = &((struct handshake *)ctx)->stash;

    CHECK(len <= HANDOVER_SECRET_MAX);
    switch (type) {
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET:
        memcpy(s->client, secret, len);
        s->len = len;
        break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET:
        memcpy(s->server, secret, len);
        s->len = len;
        break;
    case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET:
        memcpy(s->client, secret, len);
        memcpy(s->randoms, server_random, 32);
        memcpy(s->randoms + 32, client_random, 32);
        s->len = len;
        s->prf = prf;
        break;
    default:
        break; /* handshake secrets and the exporter's are nobody's business */
    }
}

/*----- one handshake -----*/

static int shake(void *arg)
{
    struct handshake *hs = arg;
    /* Not by mbedtls_ssl_is_handshake_over(): in TLS 1.3 that is true before the
     * tickets are written. */
    int r = mbedtls_ssl_handshake(&hs->ssl);

    secret_wipe_stack();
    return r;
}

enum rc handshake_new(struct handshake **out, struct tls_config *config,
                      const uint8_t client_random[AGENT_RANDOM_SIZE])
{
    struct handshake *hs = calloc(1, sizeof *hs);
    int r;

    if (!hs)
        return RC_NOMEM;
    hs->config = tls_config_ref(config);
    handshake_sign_init(&hs->sign, config->keys, config->certs, client_random, shake, hs);
    mbedtls_ssl_init(&hs->ssl);
    r = mbedtls_ssl_setup(&hs->ssl, &config->conf);
    if (r) {
        /* Out of memory half way it forgets the configuration, without which what it has
         * made cannot be freed (Mbed TLS 3.6). */
        hs->ssl.MBEDTLS_PRIVATE(conf) = &config->conf;
        handshake_free(hs);
        return RC_NOMEM;
    }
    mbedtls_ssl_set_bio(&hs->ssl, hs, send, receive, NULL);
    mbedtls_ssl_set_export_keys_cb(&hs->ssl, stash_keys, hs);
    *out = hs;
    return RC_OK;
}

enum rc handshake_run(struct handshake *hs, const uint8_t *in, size_t len, size_t *used)
{
    enum rc rc;
    int r;

    CHECK(!hs->over);
    hs->in = in;
    hs->in_len = len;
    hs->in_at = 0;
    rc = handshake_sign_run(&hs->sign, &r);
    *used = hs->in_at;
    hs->in = NULL;
    hs->in_len = hs->in_at = 0;
    if (rc)
        return rc;
    if (r == MBEDTLS_ERR_SSL_WANT_READ)
        return RC_AGAIN;
    if (r == MBEDTLS_ERR_SSL_ALLOC_FAILED)
        return RC_NOMEM;
    if (r != 0) {
        /* TLS 1.2 says nothing to the client by itself then. */
        if (hs->sign.refused && hs->sign.want.kind == AGENT_TLS12)
            (void)mbedtls_ssl_send_alert_message(&hs->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                                 MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR);
        return RC_CRYPTO;
    }
    hs->over = true;
    return RC_OK;
}

const struct agent_sign *handshake_unsigned(const struct handshake *hs)
{
    return handshake_sign_wanted(&hs->sign);
}

void handshake_signed(struct handshake *hs, const struct agent_signed *answer)
{
    handshake_sign_answer(&hs->sign, answer);
}

struct tls_bytes *handshake_out(struct handshake *hs)
{
    return &hs->out;
}

/* TLS 1.3: after the client's Finished, which was read last, tickets are all that
 * was sent, and each is a record.  A full handshake's first sealed flight also
 * has the certificate and its proof between encrypted extensions and Finished. */
static enum rc export_13(const struct handshake *hs, const struct tls_suite *suite,
                         struct handover *h)
{
    if (hs->stash.len != suite->hash_len)
        return RC_CRYPTO;
    h->in.secret_len = h->out.secret_len = suite->hash_len;
    memcpy(h->in.secret, hs->stash.client, suite->hash_len);
    memcpy(h->out.secret, hs->stash.server, suite->hash_len);
    h->in.seq = 0;
    h->out.seq = hs->sent_sealed;
    h->resumed = hs->first_flight <= 2;
    return RC_OK;
}

/* TLS 1.2: the key block (RFC 5246, 6.3) of an AEAD has no MAC keys.  In a resumed
 * handshake the client's Finished is the last word, in a full one ours. */
static enum rc export_12(const struct handshake *hs, const struct tls_suite *suite,
                         struct handover *h)
{
    uint8_t block[2 * (HANDOVER_KEY_MAX + HANDOVER_IV_SIZE)];
    size_t key = suite->key_len, iv = suite->fixed_iv_len;
    const uint8_t *p = block;

    if (mbedtls_ssl_tls_prf(hs->stash.prf, hs->stash.client, hs->stash.len, "key expansion",
                            hs->stash.randoms, sizeof hs->stash.randoms, block,
                            2 * (key + iv)) != 0) {
        secret_wipe(block, sizeof block);
        return RC_CRYPTO;
    }
    h->in.key_len = h->out.key_len = suite->key_len;
    h->in.iv_len = h->out.iv_len = suite->fixed_iv_len;
    memcpy(h->in.key, p, key);
    memcpy(h->out.key, p + key, key);
    memcpy(h->in.iv, p + 2 * key, iv);
    memcpy(h->out.iv, p + 2 * key + iv, iv);
    h->in.seq = h->out.seq = 1; /* Finished was 0 */
    h->resumed = hs->sent == 0;
    secret_wipe(block, sizeof block);
    return RC_OK;
}

enum rc handshake_export(struct handshake *hs, struct handover *h)
{
    const struct tls_suite *suite;
    const char *alpn = mbedtls_ssl_get_alpn_protocol(&hs->ssl);
    int in_limit = mbedtls_ssl_get_max_in_record_payload(&hs->ssl);
    int out_limit = mbedtls_ssl_get_max_out_record_payload(&hs->ssl);
    int id = mbedtls_ssl_get_ciphersuite_id_from_ssl(&hs->ssl);
    enum rc rc;

    CHECK(hs->over);
    suite = tls_suite_find((uint16_t)id);
    if (!suite || in_limit <= 0 || out_limit <= 0)
        return RC_UNSUPPORTED;
    h->tls_version = suite->version;
    h->suite = suite->id;
    h->in.record_limit = (uint16_t)in_limit;
    h->out.record_limit = (uint16_t)out_limit;
    if (alpn && strlen(alpn) < sizeof h->alpn)
        memcpy(h->alpn, alpn, strlen(alpn) + 1);
    rc = suite->version == TLS_1_3 ? export_13(hs, suite, h) : export_12(hs, suite, h);
    secret_wipe_stack();
    if (rc)
        handover_wipe(h);
    return rc;
}

enum rc handshake_answer(struct handshake *hs, const void *plain, size_t len)
{
    const unsigned char *p = plain;

    CHECK(hs->over);
    while (len > 0) {
        int r = mbedtls_ssl_write(&hs->ssl, p, len);

        if (r <= 0)
            return RC_CRYPTO;
        p += r;
        len -= (size_t)r;
    }
    return mbedtls_ssl_close_notify(&hs->ssl) == 0 ? RC_OK : RC_CRYPTO;
}

void handshake_free(struct handshake *hs)
{
    if (!hs)
        return;
    handshake_sign_abandon(&hs->sign);
    mbedtls_ssl_free(&hs->ssl);
    tls_config_unref(hs->config);
    free(hs->out.p);
    secret_wipe(hs, sizeof *hs);
    free(hs);
}

void tls_alert_plain(enum tls_plain_alert alert, uint8_t out[TLS_ALERT_SIZE])
{
    static const uint8_t head[] = {21, 3, 3, 0, 2, 2};

    memcpy(out, head, sizeof head);
    out[sizeof head] = (uint8_t)alert;
}
