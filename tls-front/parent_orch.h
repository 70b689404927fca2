/* Sockets to roomkeyd, which the front's parent connects for its children, as they may open none.
 *
 * Happy path: a child wants one, gets it at once, and keeps it for as long as roomkeyd lives.
 * While roomkeyd is not there, or takes connections only to refuse them, it is tried again, at
 * least every half second.  Times are clock_us(). */
#ifndef TLS_FRONT_PARENT_ORCH_H
#define TLS_FRONT_PARENT_ORCH_H

#include <stdint.h>
#include <sys/types.h>

#define PARENT_ORCH_AGENT (-1)

/* One a child; all zero at its start. */
struct parent_orch {
    uint64_t at;    /* when to connect; 0: it wants none */
    uint64_t given; /* when it got the last one */
    unsigned retry_ms;
};

/* The child wants one: `at` says when. */
void parent_orch_want(struct parent_orch *o);

/* For this worker, or PARENT_ORCH_AGENT: a socket to roomkeyd below `run` that says whose it is,
 * for the caller to pass on and to close.  -1: roomkeyd is not there, which is logged when it is
 * news, and `at` says when to try again. */
int parent_orch_connect(struct parent_orch *o, const char *run, int worker, pid_t pid);

#endif
