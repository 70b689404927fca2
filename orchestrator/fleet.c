#include "orchestrator/fleet.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/tenant_log.h"

static int tenant_order(const struct tenant *a, const struct tenant *b)
{
    return a->id == b->id ? 0 : a->id < b->id ? -1 : 1;
}

static int instance_order(const struct instance *a, const struct instance *b)
{
    return a->id == b->id ? 0 : a->id < b->id ? -1 : 1;
}

RB_GENERATE(tenant_tree, tenant, by_id, tenant_order)
RB_GENERATE(instance_tree, instance, by_id, instance_order)

void fleet_limits_init(struct fleet_limits *limits)
{
    *limits = (struct fleet_limits){
#define X(name, standard, least, most) .name = (standard),
        FLEET_BOUNDS(X)
#undef X
#define X(name, standard, least, most) .name##_ms = (standard),
            FLEET_DEADLINES(X)
#undef X
    };
}

static void on_pump(struct alarm *a);
static void stopped(struct fleet *f);
static void on_stop_late(struct alarm *a);

enum rc fleet_open(const struct fleet_config *config, struct fleet **out)
{
    struct fleet *f = calloc(1, sizeof *f);
    enum rc rc;

    if (!f)
        return RC_NOMEM;
    f->loop = config->loop;
    f->registry = config->registry;
    f->images = config->images;
    f->certs = config->certs;
    f->backend_ops = config->ops;
    f->backend = config->backend;
    f->front = config->front;
    f->limits = config->limits;
    snprintf(f->state_dir, sizeof f->state_dir, "%s", config->state_dir);
    RB_INIT(&f->tenants);
    RB_INIT(&f->instances);
    alarm_init(&f->pump_alarm, on_pump);
    alarm_init(&f->stop_alarm, on_stop_late);
    workers_init(f);
    if (config->virtual_time) {
        alarms_init_virtual(&f->alarms);
    } else {
        rc = alarms_init(&f->alarms, f->loop);
        if (rc) {
            free(f);
            return rc;
        }
    }
    f->random = alarms_us(&f->alarms) | 1;
    *out = f;
    return RC_OK;
}

void fleet_close(struct fleet *f)
{
    struct tenant *t;

    f->stopping = true; /* what is refused from here on is refused quietly */
    while ((t = RB_ROOT(&f->tenants)))
        fleet_forget(f, t);
    alarm_clear(&f->alarms, &f->pump_alarm);
    alarm_clear(&f->alarms, &f->stop_alarm);
    workers_dispose(f);
    alarms_close(&f->alarms);
    free(f);
}

struct alarms *fleet_alarms(struct fleet *f)
{
    return &f->alarms;
}

void fleet_db(struct fleet *f, enum rc rc, const char *what)
{
    if (rc && rc != RC_NOT_FOUND)
        log_error("registry: %s: %s: %s", what, rc_text(rc), registry_error(f->registry));
}

uint32_t fleet_random(struct fleet *f)
{
    f->random ^= f->random << 13; /* xorshift64 */
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (uint32_t)(f->random >> 16);
}

/*----- finding -----*/

struct tenant *fleet_tenant(struct fleet *f, uint64_t id)
{
    struct tenant key = {.id = id};

    return RB_FIND(tenant_tree, &f->tenants, &key);
}

struct tenant *fleet_tenant_active(struct fleet *f, uint64_t id, const char *name)
{
    struct tenant *t = fleet_tenant(f, id);

    if (t)
        return t;
    t = tenant_new(f, id, name);
    if (!t)
        return NULL;
    if (tenant_refresh(t)) {
        tenant_free(t);
        return NULL;
    }
    RB_INSERT(tenant_tree, &f->tenants, t);
    return t;
}

void fleet_forget(struct fleet *f, struct tenant *t)
{
    if (t->queued)
        fleet_dequeue(f, t);
    RB_REMOVE(tenant_tree, &f->tenants, t);
    for (struct instance *i = t->current; i; i = i->next)
        RB_REMOVE(instance_tree, &f->instances, i);
    for (struct instance *i = t->trial; i; i = i->next)
        RB_REMOVE(instance_tree, &f->instances, i);
    for (struct instance *i = t->retired; i; i = i->next)
        RB_REMOVE(instance_tree, &f->instances, i);
    tenant_free(t);
}

struct instance *fleet_instance(struct fleet *f, const struct control_instance *id)
{
    struct instance key = {.id = id->instance};
    struct instance *i = RB_FIND(instance_tree, &f->instances, &key);

    return i && i->generation == id->generation ? i : NULL;
}

/*----- the queue of starts -----*/

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
    return f->running < f->limits.max_running && f->starting < f->limits.max_starting &&
           (f->limits.max_memory_mib == 0 || f->memory < (uint64_t)f->limits.max_memory_mib << 20);
}

/* The host is full and somebody waits: the instance that has been quiet the
 * longest gives way before its time. */
static void make_room(struct fleet *f)
{
    struct instance *i, *oldest = NULL;

    if (f->starting >= f->limits.max_starting)
        return;
    RB_FOREACH(i, instance_tree, &f->instances)
    {
        if (i->sm.state == INSTANCE_STOPPING || i->sm.state == INSTANCE_DRAINING)
            return; /* one is on its way out already */
        if (i->sm.state == INSTANCE_IDLE && !i->retire &&
            (!oldest || i->quiet_us < oldest->quiet_us))
            oldest = i;
    }
    if (!oldest)
        return;
    instance_retire(oldest, f->limits.drain_ms, true);
    tenant_step(oldest->tenant);
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
    if (f->stopping && f->running == 0)
        stopped(f); /* the fleet may be gone: last */
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
    RB_REMOVE(instance_tree, &f->instances, i);
    f->counters.reaped_total += i->stopped && !i->retire;
    fleet_db(f,
             registry_instance_end(f->registry, i->id, i->why, (int64_t)alarms_utc_ms(&f->alarms)),
             "instance end");
    if (f->queue_first || f->stopping)
        alarm_set(&f->alarms, &f->pump_alarm, 0);
}

/*----- events and logs -----*/

void fleet_watch(struct fleet *f, struct fleet_watch *w)
{
    w->next = f->watches;
    f->watches = w;
}

void fleet_unwatch(struct fleet *f, struct fleet_watch *w)
{
    struct fleet_watch **at = &f->watches;

    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
}

void fleet_events_changed(struct fleet *f)
{
    for (struct fleet_watch *w = f->watches, *next; w; w = next) {
        next = w->next;
        if (w->on_event)
            w->on_event(w);
    }
}

void fleet_event(struct fleet *f, const char *tenant, const char *kind, const char *fmt, ...)
{
    char text[REGISTRY_TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fleet_db(
        f,
        registry_event(f->registry, tenant, kind, (int64_t)alarms_utc_ms(&f->alarms), "%s", text),
        "event");
    log_info("%s%s%s: %s", tenant ? tenant : "", tenant ? ": " : "", kind, text);
    fleet_events_changed(f);
}

enum rc fleet_log_path(const struct fleet *f, const char *tenant, bool old, char *out, size_t size)
{
    return tenant_log_path(f->state_dir, tenant, old, out, size);
}

void fleet_log(struct fleet *f, struct tenant *t, const struct instance *i, int level,
               const char *text)
{
    char line[TENANT_LOG_LINE_MAX];

    tenant_log_line(line, sizeof line, alarms_utc_ms(&f->alarms), i->generation, level, text);
    f->counters.log_lines_total++;
    if (!t->log &&
        tenant_log_open(f->state_dir, t->name, (uint64_t)f->limits.log_size_kib << 10, &t->log))
        t->log = NULL;
    if (!t->log || tenant_log_write(t->log, line))
        f->counters.log_lines_lost_total++;
    for (struct fleet_watch *w = f->watches, *next; w; w = next) {
        next = w->next;
        if (w->on_log)
            w->on_log(w, t->id, line);
    }
}

/*----- admins -----*/

void fleet_invalidate(struct fleet *f, uint64_t tenant)
{
    struct control_msg m = {.type = CONTROL_INVALIDATE, .tenant = tenant};

    for (unsigned w = 0; w < f->limits.channels; w++)
        fleet_send(f, w, &m, NULL, 0);
}

void fleet_tenant_changed(struct fleet *f, uint64_t tenant)
{
    struct tenant *t = fleet_tenant(f, tenant);

    fleet_invalidate(f, tenant);
    if (!t)
        return;
    fleet_db(f, tenant_refresh(t), "tenant");
    t->removing = false;
    alarm_set(&f->alarms, &t->soon, 0);
}

static enum rc await_gone(struct tenant *t, fleet_cb *cb, void *arg)
{
    struct gone_wait *w = calloc(1, sizeof *w);

    if (!w)
        return RC_NOMEM;
    *w = (struct gone_wait){.next = t->gone_waits, .generation = UINT64_MAX, .cb = cb, .arg = arg};
    t->gone_waits = w;
    return RC_OK;
}

enum rc fleet_tenant_remove(struct fleet *f, uint64_t tenant, fleet_cb *cb, void *arg)
{
    struct registry_tenant row;
    struct tenant *t;
    enum rc rc = registry_tenant(f->registry, tenant, &row);

    if (rc)
        return rc;
    t = fleet_tenant_active(f, tenant, row.name);
    if (!t)
        return RC_NOMEM;
    rc = await_gone(t, cb, arg);
    t->removing = rc == RC_OK;
    if (t->removing)
        fleet_invalidate(f, tenant);
    alarm_set(&f->alarms, &t->soon, 0);
    return rc;
}

void fleet_tenant_removed(struct fleet *f, uint64_t tenant)
{
    struct tenant *t = fleet_tenant(f, tenant);

    fleet_invalidate(f, tenant);
    if (!t)
        return;
    t->removing = false;
    t->suspended = true; /* the row is gone: whoever still waits is refused */
    alarm_set(&f->alarms, &t->soon, 0);
}

enum rc fleet_upgrade(struct fleet *f, const char *tenant, const char *image_ref,
                      uint64_t max_wait_ms, fleet_upgrade_cb *cb, void *arg, struct refusal *no)
{
    struct registry_tenant row;
    struct tenant *t;
    int64_t now = (int64_t)alarms_utc_ms(&f->alarms), deadline;
    enum rc rc;

    if (max_wait_ms == FLEET_WAIT_DEFAULT)
        max_wait_ms = f->limits.max_wait_ms;
    deadline = max_wait_ms == 0 || max_wait_ms > INT64_MAX / 2 ? 0 : now + (int64_t)max_wait_ms;
    rc = registry_tenant_upgrade(f->registry, tenant, image_ref, deadline, now, &row, no);
    if (rc)
        return rc;
    fleet_events_changed(f);
    fleet_invalidate(f, row.id);
    t = fleet_tenant_active(f, row.id, row.name);
    if (!t) {
        refusal_what(no, RC_NOMEM, "tenant %s will run %s at its next wake", row.name, image_ref);
        return refusal_why(no, "out of memory: nothing more could be done now");
    }
    tenant_upgrade_done(t, FLEET_UPGRADE_CANCELED, "another upgrade of the tenant was asked for");
    t->trial_crashes = 0;
    alarm_clear(&f->alarms, &t->pause); /* that was the other version's */
    fleet_db(f, tenant_refresh(t), "tenant");
    t->upgrade_cb = cb;
    t->upgrade_arg = arg;
    alarm_set(&f->alarms, &t->soon, 0);
    return RC_OK;
}

void fleet_upgrade_forget(struct fleet *f, void *arg)
{
    struct tenant *t;

    RB_FOREACH(t, tenant_tree, &f->tenants)
    {
        if (!t->upgrade_cb || t->upgrade_arg != arg)
            continue;
        t->upgrade_cb = NULL;
        alarm_set(&f->alarms, &t->soon, 0);
    }
}

enum rc fleet_instance_stop(struct fleet *f, uint64_t tenant, fleet_cb *cb, void *arg)
{
    struct tenant *t = fleet_tenant(f, tenant);
    uint64_t generation = 0;
    enum rc rc;

    if (!t)
        return RC_NOT_FOUND;
    if (t->current)
        generation = t->current->generation;
    if (t->trial && t->trial->generation > generation)
        generation = t->trial->generation;
    for (struct instance *i = t->retired; i; i = i->next)
        if (i->generation > generation)
            generation = i->generation;
    if (generation == 0)
        return RC_NOT_FOUND;
    rc = await_gone(t, cb, arg);
    if (rc)
        return rc;
    t->gone_waits->generation = generation;
    tenant_retire_all(t, f->limits.drain_ms);
    alarm_set(&f->alarms, &t->soon, 0);
    return RC_OK;
}

void fleet_forget_waiter(struct fleet *f, void *arg)
{
    struct tenant *t;

    RB_FOREACH(t, tenant_tree, &f->tenants)
    for (struct gone_wait *w = t->gone_waits; w; w = w->next)
        if (w->arg == arg)
            w->cb = NULL;
}

/*----- looking -----*/

static void show(struct fleet *f, struct instance *i, fleet_instance_cb *cb, void *arg)
{
    struct backend_usage usage = {0};
    struct fleet_instance_info info = {
        .id = i->id,
        .tenant = i->tenant->id,
        .generation = i->generation,
        .tenant_name = i->tenant->name,
        .image = i->image_ref,
        .state = instance_state_text(i),
        .ground = f->backend_ops->name,
        .connections = instance_connections(i),
        .started_at = i->started_at,
        .ready_at = i->ready_at,
    };

    if (f->backend_ops->usage(i->backend, &usage) == RC_OK)
        info.memory = usage.memory;
    cb(arg, &info);
}

void fleet_instances(struct fleet *f, uint64_t tenant, fleet_instance_cb *cb, void *arg)
{
    struct instance *i;

    RB_FOREACH(i, instance_tree, &f->instances)
    if (tenant == 0 || i->tenant->id == tenant)
        show(f, i, cb, arg);
}

const char *fleet_tenant_state(struct fleet *f, uint64_t tenant, const char **why)
{
    struct tenant *t = fleet_tenant(f, tenant);

    if (why)
        *why = t && t->pause.set ? t->why : "";
    if (t && t->current)
        return instance_state_text(t->current);
    return t && t->pause.set ? "failed" : "absent";
}

const struct fleet_counters *fleet_counters(const struct fleet *f)
{
    return &f->counters;
}

const struct fleet_histograms *fleet_histograms(const struct fleet *f)
{
    return &f->histograms;
}

const struct fleet_limits *fleet_limits(const struct fleet *f)
{
    return &f->limits;
}

const char *fleet_ground(const struct fleet *f)
{
    return f->backend_ops->name;
}

void fleet_gauges(const struct fleet *f, struct fleet_gauges *out)
{
    *out = (struct fleet_gauges){
        .running = f->running, .starting = f->starting, .memory_bound = f->memory};
    for (const struct tenant *t = f->queue_first; t; t = t->queue_next)
        out->queued++;
    for (unsigned w = 0; w < f->limits.channels; w++) {
        out->workers += f->workers[w].connected;
        out->waiting += f->workers[w].waiting;
    }
}

/*----- the end -----*/

static void stopped(struct fleet *f)
{
    fleet_cb *cb = f->on_stopped;

    if (!cb)
        return;
    f->on_stopped = NULL;
    alarm_clear(&f->alarms, &f->stop_alarm);
    cb(f->stopped_arg, f->running ? RC_TIMEDOUT : RC_OK); /* the fleet may be gone: last */
}

static void kill_all(struct fleet *f)
{
    struct tenant *t, *next;

    RB_FOREACH_SAFE(t, tenant_tree, &f->tenants, next)
    {
        for (struct instance *i = t->retired; i; i = i->next)
            instance_fail(i, "roomkeyd was stopped, and it did not leave in time");
        tenant_step(t);
    }
}

static void on_stop_late(struct alarm *a)
{
    struct fleet *f = CONTAINER_OF(a, struct fleet, stop_alarm);

    if (f->running == 0 || f->killed || f->leave) {
        stopped(f);
        return;
    }
    f->killed = true;
    alarm_set(&f->alarms, &f->stop_alarm, f->limits.kill_ms);
    kill_all(f);
}

void fleet_stop(struct fleet *f, bool leave, fleet_cb *cb, void *arg)
{
    struct tenant *t, *next;

    f->stopping = true;
    f->leave = leave;
    f->on_stopped = cb;
    f->stopped_arg = arg;
    alarm_set(&f->alarms, &f->stop_alarm, leave || !f->running ? 0 : f->limits.shutdown_ms);
    workers_stopping(f);
    RB_FOREACH_SAFE(t, tenant_tree, &f->tenants, next)
    {
        tenant_refuse(t, RC_FAILED, "roomkeyd is being stopped");
        tenant_upgrade_done(t, FLEET_UPGRADE_CANCELED, "roomkeyd is being stopped");
        if (!leave)
            tenant_retire_all(t, f->limits.shutdown_ms / 2);
        tenant_step(t);
    }
}

/*----- adoption -----*/

struct alive {
    struct registry_instance *rows; /* owned */
    size_t nr, room;
    bool lost;
};

static bool collect(void *arg, const struct registry_instance *row)
{
    struct alive *alive = arg;

    if (alive->nr == alive->room) {
        size_t room = alive->room ? alive->room * 2 : 64;
        struct registry_instance *more = realloc(alive->rows, room * sizeof *more);

        if (!more) {
            alive->lost = true;
            return false;
        }
        alive->rows = more;
        alive->room = room;
    }
    alive->rows[alive->nr++] = *row;
    return true;
}

static enum rc adopt(struct fleet *f, const struct registry_instance *row)
{
    struct registry_image image;
    struct registry_tenant tenant;
    struct instance_start start = {.row = row, .image = &image, .image_fd = -1};
    struct tenant *t;
    struct instance *i;
    enum rc rc = registry_image(f->registry, row->image, &image);

    if (rc == RC_OK)
        rc = registry_tenant(f->registry, row->tenant, &tenant);
    if (rc)
        return rc;
    t = fleet_tenant_active(f, tenant.id, tenant.name);
    if (!t)
        return RC_NOMEM;
    start.memory = tenant.memory ? tenant.memory : (uint64_t)image.memory_kib << 10;
    start.idle_ms = tenant.idle_ms;
    start.deadline_ms = f->limits.start_ms;
    rc = instance_adopt(f, t, &start, &i);
    alarm_set(&f->alarms, &t->soon, 0);
    if (rc)
        return rc;
    /* By id: a later one is the one that takes new connections. */
    if (t->current)
        tenant_retire_current(t, f->limits.retire_ms, true);
    t->current = i;
    if (row->state == REGISTRY_INSTANCE_STOPPING)
        tenant_retire_current(t, f->limits.drain_ms, false);
    return RC_OK;
}

void fleet_adopt(struct fleet *f)
{
    struct alive alive = {0};
    enum rc rc = registry_instances_alive(f->registry, collect, &alive);
    unsigned adopted = 0;

    fleet_db(f, rc, "living instances");
    if (alive.lost)
        log_error("out of memory: not all living instances could be taken over");
    for (size_t n = 0; n < alive.nr; n++) {
        const struct registry_instance *row = &alive.rows[n];

        rc = row->handle[0] ? adopt(f, row) : RC_NOT_FOUND;
        if (rc == RC_OK) {
            adopted++;
            continue;
        }
        fleet_db(
            f,
            registry_instance_end(f->registry, row->id,
                                  rc == RC_NOT_FOUND ? "gone while roomkeyd was away" : rc_text(rc),
                                  (int64_t)alarms_utc_ms(&f->alarms)),
            "instance end");
    }
    if (alive.nr)
        log_info("took over %u of %zu instances", adopted, alive.nr);
    free(alive.rows);
    f->backend_ops->sweep(f->backend);
    if (adopted)
        workers_awaited(f);
}
