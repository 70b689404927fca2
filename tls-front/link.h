/* What the front's parent and a worker tell each other, over a socket pair. */
#ifndef TLS_FRONT_LINK_H
#define TLS_FRONT_LINK_H

#include <stdint.h>

#include "tls-front/ticket.h"

enum link_type {
    LINK_LISTENING = 1, /* worker: sandboxed, and serving */
    LINK_WANT_ORCH = 2, /* worker: no control socket, please connect one */
    LINK_ORCH = 3,      /* parent: here it is (one descriptor) */
    LINK_SECRETS = 4,   /* parent: the next ticket period */
    LINK_DRAIN = 5      /* parent: no new connections, end soon */
};

/* Both are the same program: no encoding is needed. */
struct link_msg {
    uint32_t type;
    struct ticket_secrets secrets; /* LINK_SECRETS */
};

#endif
