/* The worker's end of its socket to the key agent: what handshakes want signed.
 *
 * Happy path: signer_prepare() when a route brings a key; signer_ask() for each
 * signature, whose done() comes later.
 *
 * Failure modes: the agent refuses (done() says why); the agent dies, or none is there
 * yet (requests wait, and are sent to the next one); it does not answer: the
 * asker's own deadline, at which it calls signer_forget(). */
#ifndef TLS_FRONT_SIGNER_H
#define TLS_FRONT_SIGNER_H

#include <stdint.h>
#include <sys/queue.h>

#include "common/core/rc.h"
#include "tls-front/agent/agent_msg.h"

struct worker;

/* Zeroed: not asked. */
struct signer_request {
    void *data; /* the asker's */

    /* Private. */
    uint64_t id;                   /* 0: not asked */
    const struct agent_sign *what; /* borrowed until done() */
    void (*done)(struct signer_request *r, const struct agent_signed *answer);
    TAILQ_ENTRY(signer_request) entry;
};

RC_MUST_CHECK enum rc signer_init(struct worker *w);
void signer_dispose(struct worker *w); /* after its handles are closed */
void signer_close(struct worker *w);   /* for good */

void signer_connected(struct worker *w, int fd); /* consumed; in the place of the last */

void signer_prepare(struct worker *w, const char *key);
/* done() follows, never synchronously, and may free `r`. */
RC_MUST_CHECK enum rc
signer_ask(struct worker *w, struct signer_request *r, const struct agent_sign *what,
           void (*done)(struct signer_request *r, const struct agent_signed *answer));
void signer_forget(struct worker *w, struct signer_request *r); /* idempotent */

#endif
