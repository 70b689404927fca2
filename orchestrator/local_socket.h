/* A socket in RUN on which roomkeyd waits for its own front: SOCK_SEQPACKET, mode 0600,
 * for root and our own user.
 *
 * The happy path: open -> begin -> on_peer … -> close -> on_closed.
 * Failure: open says why.  Later whoever may not come is turned away, with a line in the
 * log; for what accept lacks see acceptor.h. */
#ifndef ORCHESTRATOR_LOCAL_SOCKET_H
#define ORCHESTRATOR_LOCAL_SOCKET_H

#include <stdbool.h>
#include <sys/un.h>
#include <uv.h>

#include "common/host/acceptor.h"
#include "orchestrator/refusal.h"

struct local_socket {
    /* Caller fills, before local_socket_open(). */
    const char *what; /* for people: "front socket" */
    /* Somebody who may; `fd` is the callee's.  False: there are too many. */
    bool (*on_peer)(struct local_socket *s, int fd);
    void (*on_closed)(struct local_socket *s); /* it may be freed */

    /* Private. */
    struct acceptor acceptor;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

/* RUN/NAME; what was there goes.  Nobody is let in before local_socket_begin(). */
RC_MUST_CHECK enum rc local_socket_open(struct local_socket *s, uv_loop_t *loop,
                                        const char *run_dir, const char *name, struct refusal *no);
void local_socket_begin(struct local_socket *s);
/* Until local_socket_begin() those who come wait. */
void local_socket_hold(struct local_socket *s);
void local_socket_close(struct local_socket *s);

#endif
