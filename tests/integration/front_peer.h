/* What most tests of the front begin with: a client, its tenant, and the tenant's
 * record layer made of the handover. */
#ifndef TESTS_FRONT_PEER_H
#define TESTS_FRONT_PEER_H

#include "front_rig.h"
#include "tenant-runtime/runtime/record.h"

/* One connection as its tenant sees it. */
struct peer {
    uint64_t id;
    struct handover info; /* with the secrets, for the tests */
    struct record record;
    uint8_t raw[2 * RECORD_WIRE_MAX]; /* ciphertext, not opened yet */
    size_t len;
};

/* Answers a WAKE with ROUTE, and with READY of `t` unless it is NULL. */
void peer_answer_wake(struct rig *r, struct rig_tenant *t);
/* Takes OPEN. */
void peer_take(struct rig_tenant *t, struct peer *p);
/* The next `n` plaintext bytes of the client, credit returned. */
void peer_read(struct rig_tenant *t, struct peer *p, void *out, size_t n);
void peer_write(struct rig_tenant *t, struct peer *p, const void *in, size_t n);
/* close_notify, then CLOSE. */
void peer_close(struct rig_tenant *t, struct peer *p);
void peer_dispose(struct peer *p);

/* "ping" to the tenant, "pong" back. */
void peer_exchange(struct rig_tenant *t, struct peer *p, struct rig_client *c);

/* Back when the worker has read all that was sent to it before, and seen what ended. */
void peer_worker_has_read(struct rig *r);

#endif
