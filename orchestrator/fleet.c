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

#define QUIET_US 1000000u /* before an instance gives way to another tenant's */

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

static void on_trouble(void *arg, const char *text)
{
    fleet_event(arg, NULL, "stuck", "%s", text);
}

/* Those that are held ask again. */
static void on_image_looked(void *arg)
{
    struct fleet *f = arg;
    struct tenant *t;

    RB_FOREACH(t, tenant_tree, &f->tenants)
    if (t->held.set)
        alarm_set(&f->alarms, &t->held, 0);
}

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
    alarm_init(&f->rows_alarm, fleet_on_rows);
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
    if (f->backend_ops->listen)
        f->backend_ops->listen(f->backend, on_trouble, f);
    image_store_watch(f->images, on_image_looked, f);
    *out = f;
    return RC_OK;
}

void fleet_close(struct fleet *f)
{
    struct tenant *t;

    if (f->backend_ops->listen)
        f->backend_ops->listen(f->backend, NULL, NULL);
    image_store_watch(f->images, NULL, NULL);
    f->stopping = true; /* what is refused from here on is refused quietly */
    while ((t = RB_ROOT(&f->tenants)))
        fleet_forget(f, t);
    alarm_clear(&f->alarms, &f->pump_alarm);
    alarm_clear(&f->alarms, &f->stop_alarm);
    alarm_clear(&f->alarms, &f->rows_alarm);
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
    fleet_db(f, registry_event(f->registry, tenant, kind, alarms_utc_ms(&f->alarms), "%s", text),
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

void fleet_invalidate(struct fleet *f, uint64_t tenant)
{
    struct control_msg m = {.type = CONTROL_INVALIDATE, .tenant = tenant};

    for (unsigned w = 0; w < f->limits.channels; w++)
        fleet_send(f, w, &m, NULL, 0);
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
    if (!leave)
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
