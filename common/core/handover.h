/* The handover: everything a tenant is told about one TLS connection whose
 * handshake the front has finished, and the ephemeral secrets of that connection
 * alone.  See schema/wire/handover.md.
 *
 * Never in here: a private key, the TLS 1.2 master secret, the resumption or
 * exporter secret, a ticket key.  Freestanding. */
#ifndef COMMON_HANDOVER_H
#define COMMON_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

#define HANDOVER_VERSION  1
#define HANDOVER_MAGIC    0x56484b52u /* "RKHV" on the wire */
#define HANDOVER_SIZE_MAX 2048u       /* bytes of an encoded handover */

#define HANDOVER_SECRET_MAX 48 /* SHA-384 */
#define HANDOVER_KEY_MAX    32 /* AES-256, ChaCha20 */
#define HANDOVER_IV_SIZE    12

/* TLS versions and cipher suites go by their numbers in the TLS registry. */
enum { TLS_1_2 = 0x0303, TLS_1_3 = 0x0304 };

/* One direction of the connection as it stands after the handshake. */
struct handover_side {
    /* TLS 1.3 (RFC 8446, 7.1): application traffic secret, of the suite's hash. */
    uint8_t secret_len; /* 32 or 48; 0 in TLS 1.2 */
    uint8_t secret[HANDOVER_SECRET_MAX];
    /* TLS 1.2 (RFC 5246, 6.3): key and implicit IV of the key block. */
    uint8_t key_len; /* 16 or 32; 0 in TLS 1.3 */
    uint8_t key[HANDOVER_KEY_MAX];
    uint8_t iv_len; /* 4 (GCM, RFC 5288) or 12 (ChaCha20-Poly1305, RFC 7905); 0 in 1.3 */
    uint8_t iv[HANDOVER_IV_SIZE];
    uint64_t seq; /* sequence number of the next record */
    /* Most plaintext bytes in a record this way: 2^14, or what record_size_limit
     * (RFC 8449) or max_fragment_length (RFC 6066) made of it. */
    uint16_t record_limit;
};

/* When things happened, in µs after the first byte of the ClientHello was there;
 * 0 where it did not happen (boot_* when the tenant was awake). */
struct handover_times {
    int64_t hello_unix_ms;  /* the ClientHello, ms since 1970 UTC */
    uint32_t route_us;      /* the orchestrator said whose it is */
    uint32_t boot_asked_us; /* a start was asked for */
    uint32_t boot_done_us;  /* the instance was ready */
    uint32_t handshake_us;  /* the handshake was over */
    uint32_t handover_us;   /* this handover was written */
};

struct handover {
    uint16_t tls_version;
    uint16_t suite;
    bool resumed;             /* by a ticket */
    bool woken;               /* this connection's wake started the instance */
    struct handover_side in;  /* client to tenant */
    struct handover_side out; /* tenant to client */
    char sni[256];
    char alpn[32];        /* empty: none was agreed on */
    char client_addr[46]; /* text, RFC 5952 for IPv6 */
    uint16_t client_port;
    char client_identity[256]; /* subject of a verified client certificate, or empty */
    struct handover_times times;
};

/* Key, hash and IV lengths of a suite that may be handed over, or NULL: TLS 1.3
 * 0x1301..0x1303 and TLS 1.2 ECDHE with AES-GCM or ChaCha20-Poly1305. */
struct tls_suite {
    uint16_t id;
    uint16_t version;
    uint8_t key_len, hash_len, fixed_iv_len; /* bytes; fixed_iv_len of TLS 1.2 */
    bool chacha;
    const char *name; /* the registry's */
};
const struct tls_suite *tls_suite_find(uint16_t id);

/* RC_TOO_LARGE when it does not fit; at most HANDOVER_SIZE_MAX bytes. */
RC_MUST_CHECK enum rc handover_encode(const struct handover *h, void *buf, size_t size,
                                      size_t *len);

/* Decodes one whole handover; *out is written only on RC_OK, and holds secrets
 * then: handover_wipe() it.  RC_VERSION when it is of another version;
 * RC_MALFORMED when it is truncated, has trailing bytes or contradicts itself. */
RC_MUST_CHECK enum rc handover_decode(const void *buf, size_t len, struct handover *out);

void handover_wipe(struct handover *h);

#endif
