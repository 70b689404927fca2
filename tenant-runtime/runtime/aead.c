#include "tenant-runtime/runtime/aead.h"

#include "common/core/secret.h"

static enum rc translate(int r)
{
    switch (r) {
    case 0:
        return RC_OK;
    case MBEDTLS_ERR_CIPHER_ALLOC_FAILED:
        return RC_NOMEM;
    default:
        return RC_CRYPTO;
    }
}

/* Wipes what the library leaves on the stack: gcm_gen_table the hash key, chacha20_block
 * pieces of key and nonce.  At once, since a fiber's stack is out of reach later; and less
 * than secret_wipe_stack() does, since a fiber has no room for that. */
#define LIBRARY_STACK 2048

__attribute__((noinline)) static void wipe_library_stack(void)
{
    uint8_t frames[LIBRARY_STACK];

    secret_wipe(frames, sizeof frames);
}

enum rc aead_init(struct aead *a, bool chacha, const uint8_t *key, size_t key_len)
{
    int r;

    a->chacha = chacha;
    a->ready = true;
    if (chacha) {
        mbedtls_chachapoly_init(&a->chachapoly);
        r = key_len == 32 ? mbedtls_chachapoly_setkey(&a->chachapoly, key)
                          : MBEDTLS_ERR_CHACHAPOLY_BAD_STATE;
    } else {
        mbedtls_gcm_init(&a->gcm);
        r = mbedtls_gcm_setkey(&a->gcm, MBEDTLS_CIPHER_ID_AES, key, (unsigned)key_len * 8);
    }
    wipe_library_stack();
    if (r != 0)
        aead_dispose(a);
    return translate(r);
}

void aead_dispose(struct aead *a)
{
    if (!a->ready)
        return;
    if (a->chacha)
        mbedtls_chachapoly_free(&a->chachapoly);
    else
        mbedtls_gcm_free(&a->gcm);
    secret_wipe(a, sizeof *a);
}

enum rc aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE], const uint8_t *aad,
                  size_t aad_len, uint8_t *text, size_t len)
{
    int r;

    if (a->chacha) {
        r = mbedtls_chachapoly_encrypt_and_tag(&a->chachapoly, len, nonce, aad, aad_len, text, text,
                                               text + len);
        wipe_library_stack();
        return translate(r);
    }
    return translate(mbedtls_gcm_crypt_and_tag(&a->gcm, MBEDTLS_GCM_ENCRYPT, len, nonce,
                                               AEAD_NONCE_SIZE, aad, aad_len, text, text,
                                               AEAD_TAG_SIZE, text + len));
}

enum rc aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE], const uint8_t *aad,
                  size_t aad_len, uint8_t *text, size_t len)
{
    int r;

    /* Both compare the tag in constant time and clear the text when it differs. */
    if (a->chacha) {
        r = mbedtls_chachapoly_auth_decrypt(&a->chachapoly, len, nonce, aad, aad_len, text + len,
                                            text, text);
        wipe_library_stack();
        return translate(r);
    }
    return translate(mbedtls_gcm_auth_decrypt(&a->gcm, len, nonce, AEAD_NONCE_SIZE, aad, aad_len,
                                              text + len, AEAD_TAG_SIZE, text, text));
}
