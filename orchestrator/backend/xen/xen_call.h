/* One question to a helper of its own, and waiting for the answer: for the time
 * before the loop, and for libuv's pool.
 *
 * The happy path: the helper is started, answers, and is ended.  Failure: it cannot
 * be started, dies (RC_FAILED), or says nothing for XEN_CALL_MS (RC_TIMEDOUT, and it
 * is killed): `text` says so. */
#ifndef XEN_CALL_H
#define XEN_CALL_H

#include <stddef.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

#define XEN_CALL_MS 10000

/* What comes before the answer; to keep the descriptor take it and set it to -1. */
typedef void xen_call_cb(void *arg, const struct xen_event *event, int *fd);

/* The answer's rc and text; PROBE or LIST. */
RC_MUST_CHECK enum rc xen_call(const struct xen_job *job, xen_call_cb *each, void *arg, char *text,
                               size_t size);

#endif
