/* Whether this host can confine an instance: tried, not guessed. */
#ifndef SANDBOX_PROBE_H
#define SANDBOX_PROBE_H

#include <stddef.h>

#include "common/core/rc.h"
#include "orchestrator/backend/backend.h"

/* RC_OK and an empty `why`; RC_OK and a warning in it; or what is missing. */
enum rc sandbox_probe(char *why, size_t size);

/* What of the kernel it needs, one by one. */
void sandbox_checks(backend_check_cb *tell, void *arg);

#endif
