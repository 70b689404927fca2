/* Takes the connections of a listening socket.
 *
 * The happy path: open -> begin -> on_taken … -> close -> on_closed.
 * Failure: without a descriptor for one more, or whatever else stays, the log says so once and
 * those who come wait; they are taken as soon as there is one.  A socket that is only looked at
 * would be ready all the time.
 */
#ifndef COMMON_ACCEPTOR_H
#define COMMON_ACCEPTOR_H

#include <stdbool.h>
#include <uv.h>

#include "common/core/rc.h"

struct acceptor {
    /* Caller fills, before acceptor_open(). */
    const char *what; /* for people: "front socket" */
    void *data;
    void (*on_taken)(struct acceptor *a, int fd); /* `fd` is the callee's */
    void (*on_closed)(struct acceptor *a);        /* it may be freed; or NULL */

    /* Private. */
    uv_poll_t poll;
    uv_timer_t again;
    int fd; /* owned */
    bool lacking, held;
    unsigned handles;
};

/* `fd` listens, and is consumed also by a failure: RC_IO, logged.  Nobody is taken before
 * acceptor_begin(). */
RC_MUST_CHECK enum rc acceptor_open(struct acceptor *a, uv_loop_t *loop, int fd);
void acceptor_begin(struct acceptor *a);
/* Until acceptor_begin() those who come wait. */
void acceptor_hold(struct acceptor *a);
void acceptor_close(struct acceptor *a);

#endif
