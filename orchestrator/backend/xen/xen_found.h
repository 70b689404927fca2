/* What was there when the daemon came. */
#ifndef XEN_FOUND_H
#define XEN_FOUND_H

#include "orchestrator/backend/xen/xen_job.h"

struct backend;

/* Notes one: a xen_call_cb, whose `arg` is the backend. */
void xen_found_add(void *arg, const struct xen_event *event, int *fd);
/* Destroys those that nobody has adopted, and forgets all. */
void xen_found_sweep(struct backend *b);
void xen_found_forget(struct backend *b);

#endif
