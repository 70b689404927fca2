/* The first half of a connection's life: from its first byte to the handover.
 *
 * Happy path, in order: opening_begin() reads the ClientHello; its name is looked
 * up and, unless route and channel are at hand, roomkeyd asked (wake.h); with the
 * route the handshake runs, and waits for the key agent (signer.h) once; when it is over and there
 * is a channel, whichever is later, the tenant gets the handover and the rest is relay.c's.
 *
 * Failure modes: bad, late or nameless hello (an alert or a close, counted); name
 * unknown or no answer of roomkeyd in time (an alert); limits (closed, counted); a
 * handshake that fails (Mbed TLS's alert); no instance (unavailable.h). */
#ifndef TLS_FRONT_OPENING_H
#define TLS_FRONT_OPENING_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/handover.h"
#include "common/core/rc.h"
#include "tls-front/conn.h"
#include "tls-front/hello.h"
#include "tls-front/signer.h"

struct handshake;
struct route;
struct wake;

struct opening {
    uint8_t *in; /* owned: ciphertext of the client, not yet taken */
    size_t len, size;
    struct hello_scan scan;
    struct hello hello;
    uint64_t first_us;           /* clock_us() of the first byte; 0: none yet */
    uint64_t deadline_us;        /* for an instance */
    struct route *route;         /* a reference, or NULL */
    struct wake *wake;           /* that it waits on, or NULL */
    struct handshake *handshake; /* owned, or NULL */
    struct signer_request signing;
    enum rc refused; /* no instance, says roomkeyd */
    bool woken;
    struct handover_times times;
};

void opening_begin(struct conn *c);
void opening_free(struct conn *c); /* c->opening may be NULL */

/* It has waited for roomkeyd, or for its tenant, long enough: an alert, or the 503 page. */
void opening_give_up(struct conn *c);

/* From wake.c. */
void opening_on_route(struct conn *c, struct route *r);
/* Times are clock_us(), 0 when the instance was awake. */
void opening_on_ready(struct conn *c, bool woken, uint64_t asked_us, uint64_t ready_us);
void opening_on_refused(struct conn *c, enum rc why);

#endif
