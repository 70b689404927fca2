/* The resource limits of one instance (setrlimit), which hold on every host; the
 * cgroup's come on top where there is one. */
#ifndef SANDBOX_LIMITS_H
#define SANDBOX_LIMITS_H

#include <stdint.h>

#include "orchestrator/backend/sandbox/sandbox_channels.h"
#include "orchestrator/backend/sandbox/sandbox_child.h"

/* `memory`: bytes of its own, channels not counted. */
void sandbox_limits_fill(struct sandbox_child *c, uint64_t memory,
                         const struct sandbox_channels *channels);

#endif
