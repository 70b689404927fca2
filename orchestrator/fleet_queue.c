/* Who starts when: a queue, the bounds of running, of starting and of memory, and who gives way to
 * those that wait. */
#include "common/core/check.h"
#include "orchestrator/fleet_private.h"

#define QUIET_US 1000000u /* before an instance gives way to another tenant's */

void fleet_enqueue(struct fleet *f, struct tenant *t)
{
    if (t->queued)
        return;
    t->queued = true;
    t->queue_next = NULL;
    if (f->queue_last)
        f->queue_last->queue_next = t;
    else
        f->queue_first = t;
    f->queue_last = t;
    alarm_set(&f->alarms, &f->pump_alarm, 0);
}

void fleet_dequeue(struct fleet *f, struct tenant *t)
{
    struct tenant **at = &f->queue_first, *before = NULL;

    CHECK(t->queued);
    while (*at != t) {
        before = *at;
        at = &(*at)->queue_next;
    }
    *at = t->queue_next;
    if (f->queue_last == t)
        f->queue_last = before;
    t->queued = false;
}

static bool room(const struct fleet *f)
{
    return !f->short_of_memory && f->running < f->limits.max_running &&
           f->starting < f->limits.max_starting &&
           (f->limits.max_memory_mib == 0 || f->memory < (uint64_t)f->limits.max_memory_mib << 20);
}

static bool ends_soon(const struct fleet *f, const struct instance *i)
{
    uint64_t soon = alarms_us(&f->alarms) + f->limits.drain_ms * 1000ull;

    /* One that has been upgraded may finish its connections for much longer. */
    return i->sm.state == INSTANCE_STOPPING ||
           (i->sm.state == INSTANCE_DRAINING && i->drain_us <= soon);
}

static bool may_give_way(const struct instance *i)
{
    return i->sm.state == INSTANCE_IDLE && i == i->tenant->current;
}

bool fleet_give_way(struct fleet *f, uint64_t lacking)
{
    struct instance *i;
    uint64_t coming = 0;

    RB_FOREACH(i, instance_tree, &f->instances)
    if (may_give_way(i) || ends_soon(f, i))
        coming += i->memory;
    if (coming < lacking)
        return false;
    f->short_of_memory = true;
    alarm_set(&f->alarms, &f->pump_alarm, 0);
    return true;
}

/* The host is full and somebody waits: the instance that has been quiet the
 * longest gives way before its time.  Not at once: whoever was woken for has a
 * handshake to finish, and would else be woken for again and again. */
static void make_room(struct fleet *f)
{
    struct instance *i, *oldest = NULL;
    struct tenant *t;
    uint64_t now = alarms_us(&f->alarms), from;

    if (f->starting >= f->limits.max_starting && !f->short_of_memory)
        return;
    RB_FOREACH(i, instance_tree, &f->instances)
    {
        if (ends_soon(f, i))
            return;
        if (may_give_way(i) && (!oldest || i->quiet_us < oldest->quiet_us))
            oldest = i;
    }
    if (!oldest) {
        if (f->short_of_memory) /* then it is said with the numbers why not */
            alarm_set(&f->alarms, &f->pump_alarm, 0);
        f->short_of_memory = false;
        return;
    }
    from = oldest->quiet_us + QUIET_US;
    if (now < from) {
        alarm_set(&f->alarms, &f->pump_alarm, (from - now + 999) / 1000);
        return;
    }
    t = oldest->tenant;
    tenant_retire_current(t, f->limits.drain_ms, true);
    tenant_step(t);
}

static void on_pump(struct alarm *a)
{
    struct fleet *f = CONTAINER_OF(a, struct fleet, pump_alarm);

    while (f->queue_first && room(f)) {
        struct tenant *t = f->queue_first;

        fleet_dequeue(f, t);
        tenant_start_now(t);
    }
    if (f->queue_first)
        make_room(f);
    else
        f->short_of_memory = false;
    if (f->stopping && f->running == 0)
        fleet_stopped(f); /* the fleet may be gone: last */
}

void fleet_started(struct fleet *f, struct instance *i)
{
    RB_INSERT(instance_tree, &f->instances, i);
    f->running++;
    f->starting++;
    f->memory += i->memory;
    f->counters.starts_total += !i->adopted;
}

void fleet_start_over(struct fleet *f, struct instance *i)
{
    f->starting--;
    if (i->ready && !i->adopted) {
        histogram_add(&f->histograms.spawn, i->started_us - i->asked_us);
        histogram_add(&f->histograms.boot, i->ready_us - i->started_us);
    }
    if (f->queue_first)
        alarm_set(&f->alarms, &f->pump_alarm, 0);
}

void fleet_ended(struct fleet *f, struct instance *i)
{
    f->running--;
    f->memory -= i->memory;
    f->short_of_memory = false; /* or so: another start will tell */
    RB_REMOVE(instance_tree, &f->instances, i);
    f->counters.reaped_total += i->stopped && !i->retire;
    fleet_end_row(f, i->id, i->why);
    if (f->queue_first || f->stopping)
        alarm_set(&f->alarms, &f->pump_alarm, 0);
}

void fleet_room_changed(struct fleet *f)
{
    if (f->queue_first)
        alarm_set(&f->alarms, &f->pump_alarm, 0);
}

void fleet_queue_init(struct fleet *f)
{
    alarm_init(&f->pump_alarm, on_pump);
}
