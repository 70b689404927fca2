#include "orchestrator/admin/facts.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void count(void *arg, const struct fleet_instance_info *info)
{
    struct facts *facts = arg;

    facts->instances++;
    facts->instance_memory += info->memory;
#define X(name)                          \
    if (strcmp(info->state, #name) == 0) \
        facts->by_state.name++;
    FACTS_STATES(X)
#undef X
}

static uint64_t resident(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void facts_gather(struct fleet *f, struct facts *out)
{
    const uint64_t *counters;

    *out = (struct facts){.process_memory = resident()};
    fleet_instances(f, 0, count, out);
    for (unsigned w = 0; w < fleet_limits(f)->channels; w++) {
        counters = fleet_worker_counters(f, w);
        if (!counters)
            continue;
        out->workers++;
        for (unsigned i = 0; i < CONTROL_COUNTER_NR; i++)
            out->front[i] += counters[i];
    }
}
