#include "tenant-runtime/runtime/record_key.h"

#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>
#include <string.h>

#include "common/core/secret.h"

#define AAD_12_SIZE 13 /* sequence number, type, version, length of the text */

static void put_be16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

/* HKDF-Expand-Label with an empty context (RFC 8446, 7.1). */
static enum rc expand(const struct record_key *k, const char *label, uint8_t *out, size_t len)
{
    const mbedtls_md_info_t *md =
        mbedtls_md_info_from_type(k->suite->hash_len == 48 ? MBEDTLS_MD_SHA384 : MBEDTLS_MD_SHA256);
    uint8_t info[2 + 1 + 6 + 12 + 1];
    size_t label_len = strlen(label), n = 0;
    int r;

    put_be16(info, len);
    n += 2;
    info[n++] = (uint8_t)(6 + label_len);
    memcpy(info + n, "tls13 ", 6);
    n += 6;
    memcpy(info + n, label, label_len);
    n += label_len;
    info[n++] = 0;
    r = mbedtls_hkdf_expand(md, k->secret, k->suite->hash_len, info, n, out, len);
    if (r == 0)
        return RC_OK;
    return r == MBEDTLS_ERR_MD_ALLOC_FAILED ? RC_NOMEM : RC_CRYPTO;
}

/* Key and IV of the secret (RFC 8446, 7.3). */
static enum rc derive(struct record_key *k)
{
    uint8_t key[HANDOVER_KEY_MAX];
    enum rc rc;

    rc = expand(k, "key", key, k->suite->key_len);
    if (rc)
        goto out;
    rc = expand(k, "iv", k->iv, sizeof k->iv);
    if (rc)
        goto out;
    rc = aead_init(&k->aead, k->suite->chacha, key, k->suite->key_len);
out:
    secret_wipe(key, sizeof key);
    return rc;
}

enum rc record_key_init(struct record_key *k, const struct tls_suite *suite,
                        const struct handover_side *side)
{
    enum rc rc;

    memset(k, 0, sizeof *k);
    k->suite = suite;
    k->seq = side->seq;
    if (suite->version == TLS_1_3) {
        memcpy(k->secret, side->secret, suite->hash_len);
        rc = derive(k);
    } else {
        memcpy(k->iv, side->iv, suite->fixed_iv_len);
        rc = aead_init(&k->aead, suite->chacha, side->key, suite->key_len);
    }
    if (rc)
        record_key_wipe(k);
    return rc;
}

enum rc record_key_update(struct record_key *k)
{
    uint8_t next[HANDOVER_SECRET_MAX];
    enum rc rc;

    rc = expand(k, "traffic upd", next, k->suite->hash_len);
    if (rc)
        goto out;
    memcpy(k->secret, next, k->suite->hash_len);
    aead_dispose(&k->aead);
    k->seq = 0;
    rc = derive(k);
out:
    secret_wipe(next, sizeof next);
    if (rc)
        record_key_wipe(k);
    return rc;
}

void record_key_wipe(struct record_key *k)
{
    aead_dispose(&k->aead);
    secret_wipe(k, sizeof *k);
}

static bool has_explicit_nonce(const struct record_key *k)
{
    return k->suite->version == TLS_1_2 && !k->suite->chacha;
}

size_t record_key_prefix(const struct record_key *k)
{
    return has_explicit_nonce(k) ? RECORD_NONCE_SIZE : 0;
}

size_t record_key_overhead(const struct record_key *k)
{
    return record_key_prefix(k) + AEAD_TAG_SIZE;
}

/* RFC 5288, 3: the implicit part, then what the record says.  RFC 7905, 2 and RFC
 * 8446, 5.3: the sequence number, over the end of the IV. */
static void make_nonce(const struct record_key *k, const uint8_t *record,
                       uint8_t nonce[AEAD_NONCE_SIZE])
{
    uint8_t seq[8];

    memcpy(nonce, k->iv, AEAD_NONCE_SIZE);
    if (has_explicit_nonce(k)) {
        memcpy(nonce + 4, record + RECORD_HEAD_SIZE, RECORD_NONCE_SIZE);
        return;
    }
    put_be64(seq, k->seq);
    for (size_t i = 0; i < sizeof seq; i++)
        nonce[4 + i] ^= seq[i];
}

/* RFC 8446, 5.2: the head as it is on the wire.  RFC 5246, 6.2.3.3: sequence
 * number, and the head with the length of the plaintext. */
static size_t make_aad(const struct record_key *k, const uint8_t *record, size_t len,
                       uint8_t aad[AAD_12_SIZE])
{
    if (k->suite->version == TLS_1_3) {
        memcpy(aad, record, RECORD_HEAD_SIZE);
        return RECORD_HEAD_SIZE;
    }
    put_be64(aad, k->seq);
    memcpy(aad + 8, record, 3);
    put_be16(aad + 11, len);
    return AAD_12_SIZE;
}

enum rc record_key_seal(struct record_key *k, uint8_t *record, size_t len)
{
    uint8_t nonce[AEAD_NONCE_SIZE], aad[AAD_12_SIZE];
    size_t prefix = record_key_prefix(k), aad_len;
    enum rc rc;

    if (k->seq == UINT64_MAX)
        return RC_CRYPTO;
    put_be16(record + 1, TLS_1_2); /* in TLS 1.3 too (RFC 8446, 5.1) */
    put_be16(record + 3, len + record_key_overhead(k));
    if (prefix)
        put_be64(record + RECORD_HEAD_SIZE, k->seq); /* unique under the key: all it must be */
    make_nonce(k, record, nonce);
    aad_len = make_aad(k, record, len, aad);
    rc = aead_seal(&k->aead, nonce, aad, aad_len, record + RECORD_HEAD_SIZE + prefix, len);
    secret_wipe(nonce, sizeof nonce); /* in TLS 1.3 the first one is the IV */
    if (rc)
        return rc;
    k->seq++;
    return RC_OK;
}

enum rc record_key_open(struct record_key *k, uint8_t *record, size_t len)
{
    uint8_t nonce[AEAD_NONCE_SIZE], aad[AAD_12_SIZE];
    size_t aad_len;
    enum rc rc;

    if (k->seq == UINT64_MAX)
        return RC_CRYPTO;
    make_nonce(k, record, nonce);
    aad_len = make_aad(k, record, len, aad);
    rc = aead_open(&k->aead, nonce, aad, aad_len, record + RECORD_HEAD_SIZE + record_key_prefix(k),
                   len);
    secret_wipe(nonce, sizeof nonce);
    if (rc)
        return rc;
    k->seq++;
    return RC_OK;
}
