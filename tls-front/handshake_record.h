/* The client's records while the handshake lasts: what Mbed TLS takes, or refuses without a
 * word, is told the alert here that RFC 8446 (5) and RFC 5246 (6.2) want.
 *
 * Happy path: handshake_record_sent() of each of our records, handshake_record_took() of
 * the client's bytes as Mbed TLS takes them, in order and in any pieces; no alert.
 *
 * Failure modes: an alert, and the handshake is over.  What is sealed is not seen. */
#ifndef TLS_FRONT_HANDSHAKE_RECORD_H
#define TLS_FRONT_HANDSHAKE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls-front/alert.h"

#define RECORD_HEAD_SIZE 5u
#define RECORD_PLAIN_MAX 16384u
#define RECORD_MAX       (16384u + 256u) /* of one that is sealed, RFC 8446, 5.2 */

enum record_type {
    RECORD_CHANGE_CIPHER_SPEC = 20,
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_APPLICATION_DATA = 23
};

/* Zero it first, but for `limit`. */
struct handshake_record {
    uint16_t limit;       /* plaintext bytes that a record of the client may have: as agreed on, but
                             in force only behind our ServerHello; RECORD_PLAIN_MAX before */
    bool early;           /* the hello has early_data: such may follow it */
    bool spoken;          /* we have sent a ServerHello */
    bool sealed;          /* TLS 1.3: and behind it what is sealed */
    bool retrying;        /* HelloRetryRequest was the last that we said */
    uint16_t retry_group; /* that it asks for */
    uint8_t seal;         /* TLS 1.2: bytes that it adds */
    bool changed;         /* TLS 1.2: the client's ChangeCipherSpec was there */
    uint64_t since;       /* and so many records of the client behind it */
    bool hung_up;         /* the client has sent an alert */
    uint8_t head[RECORD_HEAD_SIZE];
    size_t head_len, left; /* of the record that is being taken */
    uint8_t exchange[5];   /* the first bytes of TLS 1.2's ClientKeyExchange */
    size_t exchange_len;
};

/* One whole record. */
void handshake_record_sent(struct handshake_record *r, const uint8_t *record, size_t len);

enum tls_alert handshake_record_took(struct handshake_record *r, const uint8_t *p, size_t n);

#endif
