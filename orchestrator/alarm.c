#include "orchestrator/alarm.h"

#include <stdlib.h>

#include "common/core/check.h"
#include "common/host/clock.h"

static int alarm_order(const struct alarm *a, const struct alarm *b)
{
    if (a->due != b->due)
        return a->due < b->due ? -1 : 1;
    return a->serial == b->serial ? 0 : a->serial < b->serial ? -1 : 1;
}

RB_GENERATE_STATIC(alarm_tree, alarm, entry, alarm_order)

static void on_timer(uv_timer_t *timer);

/* One timer of the loop stands for all alarms: at the first that is due. */
static void arm(struct alarms *c)
{
    struct alarm *first = RB_MIN(alarm_tree, &c->tree);
    uint64_t now;

    if (!c->timer)
        return;
    if (!first) {
        uv_timer_stop(c->timer);
        return;
    }
    now = alarms_us(c);
    uv_update_time(c->timer->loop);
    uv_timer_start(c->timer, on_timer, first->due > now ? (first->due - now + 999) / 1000 : 0, 0);
}

/* Rings what was due at `now`; what is set meanwhile waits for the next turn, so
 * that an alarm that sets itself again cannot hold the loop. */
static void ring_due(struct alarms *c, uint64_t now)
{
    uint64_t serial = c->serial;
    struct alarm *a;

    while ((a = RB_MIN(alarm_tree, &c->tree)) && a->due <= now && a->serial <= serial) {
        RB_REMOVE(alarm_tree, &c->tree, a);
        a->set = false;
        a->ring(a); /* may free a */
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct alarms *c = timer->data;

    ring_due(c, alarms_us(c));
    arm(c);
}

enum rc alarms_init(struct alarms *c, uv_loop_t *loop)
{
    *c = (struct alarms){.tree = RB_INITIALIZER(&c->tree)};
    c->timer = malloc(sizeof *c->timer);
    if (!c->timer)
        return RC_NOMEM;
    CHECK(uv_timer_init(loop, c->timer) == 0);
    c->timer->data = c;
    return RC_OK;
}

void alarms_init_virtual(struct alarms *c)
{
    *c = (struct alarms){.tree = RB_INITIALIZER(&c->tree), .virtual_us = 1000000};
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void alarms_close(struct alarms *c)
{
    CHECK(RB_EMPTY(&c->tree));
    if (c->timer)
        uv_close((uv_handle_t *)c->timer, on_closed);
    c->timer = NULL;
}

uint64_t alarms_us(const struct alarms *c)
{
    return c->timer ? clock_us() : c->virtual_us;
}

int64_t alarms_utc_ms(const struct alarms *c)
{
    return c->timer ? clock_unix_ms()
                    : 1700000000000 + c->virtual_set_ms + (int64_t)(c->virtual_us / 1000);
}

void alarm_init(struct alarm *a, void (*ring)(struct alarm *a))
{
    *a = (struct alarm){.ring = ring};
}

void alarm_set(struct alarms *c, struct alarm *a, uint64_t ms)
{
    if (a->set)
        RB_REMOVE(alarm_tree, &c->tree, a);
    a->due = alarms_us(c) + ms * 1000;
    a->serial = ++c->serial;
    a->set = true;
    RB_INSERT(alarm_tree, &c->tree, a);
    if (RB_MIN(alarm_tree, &c->tree) == a)
        arm(c);
}

void alarm_clear(struct alarms *c, struct alarm *a)
{
    if (!a->set)
        return;
    RB_REMOVE(alarm_tree, &c->tree, a);
    a->set = false;
    /* The timer may now fire too early once: on_timer then finds nothing due. */
}

uint64_t alarms_next_us(const struct alarms *c)
{
    struct alarm_tree *tree = (struct alarm_tree *)(uintptr_t)&c->tree;
    struct alarm *first = RB_MIN(alarm_tree, tree);

    return first ? first->due : UINT64_MAX;
}

void alarms_advance_to(struct alarms *c, uint64_t us)
{
    CHECK(!c->timer && us >= c->virtual_us);
    c->virtual_us = us;
    ring_due(c, us);
}
