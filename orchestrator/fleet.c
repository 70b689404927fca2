#include "orchestrator/fleet.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    fleet_queue_init(f);
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

void fleet_stopped(struct fleet *f)
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
        fleet_stopped(f);
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
