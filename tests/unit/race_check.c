/* What must always hold. */
#include <inttypes.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/fleet_private.h"
#include "race_house.h"

struct backend_instance *race_backend(struct race *r, uint64_t id)
{
    struct backend_instance *i = fake_all(r->house->backend);

    while (i && i->id != id)
        i = i->next;
    return i;
}

static int good_image(const char *ref)
{
    for (int n = 0; n < 3; n++)
        if (strcmp(ref, race_good[n]) == 0)
            return n;
    return -1;
}

/*----- instances -----*/

struct race_life *race_life(struct race *r, uint64_t id)
{
    struct backend_instance *i;
    struct race_life *life;

    for (unsigned n = r->lives_nr; n > 0; n--)
        if (r->lives[n - 1].id == id)
            return &r->lives[n - 1];
    i = race_backend(r, id);
    CHECK(i && r->lives_nr < RACE_LIVES);
    life = &r->lives[r->lives_nr++];
    *life = (struct race_life){.id = id, .generation = i->generation};
    life->tenant = race_tenant_of(r, i->tenant);
    CHECK(life->tenant);
    snprintf(life->ref, sizeof life->ref, "%s", i->ref);
    if (strcmp(i->ref, "web:hangs") == 0 || i->slow) {
        life->tenant->slow_us[0] = life->tenant->slow_us[1];
        life->tenant->slow_us[1] = race_now(r);
    }
    for (unsigned n = 0; n + 1 < r->lives_nr; n++)
        if (r->lives[n].tenant == life->tenant && r->lives[n].generation >= life->generation)
            race_broken(r, "generation %" PRIu64 " of %s comes after %" PRIu64, life->generation,
                        i->tenant, r->lives[n].generation);
    for (unsigned n = 0; n + 1 < r->lives_nr; n++) {
        const struct race_life *other = &r->lives[n];

        life->spare =
            life->spare || (other->tenant == life->tenant && !other->ready && !other->stopping &&
                            !other->ended && strcmp(other->ref, life->ref) != 0);
    }
    r->sum.spares += life->spare;
    i->exit_ms = r->exit_ms;
    race_note(r, "        %s begins, generation %" PRIu64 ", %s", i->tenant, i->generation, i->ref);
    return life;
}

static void look_at(struct race *r, const struct instance *i)
{
    struct race_life *life = race_life(r, i->id);
    bool ready = i->sm.state == INSTANCE_READY || i->sm.state == INSTANCE_IDLE;

    if (i->sm.state == INSTANCE_DRAINING && !life->draining_us)
        life->draining_us = race_now(r);
    else if ((ready || i->sm.state == INSTANCE_STARTING) && !life->stopping)
        life->draining_us = 0;
    life->stopping = life->stopping || i->sm.state == INSTANCE_STOPPING;
    if (ready && race_is_bad(i->image_ref))
        race_broken(r, "%s is ready with %s", i->tenant->name, i->image_ref);
    life->ready = life->ready || ready;
    if (ready)
        life->tenant->ran[good_image(i->image_ref)] = true;
    if (!i->alarm.set)
        race_broken(r, "generation %" PRIu64 " of %s is %s without a deadline", i->generation,
                    i->tenant->name, instance_state_text(i));
}

/* One that the fleet has let go of. */
static void look_at_end(struct race *r, struct race_life *life)
{
    const struct backend_instance *i = race_backend(r, life->id);
    struct registry_instance row;
    enum rc rc = registry_instance(r->house->registry, life->id, &row);

    life->ended = true;
    if (rc)
        return; /* one of too many */
    race_note(r, "        %s ends, generation %" PRIu64 ": %s", life->tenant->name,
              life->generation, row.why);
    if (i && i->alive)
        race_broken(r, "generation %" PRIu64 " of %s lives, and nobody knows of it",
                    life->generation, life->tenant->name);
    if (row.state != REGISTRY_INSTANCE_ENDED && !r->house->fleet->rows_alarm.set)
        race_broken(r, "generation %" PRIu64 " of %s has ended; its row says %s", life->generation,
                    life->tenant->name, registry_instance_state_text(row.state));
    if (!life->excused && !race_is_bad(life->ref) && strncmp(row.why, "stopped", 7) != 0)
        race_broken(r, "generation %" PRIu64 " of %s is well, and ended: %s", life->generation,
                    life->tenant->name, row.why);
}

static void look_at_all(struct race *r)
{
    struct fleet *f = r->house->fleet;
    unsigned running = 0, starting = 0;
    struct instance *i;
    uint64_t memory = 0;

    RB_FOREACH(i, instance_tree, &f->instances)
    {
        look_at(r, i);
        running++;
        starting += i->sm.state == INSTANCE_STARTING;
        memory += i->memory;
    }
    if (running != f->running || starting != f->starting || memory != f->memory)
        race_broken(r, "%u instances, %u starting, %" PRIu64 " bytes; it counts %u, %u, %" PRIu64,
                    running, starting, memory, f->running, f->starting, f->memory);
    if (running > f->limits.max_running || starting > f->limits.max_starting)
        race_broken(r, "%u instances, %u starting: more than may be", running, starting);
    for (unsigned n = 0; n < r->lives_nr; n++) {
        struct instance key = {.id = r->lives[n].id};

        if (!r->lives[n].ended && !RB_FIND(instance_tree, &f->instances, &key))
            look_at_end(r, &r->lives[n]);
    }
}

/*----- channels -----*/

static bool will_hear_gone(const struct race_worker *w, const struct control_instance *id)
{
    for (const struct race_message *e = w->in.first; e; e = e->next)
        if (e->m.type == CONTROL_GONE && e->m.instance.instance == id->instance)
            return true;
    return false;
}

/* What a worker holds is its own until it has heard otherwise. */
static void look_at_channels(struct race *r, unsigned w)
{
    for (const struct race_channel *ch = r->workers[w].channels; ch; ch = ch->next) {
        const struct backend_instance *i = race_backend(r, ch->id.instance);

        if (ch->late || !i || !i->alive || will_hear_gone(&r->workers[w], &ch->id))
            continue;
        if (!fake_connected(race_backend(r, ch->id.instance), w))
            race_broken(
                r, "the channel of worker %u to generation %" PRIu64 " of %s was taken from it", w,
                ch->id.generation, ch->tenant->name);
    }
}

void race_check(struct race *r)
{
    if (!r->house->fleet)
        return;
    look_at_all(r);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++) {
        if (r->workers[w].connected)
            look_at_channels(r, w);
        if (r->house->fleet->workers[w].waiting != r->workers[w].asked_nr)
            race_broken(r, "worker %u waits for %u answers, and is owed %u", w,
                        r->workers[w].asked_nr, r->house->fleet->workers[w].waiting);
    }
}

/*----- what workers are told -----*/

void race_check_ready(struct race *r, unsigned w, const struct control_ready *m)
{
    struct backend_instance *i = race_backend(r, m->id.instance);
    struct race_tenant *t = i ? race_tenant_of(r, i->tenant) : NULL;
    struct race_life *life;

    r->sum.ready++;
    if (!i || i->told || i->generation != m->id.generation)
        race_broken(r, "worker %u is given an instance that is no more", w);
    if (!t || t->id != m->tenant)
        race_broken(r, "worker %u is given an instance of %s, which is another tenant's", w,
                    i->tenant);
    if (m->channel != w)
        race_broken(r, "worker %u is given the channel of %u", w, m->channel);
    if (m->id.generation < t->served)
        race_broken(r, "%s is served by generation %" PRIu64 " after %" PRIu64, t->name,
                    m->id.generation, t->served);
    life = race_life(r, m->id.instance);
    if (!life->spare)
        t->served = m->id.generation;
    life->draining_us = 0; /* it was taken back */
    if (good_image(i->ref) >= 0)
        t->ran[good_image(i->ref)] = true;
}

void race_check_used(struct race *r, const struct control_instance *id)
{
    const struct instance *i = fleet_instance(r->house->fleet, id);

    if (i && i->sm.state == INSTANCE_DRAINING && !i->retire)
        race_broken(r, "generation %" PRIu64 " of %s is in use, and is being let go", i->generation,
                    i->tenant->name);
}

static bool hung_twice(const struct race *r, const struct race_tenant *t, uint64_t since_us)
{
    uint64_t reach = r->house->limits.start_ms * 1000ull;

    return t->slow_us[0] && t->slow_us[0] + reach > since_us;
}

void race_check_refused(struct race *r, const struct race_request *q,
                        const struct control_refused *m)
{
    const struct race_tenant *t = q->tenant;
    uint64_t waited_ms = (race_now(r) - q->since_us) / 1000;
    bool excused = r->stopping || t->excused || t->first_bad;

    r->sum.refused++;
    switch (m->why) {
    case RC_NOT_FOUND:
        excused = !t->there;
        break;
    case RC_DENIED:
        excused = t->suspended || t->removing || !t->there;
        break;
    case RC_TIMEDOUT:
        excused = (excused || r->full || hung_twice(r, t, q->since_us)) &&
                  waited_ms >= REGISTRY_WAKE_TIMEOUT_MS;
        break;
    default:
        break;
    }
    if (!excused)
        race_broken(r, "a wake of %s is refused after %" PRIu64 " ms: %s: %s", t->name, waited_ms,
                    rc_text((enum rc)m->why), m->text);
}

void race_check_lost(struct race *r, const struct race_conn *c)
{
    const struct fleet_limits *limits = &r->house->limits;
    const struct race_channel *ch = c->channel;
    const struct race_life *life = race_life(r, ch->id.instance);
    uint64_t least_ms = limits->drain_ms, had_ms;

    if (life->excused || ch->late)
        return;
    if (life->forced && !life->hurried && !r->full)
        least_ms = limits->retire_ms;
    had_ms = life->draining_us ? (race_now(r) - life->draining_us) / 1000 : 0;
    if (had_ms < least_ms)
        race_broken(r,
                    "a connection to generation %" PRIu64 " of %s is lost; it had %" PRIu64
                    " of %" PRIu64 " ms to end",
                    life->generation, c->tenant->name, had_ms, least_ms);
}

/* It has not heard it yet. */
static bool was_answered(const struct race_worker *w, const struct race_tenant *t)
{
    for (const struct race_message *e = w->in.first; e; e = e->next)
        if (e->m.type == CONTROL_READY && e->m.ready.tenant == t->id)
            return true;
    return false;
}

void race_check_late(struct race *r, const struct race_conn *c)
{
    const struct race_tenant *t = c->tenant;
    uint64_t since_us = c->deadline_us - REGISTRY_WAKE_TIMEOUT_MS * 1000ull;

    if (c->excused || t->excused || t->first_bad || r->full || r->stopping ||
        !r->workers[c->worker].connected || was_answered(&r->workers[c->worker], t) ||
        hung_twice(r, t, since_us))
        return;
    race_broken(r, "a client of %s has waited in vain", t->name);
}

/*----- at rest -----*/

static void look_at_waiters(struct race *r, const struct tenant *t)
{
    const struct instance *i = t->current;

    if (!t->first || t->queued || t->held.set ||
        (i && i->sm.state == INSTANCE_STARTING && !i->retire))
        return;
    if (!i)
        race_broken(r, "connections wait for %s, and nothing is done about it", t->name);
    if (!instance_serves(i))
        race_broken(r, "connections wait for generation %" PRIu64 " of %s, which is on its way out",
                    i->generation, t->name);
    for (const struct waiter *w = t->first; w; w = w->next)
        if (i->slots[w->worker].state != SLOT_UNKNOWN &&
            i->slots[w->worker].state != SLOT_RESETTING)
            race_broken(r, "worker %u waits for %s, which could serve it", w->worker, t->name);
}

static void look_at_tenant(struct race *r, const struct tenant *t)
{
    const struct instance *i = t->current;

    look_at_waiters(r, t);
    if ((t->suspended || t->removing) && (t->current || t->trial))
        race_broken(r, "%s serves, and must not", t->name);
    if (i && i->image != t->image && instance_serves(i) && i->sm.state == INSTANCE_IDLE &&
        !slots_unknown(i) && !t->trial && !t->queued && !t->pause.set && !t->held.set)
        race_broken(r, "%s is idle, and nothing is done about its upgrade", t->name);
}

static bool has_room(const struct fleet *f)
{
    return f->running < f->limits.max_running && f->starting < f->limits.max_starting;
}

static void look_at_queue(struct race *r, const struct fleet *f)
{
    uint64_t soon = race_now(r) + f->limits.drain_ms * 1000ull;
    bool idle = false, leaves = false;
    struct instance *i;

    if (!f->queue_first)
        return;
    if (has_room(f))
        race_broken(r, "%s waits for a start, and there is room", f->queue_first->name);
    RB_FOREACH(i, instance_tree, (struct instance_tree *)(uintptr_t)&f->instances)
    {
        idle = idle || (i->sm.state == INSTANCE_IDLE && !i->retire);
        leaves = leaves || i->sm.state == INSTANCE_STOPPING ||
                 (i->sm.state == INSTANCE_DRAINING && i->drain_us <= soon);
    }
    /* The pump looks again when the idle one has been quiet for long enough. */
    if (f->starting < f->limits.max_starting && idle && !leaves && !f->pump_alarm.set)
        race_broken(r, "%s waits for room, and an idle instance does not give way",
                    f->queue_first->name);
}

/* Back to what has run, or what it was made with. */
static void look_at_row(struct race *r, struct race_tenant *t)
{
    struct registry_tenant row = house_row(r->house, t->name);
    int good = good_image(row.last_good_ref);

    if (row.generation < t->generation)
        race_broken(r, "the generation of %s goes back", t->name);
    t->generation = row.generation;
    if (row.last_good == 0 || row.last_good == t->last_good)
        return;
    /* One that never ran goes back to what was wished for before. */
    if (!t->first_bad && (t->ran[0] || t->ran[1] || t->ran[2]) &&
        strcmp(row.last_good_ref, t->first) != 0 && (good < 0 || !t->ran[good]))
        race_broken(r, "%s is to go back to %s, which never ran", t->name, row.last_good_ref);
    t->last_good = row.last_good;
}

void race_check_rows(struct race *r)
{
    struct fleet *f = r->house->fleet;

    for (unsigned n = 0; n < r->tenants_nr; n++)
        if (r->tenants[n].there)
            look_at_row(r, &r->tenants[n]);
    if (!r->held && !f->rows_alarm.set && house_rows_alive(r->house) != f->running)
        race_broken(r, "%u rows say that an instance lives, and %u do", house_rows_alive(r->house),
                    f->running);
}

void race_check_settled(struct race *r)
{
    struct fleet *f = r->house->fleet;
    struct tenant *t;

    if (f->stopping)
        return;
    RB_FOREACH(t, tenant_tree, &f->tenants)
    look_at_tenant(r, t);
    look_at_queue(r, f);
}

void race_check_asleep(struct race *r)
{
    struct fleet *f = r->house->fleet;
    struct fleet_gauges g;

    fleet_gauges(f, &g);
    if (g.running || g.starting || g.queued || g.waiting || g.memory_bound)
        race_broken(r, "all should sleep: %u run, %u start, %u are queued, %" PRIu64 " wait",
                    g.running, g.starting, g.queued, g.waiting);
    if (house_rows_alive(r->house) > 0)
        race_broken(r, "all sleep, and a row says that an instance lives");
    if (fake_all(r->house->backend))
        race_broken(r, "all sleep, and the ground holds an instance");
    if (!RB_EMPTY(&f->tenants))
        race_broken(r, "%s sleeps, and is not forgotten", RB_ROOT(&f->tenants)->name);
    if (alarms_next_us(&f->alarms) != UINT64_MAX)
        race_broken(r, "all sleep, and an alarm is set");
    for (unsigned w = 0; w < HOUSE_WORKERS; w++) {
        const struct race_worker *worker = &r->workers[w];

        if (worker->channels)
            race_broken(r, "worker %u was not told that generation %" PRIu64 " of %s is gone", w,
                        worker->channels->id.generation, worker->channels->tenant->name);
        if (worker->asked_nr || worker->in.nr || worker->out.nr)
            race_broken(r, "worker %u has something to say or to hear", w);
    }
}
