#include "tls-front/handshake.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <psa/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "tls-front/handshake_config.h"
#include "tls-front/handshake_message.h"
#include "tls-front/handshake_record.h"
#include "tls-front/handshake_sign.h"

/* A flight of ours is a certificate chain and little else. */
#define OUT_MAX ((size_t)256 * 1024)

/* Servers that take early data take 16 KiB, or less; each record adds its seal. */
#define EARLY_DATA_MAX ((size_t)32 * 1024)

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
    struct handshake_record record;
    enum tls_alert owed;    /* by what the client sent last */
    struct hello_scan scan; /* of the second hello */
    struct hello hello;     /* the first */
    size_t first;           /* bytes of its record */
    struct stash stash;
    struct handshake_messages messages;
    /* Records that were sent since the client's last byte was read. */
    unsigned sent_sealed; /* of type application_data */
    size_t early;         /* bytes of early data that were skipped */
    uint8_t last_sent;    /* the type of the last one; 0: none */
    bool over;
};

/* Whose turn it is: one at a time. */
static struct handshake *shaking;

enum rc tls_init(void)
{
    return psa_crypto_init() == PSA_SUCCESS ? RC_OK : RC_CRYPTO;
}

/*----- tickets -----*/

/* RFC 7627, 5.3: a session without extended_master_secret is not resumed with it, nor one with
 * it without.  Mbed TLS does not look; so without it there are no tickets at all. */
static bool has_tickets(const struct handshake *hs)
{
    return hs->hello.tls13 || hs->hello.master_secret;
}

int handshake_write_ticket(void *tickets, const mbedtls_ssl_session *session, unsigned char *start,
                           const unsigned char *end, size_t *len, uint32_t *lifetime)
{
    if (!has_tickets(shaking))
        return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
    return mbedtls_ssl_ticket_write(tickets, session, start, end, len, lifetime);
}

/* Nor does it look whether the client offers the session's suite, of which a session of the
 * other version has none that will do. */
static bool is_offered(const struct handshake *hs, const mbedtls_ssl_session *session)
{
    const struct tls_suite *suite =
        tls_suite_find((uint16_t)mbedtls_ssl_session_get_ciphersuite_id(session));
    bool tls13 = mbedtls_ssl_get_version_number(&hs->ssl) == MBEDTLS_SSL_VERSION_TLS1_3;

    if (!suite || (suite->version == TLS_1_3) != tls13)
        return false;
    for (unsigned i = 0; i < hs->hello.suites; i++)
        if (hs->hello.suite[i] == suite->id)
            return true;
    return false;
}

/* A ticket that is no good is none: the handshake is a full one. */
int handshake_parse_ticket(void *tickets, mbedtls_ssl_session *session, unsigned char *ticket,
                           size_t len)
{
    int r = has_tickets(shaking) ? mbedtls_ssl_ticket_parse(tickets, session, ticket, len)
                                 : MBEDTLS_ERR_SSL_INVALID_MAC;

    if (r == 0 && !is_offered(shaking, session)) {
        mbedtls_ssl_session_free(session);
        return MBEDTLS_ERR_SSL_INVALID_MAC;
    }
    return r;
}

/*----- the wire, in memory -----*/

/* Plaintext bytes in a record of the client: of TLS 1.2, as max_fragment_length was agreed on; of
 * TLS 1.3, our own record_size_limit is 2^14 with the type that is behind the content. */
static uint16_t in_limit(const struct handshake *hs)
{
    if (hs->hello.record_limit &&
        mbedtls_ssl_get_version_number(&hs->ssl) == MBEDTLS_SSL_VERSION_TLS1_3)
        return RECORD_PLAIN_MAX - 1;
    return (uint16_t)mbedtls_ssl_get_max_in_record_payload(&hs->ssl);
}

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
    hs->sent_sealed = hs->last_sent = 0;
    hs->record.limit = in_limit(hs);
    hs->owed = handshake_record_took(&hs->record, buf, n);
    if (hs->owed)
        return MBEDTLS_ERR_SSL_INVALID_RECORD;
    /* An alert in clear where all else is sealed: it could not be before it had our keys. */
    if (hs->record.hung_up && hs->record.sealed)
        return MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE;
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
    handshake_record_sent(&hs->record, buf, len);
    hs->last_sent = buf[0];
    hs->sent_sealed += buf[0] == RECORD_APPLICATION_DATA;
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

/* Early data that the client was promised by another server's ticket, skipped (RFC 8446,
 * 4.2.10).  Mbed TLS would hold it against what our tickets promise, which is none. */
int __wrap_mbedtls_ssl_tls13_check_early_data_len(mbedtls_ssl_context *ssl, size_t len);
int __wrap_mbedtls_ssl_tls13_check_early_data_len(mbedtls_ssl_context *ssl, size_t len)
{
    (void)ssl;
    if (len > EARLY_DATA_MAX - shaking->early)
        return MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE;
    shaking->early += len;
    return 0;
}

/*----- one handshake -----*/

static int shake(void *arg)
{
    struct handshake *hs = arg;
    int r;

    /* Not by mbedtls_ssl_is_handshake_over(): in TLS 1.3 that is true before the
     * tickets are written. */
    r = mbedtls_ssl_handshake(&hs->ssl);
    secret_wipe_stack();
    return r;
}

enum rc handshake_new(struct handshake **out, struct tls_config *config, const struct hello *hello)
{
    struct handshake *hs = calloc(1, sizeof *hs);
    int r;

    if (!hs)
        return RC_NOMEM;
    hs->config = tls_config_ref(config);
    hs->hello = *hello;
    hs->first = RECORD_HEAD_SIZE + hello->size;
    hs->record.early = hello->early_data;
    handshake_sign_init(&hs->sign, config->keys, config->certs, hello->random, shake, hs);
    mbedtls_ssl_init(&hs->ssl);
    r = mbedtls_ssl_setup(&hs->ssl, &config->conf);
    if (r) {
        /* Out of memory half way it forgets the configuration, without which what it has
         * made cannot be freed (Mbed TLS 3.6). */
        hs->ssl.MBEDTLS_PRIVATE(conf) = &config->conf;
        handshake_free(hs);
        return RC_NOMEM;
    }
    handshake_messages_init(&hs->messages, &hs->ssl);
    mbedtls_ssl_set_bio(&hs->ssl, hs, send, receive, NULL);
    mbedtls_ssl_set_export_keys_cb(&hs->ssl, stash_keys, hs);
    *out = hs;
    return RC_OK;
}

/* What Mbed TLS means by an error of which it has not told the client. */
static enum tls_alert alert_of(const struct handshake *hs, int r)
{
    switch (r) {
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE: /* the client's, and it awaits no answer */
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
        return TLS_ALERT_NONE;
    case MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE:
        return TLS_ALERT_HANDSHAKE_FAILURE;
    case MBEDTLS_ERR_SSL_DECODE_ERROR:
        /* TLS 1.2: of a point, as handshake_record.c has seen to the lengths. */
        return hs->record.spoken && !hs->record.sealed ? TLS_ALERT_ILLEGAL_PARAMETER
                                                       : TLS_ALERT_DECODE_ERROR;
    case MBEDTLS_ERR_SSL_BAD_INPUT_DATA: /* of a key share */
    case MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER:
        return TLS_ALERT_ILLEGAL_PARAMETER;
    case MBEDTLS_ERR_SSL_INVALID_RECORD: /* sealed, and nothing in it */
    case MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE:
        return TLS_ALERT_UNEXPECTED_MESSAGE;
    case MBEDTLS_ERR_SSL_INVALID_MAC:
        return TLS_ALERT_BAD_RECORD_MAC;
    default:
        return TLS_ALERT_INTERNAL_ERROR;
    }
}

/* A sealed alert cannot be told from other records, but whatever is sealed and the last
 * word of a failure is one. */
static bool has_told(const struct handshake *hs)
{
    return hs->last_sent == RECORD_ALERT || hs->last_sent == RECORD_APPLICATION_DATA;
}

/* The alert that is owed, unless Mbed TLS has sent one, instead of the flight that was
 * begun; the first call may only write what is left of that. */
static enum rc fail(struct handshake *hs, enum tls_alert alert)
{
    for (int i = 0; i < 2 && alert && !has_told(hs); i++) {
        hs->out.len = 0;
        (void)mbedtls_ssl_send_alert_message(&hs->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                             (unsigned char)alert);
    }
    return RC_CRYPTO;
}

static enum rc run(struct handshake *hs, const uint8_t *in, size_t len, size_t *used)
{
    enum rc rc;
    int r;

    hs->in = in;
    hs->in_len = len;
    hs->in_at = 0;
    shaking = hs;
    rc = handshake_sign_run(&hs->sign, &r);
    shaking = NULL;
    *used = hs->in_at;
    hs->in = NULL;
    hs->in_len = hs->in_at = 0;
    if (rc)
        return rc;
    if (r == MBEDTLS_ERR_SSL_WANT_READ)
        return RC_AGAIN;
    if (r == MBEDTLS_ERR_SSL_ALLOC_FAILED)
        return RC_NOMEM;
    if (r != 0)
        return fail(hs, hs->owed           ? hs->owed
                        : hs->sign.refused ? TLS_ALERT_INTERNAL_ERROR
                                           : alert_of(hs, r));
    hs->over = true;
    return RC_OK;
}

/* The next whole record behind our HelloRetryRequest: *n bytes at *in.  The second hello
 * must be the first but for what it was asked for (RFC 8446, 4.1.2). */
static enum rc next_retried(struct handshake *hs, uint8_t **in, size_t *n)
{
    struct hello second;
    size_t len = *n, body;
    enum rc rc;

    if (len < RECORD_HEAD_SIZE)
        return RC_AGAIN;
    body = (size_t)(*in)[3] << 8 | (*in)[4];
    if ((*in)[0] == RECORD_CHANGE_CIPHER_SPEC || (*in)[0] == RECORD_APPLICATION_DATA ||
        (*in)[0] == RECORD_ALERT) {
        if (body > RECORD_MAX)
            return fail(hs, TLS_ALERT_RECORD_OVERFLOW);
        *n = RECORD_HEAD_SIZE + body;
        return len < *n ? RC_AGAIN : RC_OK;
    }
    rc = hello_scan(&hs->scan, *in, len);
    if (rc == RC_AGAIN)
        return rc;
    if (!rc) {
        /* Joined, it is shorter: it and the rest end where they ended. */
        hello_join(&hs->scan, *in, n);
        memmove(*in + (len - *n), *in, *n);
        *in += len - *n;
        rc = hello_read(&hs->scan, *in, &second);
    }
    if (rc)
        return fail(hs, rc == RC_MALFORMED ? hs->scan.alert : TLS_ALERT_UNEXPECTED_MESSAGE);
    if (memcmp(second.print, hs->hello.print, sizeof second.print) != 0 || second.shares != 1 ||
        second.share_group != hs->record.retry_group || second.early_data)
        return fail(hs, TLS_ALERT_ILLEGAL_PARAMETER);
    hs->record.retrying = false;
    return RC_OK;
}

enum rc handshake_run(struct handshake *hs, uint8_t *in, size_t len, size_t *used)
{
    CHECK(!hs->over);
    *used = 0;
    for (;;) {
        uint8_t *p = in + *used;
        size_t n = len - *used, took;
        enum rc rc;

        if (hs->record.retrying) {
            rc = next_retried(hs, &p, &n);
            if (rc)
                return rc;
        } else if (!hs->record.spoken && n > hs->first) {
            n = hs->first; /* the answer may be a HelloRetryRequest */
        }
        rc = run(hs, p, n, &took);
        *used = (size_t)(p - in) + took;
        if (rc != RC_AGAIN || handshake_unsigned(hs) || took == 0 || *used == len)
            return rc;
    }
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

/* TLS 1.3: after the client's Finished, which was read last, tickets are all that was sent. */
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
    return RC_OK;
}

/* TLS 1.2: the key block (RFC 5246, 6.3) of an AEAD has no MAC keys. */
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
    h->in.seq = hs->record.since; /* its Finished may have come in several records */
    h->out.seq = 1;               /* ours was 0 */
    secret_wipe(block, sizeof block);
    return RC_OK;
}

enum rc handshake_export(struct handshake *hs, struct handover *h)
{
    const struct tls_suite *suite;
    const char *alpn = mbedtls_ssl_get_alpn_protocol(&hs->ssl);
    int out_limit = mbedtls_ssl_get_max_out_record_payload(&hs->ssl);
    int id = mbedtls_ssl_get_ciphersuite_id_from_ssl(&hs->ssl);
    enum rc rc;

    CHECK(hs->over);
    suite = tls_suite_find((uint16_t)id);
    if (!suite || out_limit <= 0)
        return RC_UNSUPPORTED;
    h->tls_version = suite->version;
    h->suite = suite->id;
    h->resumed = !hs->messages.certificate;
    h->in.record_limit = in_limit(hs);
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
    shaking = hs;
    handshake_sign_abandon(&hs->sign);
    shaking = NULL;
    mbedtls_ssl_free(&hs->ssl);
    tls_config_unref(hs->config);
    free(hs->out.p);
    secret_wipe(hs, sizeof *hs);
    free(hs);
}

void tls_alert_plain(enum tls_alert alert, uint8_t out[TLS_ALERT_SIZE])
{
    static const uint8_t head[] = {21, 3, 3, 0, 2, 2};

    memcpy(out, head, sizeof head);
    out[sizeof head] = (uint8_t)alert;
}
