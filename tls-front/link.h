/* What the front's parent and its children, workers and key agent, tell each other,
 * over a socket pair each. */
#ifndef TLS_FRONT_LINK_H
#define TLS_FRONT_LINK_H

#include <stdint.h>

#include "tls-front/ticket.h"

enum link_type {
    LINK_LISTENING = 1, /* child: sandboxed, and serving */
    LINK_WANT_ORCH = 2, /* child: no control socket, please connect one */
    LINK_ORCH = 3,      /* parent: here it is (one descriptor) */
    LINK_SECRETS = 4,   /* parent to worker: the next ticket period */
    LINK_DRAIN = 5,     /* parent to worker: no new connections, end soon */
    LINK_AGENT = 6,     /* parent to worker: a socket to the key agent (one descriptor) */
    LINK_WORKER = 7,    /* parent to agent: a socket to this worker (one descriptor) */
    LINK_MISFIT = 8     /* agent: this worker said what no worker says */
};

/* All are the same program: no encoding is needed. */
struct link_msg {
    uint32_t type;
    uint32_t worker;               /* LINK_WORKER, LINK_MISFIT: its index */
    struct ticket_secrets secrets; /* LINK_SECRETS */
};

#endif
