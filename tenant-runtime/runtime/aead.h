/* One AEAD key, for one direction: AES-GCM or ChaCha20-Poly1305, nonces of 12
 * bytes, tags of 16.  The one place that knows which library does the work, so
 * that a faster cipher can be put beside it.
 *
 * The happy path is aead_init, then aead_seal or aead_open once a record, then
 * aead_dispose.  Possible failure modes are a lack of memory in aead_init, and a
 * record that was tampered with in aead_open. */
#ifndef RUNTIME_AEAD_H
#define RUNTIME_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>

#include "common/core/rc.h"

#define AEAD_NONCE_SIZE 12
#define AEAD_TAG_SIZE   16

struct aead {
    bool ready; /* a key is set */
    bool chacha;
    union {
        mbedtls_gcm_context gcm;
        mbedtls_chachapoly_context chachapoly;
    };
};

/* `key_len`: 16 or 32 for AES-GCM, 32 for ChaCha20.  On failure (RC_NOMEM,
 * RC_CRYPTO) *a needs no dispose. */
RC_MUST_CHECK enum rc aead_init(struct aead *a, bool chacha, const uint8_t *key, size_t key_len);

/* Wipes.  A no-op on a zeroed or disposed struct. */
void aead_dispose(struct aead *a);

/* In place: `text` has `len` bytes and room for the tag behind them. */
RC_MUST_CHECK enum rc aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE],
                                const uint8_t *aad, size_t aad_len, uint8_t *text, size_t len);

/* In place: `text` has `len` bytes of ciphertext, then the tag.  RC_CRYPTO, and
 * no plaintext left in `text`, when the tag is not theirs. */
RC_MUST_CHECK enum rc aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_SIZE],
                                const uint8_t *aad, size_t aad_len, uint8_t *text, size_t len);

#endif
