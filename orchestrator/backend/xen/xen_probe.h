/* Whether this host can run domains for us: tried, not guessed. */
#ifndef XEN_PROBE_H
#define XEN_PROBE_H

#include <stddef.h>

#include "common/core/rc.h"
#include "orchestrator/backend/backend.h"

/* See backend.h. */
enum rc xen_probe(char *why, size_t size);
void xen_checks(backend_check_cb *tell, void *arg);

#endif
