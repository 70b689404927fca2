/* What goes back to roomkeyd over XEN_JOB_FD. */
#ifndef XEN_HELPER_ANSWER_H
#define XEN_HELPER_ANSWER_H

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

/* Sets the text: one clean line, cut to fit.  Returns `rc`. */
enum rc answer_text(struct xen_event *e, enum rc rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Waits for room.  `fd` is borrowed; -1: none.  RC_CLOSED: roomkeyd is gone. */
RC_MUST_CHECK enum rc answer_send(const struct xen_event *e, int fd);

#endif
