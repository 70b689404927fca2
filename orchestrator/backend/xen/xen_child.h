/* One helper process and the socket to it.
 *
 * The happy path: xen_child_start -> xen_child_send … on_event … ->
 * xen_child_end(CHILD_GENTLY): its socket is closed, it ends by itself, and is reaped.
 * Failure: on_lost, once, when it has died or talks nonsense: then xen_child_end().
 * A process that does not die of SIGKILL hangs in the kernel: after some seconds it
 * is let be. */
#ifndef XEN_CHILD_H
#define XEN_CHILD_H

#include <uv.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

struct xen_child;

struct xen_child_events {
    /* To keep the descriptor (-1: none) take it and set it to -1. */
    void (*on_event)(void *arg, const struct xen_event *event, int *fd);
    /* No event comes after it. */
    void (*on_lost)(void *arg);
};

/* `role`: "work" or "watch".  A failure is in the log. */
RC_MUST_CHECK enum rc xen_child_start(uv_loop_t *loop, const char *role,
                                      const struct xen_child_events *events, void *arg,
                                      struct xen_child **out);
/* `fd` is borrowed; -1: none. */
RC_MUST_CHECK enum rc xen_child_send(struct xen_child *c, const struct xen_job *job, int fd);

enum xen_child_how { CHILD_GENTLY, CHILD_KILLED };
/* No callback comes after it, and `c` is no longer the caller's. */
void xen_child_end(struct xen_child *c, enum xen_child_how how);

#endif
