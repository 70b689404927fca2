/* Sums over the fleet, for /v1/status and /metrics. */
#ifndef ORCHESTRATOR_ADMIN_FACTS_H
#define ORCHESTRATOR_ADMIN_FACTS_H

#include <stdint.h>

#include "common/core/control.h"
#include "orchestrator/fleet.h"

#define FACTS_STATES(X) \
    X(starting)         \
    X(ready)            \
    X(idle)             \
    X(draining)         \
    X(stopping)

struct facts {
    struct {
#define X(name) unsigned name;
        FACTS_STATES(X)
#undef X
    } by_state;
    unsigned instances;
    uint64_t instance_memory; /* bytes resident */
    unsigned workers;
    uint64_t front[CONTROL_COUNTER_NR]; /* summed over the workers */
    uint64_t process_memory;            /* bytes resident, of roomkeyd */
};

void facts_gather(struct fleet *f, struct facts *out);

#endif
