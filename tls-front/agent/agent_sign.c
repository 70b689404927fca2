#include "tls-front/agent/agent_sign.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdint.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/secret.h"

/* 64 spaces and a text with its NUL, before the hash. */
#define CONTEXT     "TLS 1.3, server CertificateVerify"
#define PAD         64
#define CONTENT_MAX (2 * AGENT_RANDOM_SIZE + AGENT_PARAMS_MAX)

_Static_assert(PAD + sizeof CONTEXT + AGENT_HASH_MAX <= CONTENT_MAX, "either fits");

static EVP_MD *sha256, *sha384, *sha512;

enum rc agent_sign_open(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    sha384 = EVP_MD_fetch(NULL, "SHA2-384", NULL);
    sha512 = EVP_MD_fetch(NULL, "SHA2-512", NULL);
    return sha256 && sha384 && sha512 ? RC_OK : RC_CRYPTO;
}

/* RFC 8446, 4.4.3; RFC 8422, 5.4. */
static size_t content_of(const struct agent_sign *what, uint8_t out[CONTENT_MAX])
{
    size_t n;

    if (what->kind == AGENT_TLS13) {
        memset(out, ' ', PAD);
        memcpy(out + PAD, CONTEXT, sizeof CONTEXT);
        n = PAD + sizeof CONTEXT;
        memcpy(out + n, what->hash, what->len);
    } else {
        n = (size_t)2 * AGENT_RANDOM_SIZE;
        memcpy(out, what->client_random, AGENT_RANDOM_SIZE);
        memcpy(out + AGENT_RANDOM_SIZE, what->server_random, AGENT_RANDOM_SIZE);
        memcpy(out + n, what->params, what->len);
    }
    return n + what->len;
}

static const EVP_MD *digest_of(uint16_t scheme)
{
    switch (scheme) {
    case AGENT_RSA_PKCS1_SHA256:
    case AGENT_ECDSA_SHA256:
    case AGENT_RSA_PSS_SHA256:
        return sha256;
    case AGENT_RSA_PKCS1_SHA384:
    case AGENT_ECDSA_SHA384:
    case AGENT_RSA_PSS_SHA384:
        return sha384;
    default:
        return sha512;
    }
}

static int padding_of(uint16_t scheme)
{
    switch (scheme) {
    case AGENT_RSA_PKCS1_SHA256:
    case AGENT_RSA_PKCS1_SHA384:
    case AGENT_RSA_PKCS1_SHA512:
        return RSA_PKCS1_PADDING;
    case AGENT_RSA_PSS_SHA256:
    case AGENT_RSA_PSS_SHA384:
    case AGENT_RSA_PSS_SHA512:
        return RSA_PKCS1_PSS_PADDING;
    default:
        return 0; /* ECDSA */
    }
}

static bool fits(enum agent_key_kind kind, const struct agent_sign *what)
{
    if (padding_of(what->scheme) != 0)
        return kind == AGENT_KEY_RSA;
    if (kind == AGENT_KEY_RSA)
        return false;
    /* TLS 1.3 ties the curve to the hash. */
    return what->kind == AGENT_TLS12 ||
           what->scheme == (kind == AGENT_KEY_P256 ? AGENT_ECDSA_SHA256 : AGENT_ECDSA_SHA384);
}

static bool sign(EVP_PKEY_CTX *ctx, const struct agent_sign *what, struct agent_signed *out)
{
    uint8_t content[CONTENT_MAX], digest[EVP_MAX_MD_SIZE];
    size_t len = sizeof out->signature;
    const EVP_MD *md = digest_of(what->scheme);
    int padding = padding_of(what->scheme);
    unsigned digest_len;

    if (EVP_Digest(content, content_of(what, content), digest, &digest_len, md, NULL) != 1 ||
        EVP_PKEY_sign_init(ctx) != 1)
        return false;
    if (padding != 0 && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1)
        return false;
    if (EVP_PKEY_CTX_set_signature_md(ctx, md) != 1)
        return false;
    if (padding == RSA_PKCS1_PSS_PADDING &&
        (EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) != 1))
        return false;
    if (EVP_PKEY_sign(ctx, out->signature, &len, digest, digest_len) != 1)
        return false;
    out->len = (uint16_t)len;
    return true;
}

enum rc agent_sign(const struct agent_key *key, const struct agent_sign *what,
                   struct agent_signed *out)
{
    EVP_PKEY_CTX *ctx;
    bool ok;

    if (!fits(agent_key_kind(key), what))
        return RC_DENIED;
    ctx = EVP_PKEY_CTX_new(agent_key_pkey(key), NULL);
    ok = ctx && sign(ctx, what, out);
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    /* libcrypto wipes what it allocates, but not every frame. */
    secret_wipe_stack();
    return ok ? RC_OK : RC_CRYPTO;
}
