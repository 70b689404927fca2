/* What admins ask of the fleet, and what they may look at: fleet.h says what.
 *
 * Each wish is written to the tenant's actor, which acts on it in the loop's next
 * turn, so that no callback comes from inside the call that asks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/tenant_log.h"

/* By somebody whose callback has not come yet: only that one may take it back. */
static bool removal_awaited(const struct tenant *t)
{
    const struct gone_wait *w = t->gone_waits;

    while (w && w->generation != UINT64_MAX)
        w = w->next;
    return w != NULL;
}

void fleet_tenant_changed(struct fleet *f, uint64_t tenant)
{
    struct tenant *t = fleet_tenant(f, tenant);

    fleet_invalidate(f, tenant);
    if (!t)
        return;
    fleet_db(f, tenant_refresh(t), "tenant");
    t->removing = t->removing && removal_awaited(t);
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

static void remove_log(const struct fleet *f, const char *tenant, bool old)
{
    char path[640];

    if (tenant_log_path(f->state_dir, tenant, old, path, sizeof path) == RC_OK &&
        unlink(path) != 0 && errno != ENOENT)
        log_warning("the log %s could not be removed: %s", path, strerror(errno));
}

void fleet_tenant_removed(struct fleet *f, uint64_t tenant)
{
    struct tenant *t = fleet_tenant(f, tenant);

    fleet_invalidate(f, tenant);
    if (!t)
        return;
    t->removing = false;
    t->suspended = true; /* the row is gone: whoever still waits is refused */
    /* The name may be another customer's tomorrow. */
    tenant_log_close(t->log);
    t->log = NULL;
    remove_log(f, t->name, false);
    remove_log(f, t->name, true);
    alarm_set(&f->alarms, &t->soon, 0);
}

/* What serves when another version is wished for is what to come back to, also when it
 * has not been ready for proof_ms yet; not if it has crashed meanwhile. */
static void prove_what_serves(struct fleet *f, const char *name)
{
    struct registry_tenant row;
    struct refusal no;
    struct tenant *t;

    if (registry_tenant_by_name(f->registry, name, &row, &no))
        return; /* the wish itself will be refused */
    t = fleet_tenant(f, row.id);
    if (t && t->current && instance_serves(t->current) && t->trial_crashes == 0)
        tenant_prove(t, t->current);
}

enum rc fleet_upgrade(struct fleet *f, const char *tenant, const char *image_ref,
                      uint64_t max_wait_ms, fleet_upgrade_cb *cb, void *arg, struct refusal *no)
{
    struct registry_tenant row;
    struct tenant *t;
    int64_t now = alarms_utc_ms(&f->alarms), deadline;
    enum rc rc;

    if (max_wait_ms == FLEET_WAIT_DEFAULT)
        max_wait_ms = f->limits.max_wait_ms;
    deadline = max_wait_ms == 0 || max_wait_ms > INT64_MAX / 2 ? 0 : now + (int64_t)max_wait_ms;
    prove_what_serves(f, tenant);
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
    tenant_forgive(t); /* that was the other version's */
    alarm_clear(&f->alarms, &t->pause);
    fleet_db(f, tenant_refresh(t), "tenant");
    t->upgrade_cb = cb;
    t->upgrade_arg = arg;
    alarm_set(&f->alarms, &t->soon, 0);
    return RC_OK;
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

/*----- looking -----*/

static struct fleet_start_steps start_steps(const struct instance *i)
{
    struct fleet_start_steps steps = {
        .created_us = i->steps.created_us,
        .unpaused_us = i->steps.unpaused_us,
    };

    if (i->adopted || !i->ready_us)
        return steps;
    steps.ready_us = (uint32_t)(i->ready_us - i->asked_us);
    /* The image's word: no more than the time there was. */
    steps.entered_us = i->boot_us < steps.ready_us ? steps.ready_us - i->boot_us : 0;
    return steps;
}

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
        .start = start_steps(i),
    };

    if (f->backend_ops->usage(i->backend, &usage) == RC_OK) {
        info.memory = usage.memory;
        info.cpu_us = usage.cpu_us;
    }
    cb(arg, &info);
}

void fleet_instances(struct fleet *f, uint64_t tenant, fleet_instance_cb *cb, void *arg)
{
    struct instance *i;

    RB_FOREACH(i, instance_tree, &f->instances)
    if (tenant == 0 || i->tenant->id == tenant)
        show(f, i, cb, arg);
}

const char *fleet_tenant_state(struct fleet *f, uint64_t tenant)
{
    struct tenant *t = fleet_tenant(f, tenant);

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
