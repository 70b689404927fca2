/* The key agent: the one process that has private keys, and signs with them for the
 * front's workers, which never see one.
 *
 * Happy path: agent_run() is called in the forked child: it maps memory for keys,
 * drops privileges, installs the system call filter, asks its parent for a socket to
 * roomkeyd, and is given one to each worker.  A worker says SIGN; a key that is not
 * here yet is asked of roomkeyd, which sends it as a descriptor; SIGNED goes back.
 * One signature after the other, one a worker and turn.
 *
 * Failure modes: roomkeyd away (requests for keys that are not here wait, up to the
 * handshake's time; the others are served); a key that roomkeyd refuses or that
 * cannot be used (its requests are refused); a worker that does not take its answers
 * (it is not read from until it does); one that says what no worker says (the parent
 * is told, and ends it); the parent gone: it ends.  Killed: the parent starts
 * another, and workers ask again. */
#ifndef TLS_FRONT_AGENT_H
#define TLS_FRONT_AGENT_H

#include "tls-front/options.h"

struct agent_start {
    const struct options *options;
    int parent; /* consumed */
};

__attribute__((noreturn)) void agent_run(const struct agent_start *start);

#endif
