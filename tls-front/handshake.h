/* The TLS handshake: the only module that calls mbedtls_ssl_*.
 *
 * Happy path: a tls_config for each route (certificates, ALPN, ticket keys); for
 * each connection handshake_new(), handshake_run() with the client's bytes from
 * the first of the ClientHello on, until RC_OK, what is in `out` sent after each
 * call; on the way handshake_unsigned() has the key agent sign, once; then
 * handshake_export() into a handover, and handshake_free().  When no instance can
 * be had, handshake_answer() instead: the front itself speaks.
 *
 * No private key is ever here: a configuration has the public ones of its
 * certificates, and names of private ones.
 *
 * Only bytes of the handshake are taken: what came behind the client's Finished
 * stays with the caller, as ciphertext.  After handshake_export() nothing may be
 * written with these keys: a nonce would be used twice.
 *
 * Failure modes: RC_CRYPTO (the handshake failed; an alert for the client is in
 * `out`), RC_NOMEM, RC_INVAL (a certificate is unusable).  handshake_free()
 * wipes what is secret, on every path. */
#ifndef TLS_FRONT_HANDSHAKE_H
#define TLS_FRONT_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/handover.h"
#include "common/core/rc.h"
#include "tls-front/agent/agent_msg.h"
#include "tls-front/alert.h"
#include "tls-front/hello.h"
#include "tls-front/ticket.h"

#define TLS_CERTS_MAX 4
#define TLS_TICKETS   1 /* issued after a full TLS 1.3 handshake */

/* A certificate chain, PEM, terminated by a NUL that `len` counts, and its key. */
struct tls_pem {
    const uint8_t *chain; /* borrowed */
    size_t chain_len;
    const char *key; /* its id, borrowed */
};

/* Once in each process that shakes hands, before any other call. */
RC_MUST_CHECK enum rc tls_init(void);

struct tls_config;

/* Whom for; all borrowed.  Tickets are good for what is this same, and with the same
 * certificates. */
struct tls_for {
    uint64_t tenant;
    const char *hostname;
    const char *alpn;         /* comma-separated, best first; empty: none */
    uint32_t ticket_lifetime; /* seconds */
};

/* The caller's reference. */
RC_MUST_CHECK enum rc tls_config_new(struct tls_config **out, const struct tls_pem *pems, size_t n,
                                     const struct tls_for *who,
                                     const struct ticket_secrets *secrets);
/* The next period has begun. */
RC_MUST_CHECK enum rc tls_config_tickets(struct tls_config *c,
                                         const struct ticket_secrets *secrets);
struct tls_config *tls_config_ref(struct tls_config *c);
void tls_config_unref(struct tls_config *c); /* NULL is ignored */

struct handshake;

struct tls_bytes {
    uint8_t *p; /* owned by the handshake until handshake_free() */
    size_t len, size;
};

/* Takes a reference to `config`. */
RC_MUST_CHECK enum rc handshake_new(struct handshake **out, struct tls_config *config,
                                    const struct hello *hello);

/* Goes on with `in`; *used bytes of it were taken, and may have been moved.  RC_AGAIN: wants a
 * signature, when handshake_unsigned() says one, else more of `in`. */
RC_MUST_CHECK enum rc handshake_run(struct handshake *hs, uint8_t *in, size_t len, size_t *used);

/* What waits to be signed, borrowed until handshake_signed(); NULL: nothing. */
const struct agent_sign *handshake_unsigned(const struct handshake *hs);
/* Then handshake_run() again, with what it has not taken of its bytes. */
void handshake_signed(struct handshake *hs, const struct agent_signed *answer);

/* What is to be sent, also after a failure; set its len to 0 when it is. */
struct tls_bytes *handshake_out(struct handshake *hs);

/* After RC_OK: version, suite, secrets, sequence numbers, limits, ALPN, resumed.
 * *h holds secrets then: handover_wipe() it. */
RC_MUST_CHECK enum rc handshake_export(struct handshake *hs, struct handover *h);

/* After RC_OK and instead of a handover: `plain` and close_notify to `out`. */
RC_MUST_CHECK enum rc handshake_answer(struct handshake *hs, const void *plain, size_t len);

void handshake_free(struct handshake *hs); /* NULL is ignored */

/* A fatal alert before any key is agreed on: 7 bytes. */
#define TLS_ALERT_SIZE 7u
void tls_alert_plain(enum tls_alert alert, uint8_t out[TLS_ALERT_SIZE]);

#endif
