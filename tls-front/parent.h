/* The front's parent: binds, forks the key agent and the workers, restarts them,
 * connects them to roomkeyd and to each other.  It reads nothing that a client or a
 * tenant sent.
 *
 * Happy path: parent_run() binds one SO_REUSEPORT socket a worker and address,
 * starts agent and workers, says that it is ready when all are, and waits for
 * SIGTERM, SIGINT or, unless that is ignored, SIGHUP; then workers drain, the agent
 * ends, and it returns 0.
 *
 * Failure modes: an address that cannot be bound, no worker that comes up: one
 * line on stderr, returns 1.  A worker that dies is started again, after a time
 * that doubles up to RETRY_MAX_MS while it keeps dying; its sockets stay bound,
 * and connections that came in between wait there.  The agent likewise: signatures
 * wait for the next one.  roomkeyd being away is
 * none: workers ask again and again for a control socket, and are given one when
 * there is one. */
#ifndef TLS_FRONT_PARENT_H
#define TLS_FRONT_PARENT_H

#include "tls-front/options.h"

int parent_run(const struct options *o);

#endif
