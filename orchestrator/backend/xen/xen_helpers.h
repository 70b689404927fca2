/* The helper processes that do jobs with libxenlight, and the queue in front of them.
 *
 * The happy path: xen_helpers_do -> a helper is free -> it answers -> done().
 * Failures, told by the same done(): the helper says no (its rc and text); it died in
 * the middle (RC_CLOSED: nobody knows how far it came); it took longer than the
 * job's deadline and was killed (RC_TIMEDOUT: likewise); nobody wants it any more
 * (RC_CANCELED: it was not begun).
 *
 * done() comes exactly once, from the loop, never from inside a call; it may free
 * the job.  A dead helper is replaced after a pause that grows while none does a
 * job well. */
#ifndef XEN_HELPERS_H
#define XEN_HELPERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/core/rc.h"
#include "orchestrator/alarm.h"
#include "orchestrator/backend/xen/xen_child.h"
#include "orchestrator/backend/xen/xen_job.h"

/* What goes first. */
enum xen_priority {
    XEN_START,   /* somebody waits for it */
    XEN_DESTROY, /* gives memory back; after DESTROY_PATIENCE_MS as urgent as a start */
    XEN_REFILL,  /* nobody waits; leaves one helper of several free for the others */
    XEN_PRIORITIES
};

struct xen_task {
    /* Caller fills. */
    struct xen_job job; /* all but the token; words are wiped after use */
    int fd;             /* borrowed until done(); -1: none */
    enum xen_priority priority;
    /* `answer` has rc, text, domid; to keep the descriptor (-1: none) take it and set
     * it to -1. */
    void (*done)(struct xen_task *t, const struct xen_event *answer, int *fd);

    /* Private. */
    TAILQ_ENTRY(xen_task) entry;
    uint64_t since_us;
    enum { TASK_IDLE, TASK_QUEUED, TASK_RUNNING, TASK_ANSWERED } state;
    enum rc verdict; /* ANSWERED */
};
TAILQ_HEAD(xen_tasks, xen_task);

struct xen_helper;

struct xen_helpers {
    /* Private. */
    uv_loop_t *loop;        /* borrowed */
    struct alarms *alarms;  /* borrowed */
    uint32_t deadline_ms;   /* of a job */
    unsigned nr, refilling; /* helpers; those that do a refill */
    struct xen_helper *all; /* owned */
    struct xen_tasks queue[XEN_PRIORITIES];
    struct xen_tasks answered; /* done() is owed */
    struct alarm soon;
    uint64_t token;
    uint32_t pause_ms; /* before the next replacement */
    bool stopped;
};

RC_MUST_CHECK enum rc xen_helpers_open(struct xen_helpers *h, uv_loop_t *loop,
                                       struct alarms *alarms, unsigned nr, uint32_t deadline_ms);

void xen_helpers_do(struct xen_helpers *h, struct xen_task *t);
/* Not begun yet: RC_CANCELED will come, true.  Else false, and its answer will come. */
bool xen_helpers_cancel(struct xen_helpers *h, struct xen_task *t);

/* All jobs, also those begun, will be answered with RC_CANCELED, and no helper is
 * started any more. */
void xen_helpers_stop(struct xen_helpers *h);
/* After the last answer.  The processes leave by themselves. */
void xen_helpers_close(struct xen_helpers *h);

#endif
