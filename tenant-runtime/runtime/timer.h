/* Timers: one pairing heap, ordered by deadline; no memory of its own, so setting
 * one never fails.  Times are rk_now_ns' nanoseconds. */
#ifndef RUNTIME_TIMER_H
#define RUNTIME_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#define TIMER_NEVER UINT64_MAX
#define TIMER_MS    UINT64_C(1000000) /* nanoseconds */

/* Zeroed: not set.  Must not move or be freed while it is set. */
struct timer {
    void (*fire)(struct timer *t); /* the owner's; called once per timer_set */
    uint64_t at_ns;
    struct timer *child, *sibling; /* heap order */
    struct timer **link;           /* what points here; NULL: not set */
};

/* Sets, or moves, the deadline. */
void timer_set(struct timer *t, uint64_t at_ns);
/* A no-op when it is not set. */
void timer_stop(struct timer *t);

/* The nearest deadline, or TIMER_NEVER. */
uint64_t timer_next(void);
/* Fires all that are due.  True when there was one. */
bool timer_run(uint64_t now_ns);

#endif
