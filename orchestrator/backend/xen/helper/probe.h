/* Can this host run tenants as Xen domains?  Looks at everything that is needed,
 * in the order in which an operator would mend it, and changes nothing.
 *
 * Each fact is one check: a name, a level, and a text that says what was seen
 * and, when that is no good, why and what to do. */
#ifndef XEN_HELPER_PROBE_H
#define XEN_HELPER_PROBE_H

#include "orchestrator/backend/xen/helper/host.h"

/* Sends one XEN_CHECK a fact; done->text: the first fault (RC_UNSUPPORTED), or the
 * first warning, or empty. */
RC_MUST_CHECK enum rc probe_run(struct host *h, const struct xen_job *job, struct xen_event *done);

/* The same for people, on stdout.  The process's exit status: 1 with a fault. */
int probe_main(void);

#endif
