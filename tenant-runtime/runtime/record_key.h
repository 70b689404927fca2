/* One direction of a TLS connection: its key, implicit IV and sequence number,
 * and in TLS 1.3 the traffic secret that the next key comes from (RFC 8446, 7).
 *
 * Seals and opens the protected part of a record; knows nothing of content
 * types, alerts or limits: those are record.h's. */
#ifndef RUNTIME_RECORD_KEY_H
#define RUNTIME_RECORD_KEY_H

#include "common/core/handover.h"
#include "tenant-runtime/runtime/aead.h"

#define RECORD_HEAD_SIZE  5u /* type, version, length */
#define RECORD_NONCE_SIZE 8u /* the explicit nonce of AES-GCM in TLS 1.2 */

struct record_key {
    const struct tls_suite *suite;       /* static; NULL: wiped */
    uint8_t secret[HANDOVER_SECRET_MAX]; /* TLS 1.3, suite->hash_len bytes */
    uint8_t iv[AEAD_NONCE_SIZE];
    uint64_t seq; /* of the next record; a record that would wrap it is refused */
    struct aead aead;
};

/* RC_NOMEM, or RC_CRYPTO when the library refuses; nothing to wipe then. */
RC_MUST_CHECK enum rc record_key_init(struct record_key *k, const struct tls_suite *suite,
                                      const struct handover_side *side);

/* TLS 1.3: the next generation of the secret, sequence number 0.  On failure the
 * key is wiped. */
RC_MUST_CHECK enum rc record_key_update(struct record_key *k);

/* A no-op when wiped already. */
void record_key_wipe(struct record_key *k);

/* Bytes between head and text (the explicit nonce), and those behind the text. */
size_t record_key_prefix(const struct record_key *k);
size_t record_key_overhead(const struct record_key *k); /* prefix + tag */

/* In place, over a whole record: the head's type is set, the `len` bytes of text
 * lie behind head and prefix.  Fills in version, length, explicit nonce and tag. */
RC_MUST_CHECK enum rc record_key_seal(struct record_key *k, uint8_t *record, size_t len);

/* In place, over a whole record with its `len` bytes of text (what the head's
 * length says, less record_key_overhead()).  RC_CRYPTO when it is not the peer's. */
RC_MUST_CHECK enum rc record_key_open(struct record_key *k, uint8_t *record, size_t len);

#endif
