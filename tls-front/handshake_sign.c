#include "tls-front/handshake_sign.h"

#include <mbedtls/ssl.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/fiber.h"

#define RECORD_HANDSHAKE   22
#define MSG_SERVER_HELLO   2
#define MSG_AT             5                /* behind the record's head */
#define SERVER_RANDOM_AT   (MSG_AT + 4 + 2) /* behind the message's head, the version */
#define ANY_SIGNATURE_FAIL MBEDTLS_ERR_PK_FEATURE_UNAVAILABLE

/* Whose `step` is running; one at a time. */
static struct handshake_sign *running;

/*----- the fiber -----*/

void handshake_sign_init(struct handshake_sign *s, const struct handshake_key *keys, size_t keys_nr,
                         const uint8_t client_random[AGENT_RANDOM_SIZE], int (*step)(void *arg),
                         void *arg)
{
    *s = (struct handshake_sign){.keys = keys, .keys_nr = keys_nr, .step = step, .arg = arg};
    memcpy(s->client_random, client_random, sizeof s->client_random);
}

static void body(void *arg)
{
    struct handshake_sign *s = arg;

    s->result = s->step(s->arg);
}

enum rc handshake_sign_run(struct handshake_sign *s, int *result)
{
    enum rc rc = RC_OK;

    if (s->fiber && !s->answered)
        return RC_AGAIN;
    CHECK(!running);
    running = s;
    if (s->fiber) {
        fiber_wake(s->fiber);
        (void)fiber_run_woken();
    } else {
        rc = fiber_start(body, s);
    }
    running = NULL;
    if (rc)
        return rc;
    if (s->fiber)
        return RC_AGAIN;
    *result = s->result;
    return RC_OK;
}

const struct agent_sign *handshake_sign_wanted(const struct handshake_sign *s)
{
    return s->fiber && !s->answered ? &s->want : NULL;
}

void handshake_sign_answer(struct handshake_sign *s, const struct agent_signed *answer)
{
    CHECK(handshake_sign_wanted(s));
    s->answer = *answer;
    s->answered = true;
}

void handshake_sign_abandon(struct handshake_sign *s)
{
    int result;

    if (!s->fiber)
        return;
    s->abandoned = s->answered = true;
    CHECK(handshake_sign_run(s, &result) == RC_OK); /* nothing waits any more */
}

/* On the fiber: what `want` says, signed into `sig`. */
static int wait(struct handshake_sign *s, unsigned char *sig, size_t size, size_t *len)
{
    if (!s->abandoned) {
        s->fiber = fiber_current();
        s->answered = false;
        fiber_wait();
        s->fiber = NULL;
    }
    if (s->abandoned || s->answer.rc != RC_OK || s->answer.len > size) {
        s->refused = true;
        return ANY_SIGNATURE_FAIL;
    }
    memcpy(sig, s->answer.signature, s->answer.len);
    *len = s->answer.len;
    return 0;
}

/*----- what is to be signed -----*/

void handshake_sign_sent(struct handshake_sign *s, const uint8_t *record, size_t len)
{
    if (s->server_random_seen || len < SERVER_RANDOM_AT + AGENT_RANDOM_SIZE ||
        record[0] != RECORD_HANDSHAKE || record[MSG_AT] != MSG_SERVER_HELLO)
        return;
    memcpy(s->server_random, record + SERVER_RANDOM_AT, sizeof s->server_random);
    s->server_random_seen = true;
}

static bool want_key(struct handshake_sign *s, const mbedtls_pk_context *pk)
{
    memset(&s->want, 0, sizeof s->want);
    for (size_t i = 0; i < s->keys_nr; i++)
        if (s->keys[i].pk == pk) {
            memcpy(s->want.key, s->keys[i].id, sizeof s->want.key);
            return true;
        }
    return false;
}

/* The low byte of SignatureScheme is 1 for PKCS #1, 3 for ECDSA; the high one is the
 * hash.  PSS has numbers of its own. */
static uint16_t scheme_of(mbedtls_pk_type_t type, mbedtls_md_type_t md)
{
    uint16_t hash = md == MBEDTLS_MD_SHA256 ? 4 : md == MBEDTLS_MD_SHA384 ? 5 : 6;

    if (md != MBEDTLS_MD_SHA256 && md != MBEDTLS_MD_SHA384 && md != MBEDTLS_MD_SHA512)
        return 0;
    switch (type) {
    case MBEDTLS_PK_RSASSA_PSS:
        return (uint16_t)(0x0800 + hash);
    case MBEDTLS_PK_RSA:
        return (uint16_t)(hash << 8 | 1);
    case MBEDTLS_PK_ECKEY:
    case MBEDTLS_PK_ECDSA:
        return (uint16_t)(hash << 8 | 3);
    default:
        return 0;
    }
}

/*----- the calls of Mbed TLS that come here instead -----*/

int __real_mbedtls_ssl_get_handshake_transcript(mbedtls_ssl_context *ssl,
                                                const mbedtls_md_type_t md, unsigned char *dst,
                                                size_t dst_len, size_t *olen);
int __wrap_mbedtls_ssl_get_handshake_transcript(mbedtls_ssl_context *ssl,
                                                const mbedtls_md_type_t md, unsigned char *dst,
                                                size_t dst_len, size_t *olen);
int __real_mbedtls_ssl_get_key_exchange_md_tls1_2(mbedtls_ssl_context *ssl, unsigned char *hash,
                                                  size_t *hashlen, unsigned char *data,
                                                  size_t data_len, mbedtls_md_type_t md_alg);
int __wrap_mbedtls_ssl_get_key_exchange_md_tls1_2(mbedtls_ssl_context *ssl, unsigned char *hash,
                                                  size_t *hashlen, unsigned char *data,
                                                  size_t data_len, mbedtls_md_type_t md_alg);
int __wrap_mbedtls_pk_sign_ext(mbedtls_pk_type_t pk_type, mbedtls_pk_context *ctx,
                               mbedtls_md_type_t md_alg, const unsigned char *hash, size_t hash_len,
                               unsigned char *sig, size_t sig_size, size_t *sig_len,
                               int (*f_rng)(void *, unsigned char *, size_t), void *p_rng);
int __wrap_mbedtls_pk_sign(mbedtls_pk_context *ctx, mbedtls_md_type_t md_alg,
                           const unsigned char *hash, size_t hash_len, unsigned char *sig,
                           size_t sig_size, size_t *sig_len,
                           int (*f_rng)(void *, unsigned char *, size_t), void *p_rng);

/* Called for each step of the key schedule too: the last before a signature counts. */
int __wrap_mbedtls_ssl_get_handshake_transcript(mbedtls_ssl_context *ssl,
                                                const mbedtls_md_type_t md, unsigned char *dst,
                                                size_t dst_len, size_t *olen)
{
    int r = __real_mbedtls_ssl_get_handshake_transcript(ssl, md, dst, dst_len, olen);

    if (r == 0 && running && *olen <= sizeof running->transcript) {
        memcpy(running->transcript, dst, *olen);
        running->transcript_len = *olen;
    }
    return r;
}

/* TLS 1.3: CertificateVerify. */
int __wrap_mbedtls_pk_sign_ext(mbedtls_pk_type_t pk_type, mbedtls_pk_context *ctx,
                               mbedtls_md_type_t md_alg, const unsigned char *hash, size_t hash_len,
                               unsigned char *sig, size_t sig_size, size_t *sig_len,
                               int (*f_rng)(void *, unsigned char *, size_t), void *p_rng)
{
    struct handshake_sign *s = running;

    (void)hash, (void)hash_len, (void)f_rng, (void)p_rng;
    if (!s || !want_key(s, ctx))
        return ANY_SIGNATURE_FAIL;
    s->want.kind = AGENT_TLS13;
    s->want.scheme = scheme_of(pk_type, md_alg);
    s->want.len = (uint8_t)s->transcript_len;
    memcpy(s->want.hash, s->transcript, s->transcript_len);
    return wait(s, sig, sig_size, sig_len);
}

int __wrap_mbedtls_ssl_get_key_exchange_md_tls1_2(mbedtls_ssl_context *ssl, unsigned char *hash,
                                                  size_t *hashlen, unsigned char *data,
                                                  size_t data_len, mbedtls_md_type_t md_alg)
{
    if (running) {
        running->params_len = data_len <= sizeof running->params ? data_len : 0;
        memcpy(running->params, data, running->params_len);
    }
    return __real_mbedtls_ssl_get_key_exchange_md_tls1_2(ssl, hash, hashlen, data, data_len,
                                                         md_alg);
}

/* TLS 1.2: ServerKeyExchange. */
int __wrap_mbedtls_pk_sign(mbedtls_pk_context *ctx, mbedtls_md_type_t md_alg,
                           const unsigned char *hash, size_t hash_len, unsigned char *sig,
                           size_t sig_size, size_t *sig_len,
                           int (*f_rng)(void *, unsigned char *, size_t), void *p_rng)
{
    struct handshake_sign *s = running;

    (void)hash, (void)hash_len, (void)f_rng, (void)p_rng;
    if (!s || !s->server_random_seen || !want_key(s, ctx))
        return ANY_SIGNATURE_FAIL;
    s->want.kind = AGENT_TLS12;
    s->want.scheme = scheme_of(mbedtls_pk_get_type(ctx), md_alg);
    memcpy(s->want.client_random, s->client_random, AGENT_RANDOM_SIZE);
    memcpy(s->want.server_random, s->server_random, AGENT_RANDOM_SIZE);
    s->want.len = (uint8_t)s->params_len;
    memcpy(s->want.params, s->params, s->params_len);
    return wait(s, sig, sig_size, sig_len);
}
