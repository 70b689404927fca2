#include "orchestrator/backend/sandbox/sandbox_limits.h"

#include "common/core/check.h"

#define STACK_BYTES (1u << 20)
/* Code, stack, the kernel's own pages: mapped, but no memory of its own. */
#define MAPPED_EXTRA (16u << 20)

static void add(struct sandbox_child *c, int resource, uint64_t value)
{
    CHECK(c->nlimits < SANDBOX_LIMITS);
    c->limits[c->nlimits++] = (struct sandbox_limit){.resource = resource, .value = {value, value}};
}

void sandbox_limits_fill(struct sandbox_child *c, uint64_t memory,
                         const struct sandbox_channels *channels)
{
    struct rlimit core = {0};

    c->nlimits = 0;
    add(c, RLIMIT_DATA, memory); /* heap, and every private mapping that can be written */
    add(c, RLIMIT_AS, memory + sandbox_channels_bytes(channels) + MAPPED_EXTRA);
    add(c, RLIMIT_STACK, STACK_BYTES);
    add(c, RLIMIT_NOFILE, c->nfds);
    add(c, RLIMIT_NPROC, 1);
    add(c, RLIMIT_FSIZE, 0);
    add(c, RLIMIT_MEMLOCK, 0);
    add(c, RLIMIT_MSGQUEUE, 0);
    /* A dump holds session keys.  1 and not 0: only 1 also stops a core_pattern
     * that is a pipe; but a hard limit of 0 cannot be raised. */
    getrlimit(RLIMIT_CORE, &core);
    add(c, RLIMIT_CORE, core.rlim_max >= 1 ? 1 : 0);
}
