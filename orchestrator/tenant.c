#include "orchestrator/tenant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/tenant_log.h"

static uint64_t now_us(const struct tenant *t)
{
    return alarms_us(&t->fleet->alarms);
}

/*----- alarms: note, then step -----*/

static void on_wake_late(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, wake_alarm));
}

static void on_held(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, held));
}

static void on_pause_over(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, pause));
}

void tenant_forgive(struct tenant *t)
{
    t->failures = t->crashes = t->trial_crashes = 0;
    alarm_clear(&t->fleet->alarms, &t->forgive);
}

static void on_forgiven(struct alarm *a)
{
    struct tenant *t = CONTAINER_OF(a, struct tenant, forgive);

    tenant_forgive(t);
    tenant_step(t);
}

static void on_proof(struct alarm *a)
{
    struct tenant *t = CONTAINER_OF(a, struct tenant, proof);

    if (t->current)
        tenant_prove(t, t->current);
    tenant_forgive(t);
    tenant_step(t);
}

static void on_soon(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, soon));
}

static void on_late(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, late));
}

static void on_upgrade_deadline(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, upgrade_alarm));
}

/*----- making and freeing -----*/

struct tenant *tenant_new(struct fleet *f, uint64_t id, const char *name)
{
    struct tenant *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->fleet = f;
    t->id = id;
    snprintf(t->name, sizeof t->name, "%s", name);
    t->last = &t->first;
    alarm_init(&t->wake_alarm, on_wake_late);
    alarm_init(&t->pause, on_pause_over);
    alarm_init(&t->held, on_held);
    alarm_init(&t->forgive, on_forgiven);
    alarm_init(&t->proof, on_proof);
    alarm_init(&t->upgrade_alarm, on_upgrade_deadline);
    alarm_init(&t->soon, on_soon);
    alarm_init(&t->late, on_late);
    return t;
}

static void free_all(struct instance *i)
{
    while (i) {
        struct instance *next = i->next;

        instance_free(i);
        i = next;
    }
}

void tenant_free(struct tenant *t)
{
    struct alarms *alarms = &t->fleet->alarms;

    CHECK(!t->queued);
    tenant_refuse(t, RC_FAILED, "roomkeyd is going away");
    free_all(t->current);
    free_all(t->trial);
    free_all(t->retired);
    while (t->gone_waits) {
        struct gone_wait *w = t->gone_waits;

        t->gone_waits = w->next;
        free(w);
    }
    alarm_clear(alarms, &t->wake_alarm);
    alarm_clear(alarms, &t->pause);
    alarm_clear(alarms, &t->held);
    alarm_clear(alarms, &t->forgive);
    alarm_clear(alarms, &t->proof);
    alarm_clear(alarms, &t->upgrade_alarm);
    alarm_clear(alarms, &t->soon);
    alarm_clear(alarms, &t->late);
    tenant_log_close(t->log);
    free(t);
}

enum rc tenant_refresh(struct tenant *t)
{
    struct registry_tenant row;
    enum rc rc = registry_tenant(t->fleet->registry, t->id, &row);

    if (rc)
        return rc;
    t->suspended = row.suspended;
    t->image = row.image;
    t->last_good = row.last_good;
    memcpy(t->image_ref, row.image_ref, sizeof t->image_ref);
    t->idle_ms = row.idle_ms;
    t->wake_timeout_ms = row.wake_timeout_ms;
    t->upgrade = row.upgrade;
    if (t->upgrade_deadline != row.upgrade_deadline) {
        int64_t left = row.upgrade_deadline - alarms_utc_ms(&t->fleet->alarms);

        t->upgrade_deadline = row.upgrade_deadline;
        t->upgrade_due_us =
            row.upgrade_deadline == 0 ? 0 : now_us(t) + (left > 0 ? (uint64_t)left * 1000 : 0);
        alarm_clear(&t->fleet->alarms, &t->upgrade_alarm);
    }
    if (t->current)
        instance_set_idle(t->current, row.idle_ms);
    return RC_OK;
}

/*----- ends -----*/

/* It serves no more: a wake does not wait for its end, the next generation is on
 * its own.  A failure counts at once, before anything else is started. */
static void set_aside(struct tenant *t, struct instance **at)
{
    struct instance *i = *at;

    if (!i || i->sm.state != INSTANCE_STOPPING)
        return;
    *at = NULL;
    if (at == &t->current)
        alarm_clear(&t->fleet->alarms, &t->proof);
    i->next = t->retired;
    t->retired = i;
    if (!i->stopped)
        tenant_on_end(t, i);
    t->again = true;
}

/* Takes an ended instance out of *at and out of the world. */
static bool bury(struct tenant *t, struct instance **at)
{
    struct instance *i = *at;

    if (!i || i->sm.state != INSTANCE_ENDED)
        return false;
    *at = i->next;
    i->next = NULL;
    if (at == &t->current)
        alarm_clear(&t->fleet->alarms, &t->proof);
    tenant_on_end(t, i);
    instance_free(i);
    return true;
}

void tenant_retire(struct tenant *t, struct instance *i, uint32_t ms, bool patient)
{
    i->next = t->retired;
    t->retired = i;
    instance_retire(i, ms, patient);
    t->again = true;
}

static void retire(struct tenant *t, struct instance **at, uint32_t ms, bool patient)
{
    struct instance *i = *at;

    *at = NULL;
    if (at == &t->current)
        alarm_clear(&t->fleet->alarms, &t->proof);
    tenant_retire(t, i, ms, patient);
}

void tenant_retire_trial(struct tenant *t)
{
    retire(t, &t->trial, t->fleet->limits.drain_ms, false);
}

void tenant_retire_current(struct tenant *t, uint32_t ms, bool patient)
{
    retire(t, &t->current, ms, patient);
}

void tenant_retire_all(struct tenant *t, uint32_t ms)
{
    if (t->current)
        retire(t, &t->current, ms, false);
    if (t->trial)
        retire(t, &t->trial, ms, false);
    for (struct instance *i = t->retired; i; i = i->next)
        instance_retire(i, ms, false);
}

/* Tells those who wait for ends.  Deferred calls: they come back with wishes. */
static void tell_gone(struct tenant *t)
{
    struct gone_wait **at = &t->gone_waits;

    while (*at) {
        struct gone_wait *w = *at;
        bool lives = (t->current && t->current->generation <= w->generation) ||
                     (t->trial && t->trial->generation <= w->generation);

        for (struct instance *i = t->retired; i; i = i->next)
            lives = lives || i->generation <= w->generation;
        if (lives) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->cb(w->arg, RC_OK);
        free(w);
        at = &t->gone_waits;
    }
}

/*----- the whole story, in order -----*/

static void on_current_ready(struct tenant *t)
{
    if (t->current->proved)
        return;
    t->current->proved = true;
    if (t->current->image != t->image)
        return;
    if (!tenant_on_trial(t))
        tenant_prove(t, t->current);
    alarm_set(&t->fleet->alarms, &t->proof, t->fleet->limits.proof_ms);
}

static void step(struct tenant *t)
{
    struct instance **at;

    /* 1. Each instance, by its own facts. */
    if (t->current)
        instance_step(t->current);
    if (t->trial)
        instance_step(t->trial);
    for (struct instance *i = t->retired; i; i = i->next)
        instance_step(i);

    /* 2. Those that have ended, and those that serve no more. */
    if (bury(t, &t->current) || bury(t, &t->trial))
        t->again = true;
    at = &t->retired;
    while (*at)
        if (!bury(t, at))
            at = &(*at)->next;
    set_aside(t, &t->current);
    set_aside(t, &t->trial);

    /* 3. The new version takes over when it is ready, or when it is all there is. */
    if (t->trial && (!t->current || instance_serves(t->trial)))
        tenant_change_over(t);
    if (t->current && instance_serves(t->current))
        on_current_ready(t);

    /* 4. What the operator wants. */
    if (t->suspended || t->removing) {
        tenant_retire_all(t, t->fleet->limits.drain_ms);
        tenant_refuse(t, RC_DENIED, "tenant %s is %s", t->name,
                      t->removing ? "being removed" : "suspended");
    }
    if (t->removing)
        tenant_upgrade_done(t, FLEET_UPGRADE_CANCELED, "the tenant is being removed");
    tenant_upgrade_step(t);

    /* 5. Those who wait. */
    tenant_refuse_late(t);
    if (t->current && instance_serves(t->current))
        tenant_serve(t);
    else if (!t->current && t->pause.set)
        tenant_refuse(t, RC_FAILED, "%s; next try in %" PRIu64 " ms", t->why,
                      (t->pause.due - now_us(t)) / 1000 + 1);

    tenant_spare_step(t);

    /* 6. Starts. */
    if (tenant_wants_start(t))
        fleet_enqueue(t->fleet, t);
    else if (t->queued)
        fleet_dequeue(t->fleet, t);
    tell_gone(t);
}

void tenant_step(struct tenant *t)
{
    if (t->stepping) {
        t->again = true;
        return;
    }
    t->stepping = true;
    do {
        t->again = false;
        step(t);
    } while (t->again);
    t->stepping = false;

    if (!t->current && !t->trial && !t->retired && !t->first && !t->queued && !t->pause.set &&
        !t->held.set && !t->forgive.set && !t->gone_waits && !t->upgrade_cb && !t->removing &&
        !t->soon.set)
        fleet_forget(t->fleet, t); /* t is gone: last */
}
