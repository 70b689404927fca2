/* OpenSSL's server as the reference for our record layer: after a real handshake with
 * OpenSSL's client, both in this process, the handover has the very keys that the
 * server has, so that a tenant can be given the same bytes as the server.
 *
 * The happy path is: reference_begin; bytes into reference_read, until an end;
 * reference_write; reference_end.  Handshakes after a suite's first are resumed, which
 * is faster.  Aborts when a handshake fails: that is no matter of the record layer. */
#ifndef TESTS_RECORD_REFERENCE_H
#define TESTS_RECORD_REFERENCE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/handover.h"

struct reference {
    SSL *server;
    BIO *in, *out; /* owned by `server` */
};

/* `mfl`: 0, or max_fragment_length's number (RFC 6066, 4) for both ways. */
void reference_begin(struct reference *r, uint16_t suite, uint8_t mfl, struct handover *out);
void reference_end(struct reference *r);

enum reference_end {
    REFERENCE_WAITS,    /* for more bytes */
    REFERENCE_CLOSED,   /* the peer said close_notify */
    REFERENCE_CANCELED, /* the peer sent a fatal alert */
    REFERENCE_REFUSED,  /* the peer is at fault; the alert is in what it sends */
};

/* Gives `len` bytes of ciphertext, appends the plaintext that comes of it at text +
 * *text_len (there must be room).  *alert: the peer's, of REFERENCE_CANCELED. */
enum reference_end reference_read(struct reference *r, const void *bytes, size_t len, uint8_t *text,
                                  size_t *text_len, uint8_t *alert);

/* Ciphertext that it has sent since the last call. */
size_t reference_sent(struct reference *r, uint8_t *to, size_t size);

#endif
