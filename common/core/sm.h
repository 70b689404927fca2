/* State machines as data: which moves are legal, checked in every build.
 * Freestanding. */
#ifndef COMMON_SM_H
#define COMMON_SM_H

#include <stdint.h>

#define SM_BIT(s) (1u << (s))

struct sm_state {
    const char *name;
    uint32_t next; /* SM_BIT() set of the legal next states; 0 = final */
};

struct sm {
    const struct sm_state *table; /* borrowed, static */
    const char *what;             /* borrowed, static: "instance", "upgrade", … */
    uint64_t id;
    int state;
};

/* Called after each move with the machine in its new state; NULL (the default)
 * for none.  One hook a program: it writes the trace line. */
extern void (*sm_trace)(const struct sm *m, int from);

void sm_init(struct sm *m, const struct sm_state *table, const char *what, uint64_t id, int first);

/* A move that the table does not allow is a bug of ours and ends the program. */
void sm_move(struct sm *m, int next);

const char *sm_name(const struct sm *m);

#endif
