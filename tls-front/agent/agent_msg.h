/* What a worker and the key agent tell each other, over a SOCK_SEQPACKET pair: one
 * message a packet, no descriptors, little-endian (common/core/wire.h).
 *
 *   1 PREPARE  str key id                  w>a a handshake with this key is to come
 *   2 SIGN     u64 request, str key id, u8 kind, u16 scheme, then by kind
 *              1: u8 length, transcript hash                              (TLS 1.3)
 *              2: client random, server random, u8 length, params         (TLS 1.2)
 *   3 SIGNED   u64 request, u16 rc, u16 length, signature                 a>w
 *
 * A worker that somebody has broken into must not get a signature of what it likes.
 * So it names what TLS signs, never what the key signs: the agent puts the context
 * string of RFC 8446, 4.4.3 in front of a transcript hash, and a key exchange of TLS
 * 1.2 is taken only when its params are a ServerECDHParams of RFC 8422, 5.4.  What is
 * not of these shapes, or names a scheme that its version of TLS does not have, is no
 * message: RC_MALFORMED, and the agent has its sender ended. */
#ifndef TLS_FRONT_AGENT_MSG_H
#define TLS_FRONT_AGENT_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/control.h"
#include "common/core/rc.h"

#define AGENT_RANDOM_SIZE   32
#define AGENT_HASH_MAX      48
#define AGENT_PARAMS_MAX    101 /* named curve, P-384 point */
#define AGENT_SIGNATURE_MAX 512 /* RSA of 4096 bits */
#define AGENT_MSG_MAX       640 /* bytes of a message */

enum agent_type { AGENT_PREPARE = 1, AGENT_SIGN = 2, AGENT_SIGNED = 3 };

enum agent_kind { AGENT_TLS13 = 1, AGENT_TLS12 = 2 };

/* SignatureScheme of RFC 8446, 4.2.3; in TLS 1.2 the same two bytes are hash and
 * signature, and say nothing of the curve. */
enum agent_scheme {
    AGENT_RSA_PKCS1_SHA256 = 0x0401,
    AGENT_RSA_PKCS1_SHA384 = 0x0501,
    AGENT_RSA_PKCS1_SHA512 = 0x0601,
    AGENT_ECDSA_SHA256 = 0x0403, /* TLS 1.3: with P-256 only */
    AGENT_ECDSA_SHA384 = 0x0503, /* TLS 1.3: with P-384 only */
    AGENT_RSA_PSS_SHA256 = 0x0804,
    AGENT_RSA_PSS_SHA384 = 0x0805,
    AGENT_RSA_PSS_SHA512 = 0x0806
};

struct agent_sign {
    char key[CONTROL_KEY_SIZE];
    uint8_t kind;    /* enum agent_kind */
    uint16_t scheme; /* enum agent_scheme */
    uint8_t len;     /* of hash or params */
    union {
        uint8_t hash[AGENT_HASH_MAX]; /* 32 or 48 bytes */
        struct {
            uint8_t client_random[AGENT_RANDOM_SIZE], server_random[AGENT_RANDOM_SIZE];
            uint8_t params[AGENT_PARAMS_MAX];
        };
    };
};

struct agent_signed {
    uint16_t rc; /* enum rc; with RC_OK a signature */
    uint16_t len;
    uint8_t signature[AGENT_SIGNATURE_MAX];
};

struct agent_msg {
    enum agent_type type;
    uint64_t request; /* SIGN, SIGNED: chosen by the worker */
    union {
        char key[CONTROL_KEY_SIZE]; /* PREPARE */
        struct agent_sign sign;
        struct agent_signed done;
    };
};

RC_MUST_CHECK enum rc agent_msg_encode(const struct agent_msg *m, void *buf, size_t size,
                                       size_t *len);
/* *out is written only on RC_OK.  Refuses unknown types and trailing bytes. */
RC_MUST_CHECK enum rc agent_msg_decode(const void *buf, size_t len, struct agent_msg *out);

#endif
