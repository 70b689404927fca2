/* The ClientHello, read before TLS starts: it says whose certificate to take and
 * whose instance to start.
 *
 * Happy path: hello_scan() after each read until it is not RC_AGAIN; on RC_OK
 * the whole message is there and hello_read() takes out what is needed.  What
 * is read here proves nothing: Mbed TLS parses the same bytes again.
 *
 * Failure modes: RC_MALFORMED (answer: alert decode_error), RC_TOO_LARGE (more
 * than HELLO_RAW_MAX bytes: close), RC_UNSUPPORTED (plain HTTP: say so in plain
 * HTTP).  A missing, IP-literal or otherwise impossible name is no failure but
 * an empty `name` (answer: alert unrecognized_name). */
#ifndef TLS_FRONT_HELLO_H
#define TLS_FRONT_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

#define HELLO_RAW_MAX  65536u /* bytes, record heads included */
#define HELLO_NAME_MAX 253u

/* How far hello_scan() has come; zero it first.  Offsets are into the raw bytes. */
struct hello_scan {
    size_t at;   /* the next record head */
    size_t have; /* handshake bytes in the records before `at` */
    size_t need; /* of the message with its head; 0: not known yet */
};

struct hello {
    char name[HELLO_NAME_MAX + 1]; /* server_name, lower case, or empty */
    bool alpn;                     /* the client offers ALPN */
    bool tls13;                    /* it offers TLS 1.3 */
    uint16_t legacy_version;
    uint8_t random[32];
};

/* `buf` holds all `len` bytes since the first; earlier ones are not looked at
 * again, so the sum of all calls is linear. */
RC_MUST_CHECK enum rc hello_scan(struct hello_scan *s, const uint8_t *buf, size_t len);

/* Of the bytes at which hello_scan() said RC_OK.  *out is written only on RC_OK. */
RC_MUST_CHECK enum rc hello_read(const struct hello_scan *s, const uint8_t *buf, struct hello *out);

/* A host name as the registry has them: lower-cased into `out`, or false. */
bool hello_name(const uint8_t *p, size_t len, char out[HELLO_NAME_MAX + 1]);

#endif
