#include "common/core/sm.h"

#include <stddef.h>

#include "common/core/check.h"

void (*sm_trace)(const struct sm *m, int from);

void sm_init(struct sm *m, const struct sm_state *table, const char *what, uint64_t id, int first)
{
    *m = (struct sm){.table = table, .what = what, .id = id, .state = first};
}

void sm_move(struct sm *m, int next)
{
    int from = m->state;

    CHECK(m->table[from].next & SM_BIT(next));
    m->state = next;
    if (sm_trace)
        sm_trace(m, from);
}

const char *sm_name(const struct sm *m)
{
    return m->table[m->state].name;
}
