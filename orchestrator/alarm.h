/* Time, injected: every deadline of the orchestrator's state machines is an
 * alarm of one set, which is the loop's in the daemon and virtual in tests.
 *
 * The happy path: alarm_init -> alarm_set -> its callback, once, from the loop
 * (never from inside alarm_set) -> alarm_set again if wanted.  alarm_clear may be
 * called at any time, also from a callback; an alarm that is not set holds no
 * memory and needs no closing, so its owner may be freed after alarm_clear.
 * No call here can fail.  Monotonic microseconds; delays are milliseconds. */
#ifndef ORCHESTRATOR_ALARM_H
#define ORCHESTRATOR_ALARM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include <uv/tree.h>

#include "common/core/rc.h"

struct alarm {
    void (*ring)(struct alarm *a);
    uint64_t due; /* µs */
    uint64_t serial;
    bool set;
    RB_ENTRY(alarm) entry;
};

RB_HEAD(alarm_tree, alarm);

struct alarms {
    struct alarm_tree tree;
    uint64_t serial;   /* alarms of the same instant ring in the order they were set */
    uv_timer_t *timer; /* owned; NULL: virtual */
    uint64_t virtual_us;
    int64_t virtual_set_ms; /* by how much somebody has set the clock */
};

/* The loop's own time. */
RC_MUST_CHECK enum rc alarms_init(struct alarms *c, uv_loop_t *loop);
/* A time that only alarms_advance_to() moves. */
void alarms_init_virtual(struct alarms *c);
void alarms_close(struct alarms *c);

uint64_t alarms_us(const struct alarms *c);
/* Milliseconds since 1970 UTC, for the registry and for people. */
int64_t alarms_utc_ms(const struct alarms *c);

void alarm_init(struct alarm *a, void (*ring)(struct alarm *a));
/* Rings in `ms` from now; moves an alarm that is already set. */
void alarm_set(struct alarms *c, struct alarm *a, uint64_t ms);
void alarm_clear(struct alarms *c, struct alarm *a);

/* Virtual only: the instant of the next alarm; UINT64_MAX when there is none. */
uint64_t alarms_next_us(const struct alarms *c);
/* Virtual only: moves to that instant and rings what is due. */
void alarms_advance_to(struct alarms *c, uint64_t us);

#endif
