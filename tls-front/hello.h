/* The ClientHello, read before TLS starts: it says whose certificate to take and
 * whose instance to start.
 *
 * Happy path: hello_scan() after each read until it is not RC_AGAIN; on RC_OK
 * the whole message is there, hello_join() makes one record of it and hello_read()
 * takes out what is needed.  What
 * is read here proves nothing: Mbed TLS parses the same bytes again.
 *
 * Failure modes: RC_MALFORMED (answer: the alert in the scan), RC_UNSUPPORTED (plain
 * HTTP: say so in plain HTTP).  A missing, IP-literal or otherwise impossible name is no failure
 * but an empty `name` (answer: alert unrecognized_name). */
#ifndef TLS_FRONT_HELLO_H
#define TLS_FRONT_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "tls-front/alert.h"

#define HELLO_RAW_MAX     65536u /* bytes, record heads included */
#define HELLO_MESSAGE_MAX 16384u /* its head included: what Mbed TLS has room for */
#define HELLO_NAME_MAX    253u
#define HELLO_SUITES_MAX  16u

/* How far hello_scan() has come; zero it first.  Offsets are into the raw bytes. */
struct hello_scan {
    size_t at;            /* the next record head */
    size_t have;          /* handshake bytes in the records before `at` */
    size_t need;          /* of the message with its head; 0: not known yet */
    enum tls_alert alert; /* that is owed, after RC_MALFORMED */
};

struct hello {
    char name[HELLO_NAME_MAX + 1]; /* server_name, lower case, or empty */
    bool names;                    /* there is a server_name, if a useless one */
    bool alpn;                     /* the client offers ALPN */
    bool tls13;                    /* it offers TLS 1.3 */
    bool master_secret;            /* and extended_master_secret */
    bool record_limit;             /* it offers record_size_limit */
    bool early_data;
    size_t size; /* of the message, its head included */
    uint16_t legacy_version;
    uint8_t random[32];
    unsigned suites; /* that we speak, of those offered */
    uint16_t suite[HELLO_SUITES_MAX];
    unsigned shares;      /* entries of key_share */
    uint16_t share_group; /* of the last one */
    uint8_t print[32];    /* the same in the second hello after a HelloRetryRequest */
};

/* `buf` holds all `len` bytes since the first; earlier ones are not looked at
 * again, so the sum of all calls is linear. */
RC_MUST_CHECK enum rc hello_scan(struct hello_scan *s, const uint8_t *buf, size_t len);

/* After RC_OK of hello_scan(): puts the message into one record, and what follows it
 * in `buf` behind that; *len becomes what is left of the bytes.  Mbed TLS does not take
 * a message whose own head is cut. */
void hello_join(struct hello_scan *s, uint8_t *buf, size_t *len);

/* After hello_join().  *out is written only on RC_OK. */
RC_MUST_CHECK enum rc hello_read(struct hello_scan *s, const uint8_t *buf, struct hello *out);

/* A host name as the registry has them: lower-cased into `out`, or false. */
bool hello_name(const uint8_t *p, size_t len, char out[HELLO_NAME_MAX + 1]);

#endif
