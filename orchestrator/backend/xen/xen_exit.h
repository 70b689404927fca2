/* Why a domain is gone, for people. */
#ifndef XEN_EXIT_H
#define XEN_EXIT_H

#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/xen/xen_job.h"

/* It has shut down, as `event` says; sets clean and text. */
void xen_exit_shutdown(const struct xen_event *event, struct backend_exit *out);

#endif
