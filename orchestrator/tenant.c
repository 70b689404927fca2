#include "orchestrator/tenant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/tenant_log.h"

#define FORGIVE_MS 300000u /* then failures and crashes are forgotten */

static uint64_t now_us(const struct tenant *t)
{
    return alarms_us(&t->fleet->alarms);
}

static int64_t now_utc(const struct tenant *t)
{
    return (int64_t)alarms_utc_ms(&t->fleet->alarms);
}

/*----- alarms: note, then step -----*/

static void on_wake_late(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, wake_alarm));
}

static void on_pause_over(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, pause));
}

static void forgive(struct tenant *t)
{
    t->failures = t->crashes = t->trial_crashes = 0;
    alarm_clear(&t->fleet->alarms, &t->forgive);
}

static void on_forgiven(struct alarm *a)
{
    struct tenant *t = CONTAINER_OF(a, struct tenant, forgive);

    forgive(t);
    tenant_step(t);
}

static void on_proof(struct alarm *a)
{
    struct tenant *t = CONTAINER_OF(a, struct tenant, proof);

    if (t->current)
        tenant_prove(t, t->current);
    forgive(t);
    tenant_step(t);
}

static void on_soon(struct alarm *a)
{
    tenant_step(CONTAINER_OF(a, struct tenant, soon));
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
    alarm_init(&t->forgive, on_forgiven);
    alarm_init(&t->proof, on_proof);
    alarm_init(&t->upgrade_alarm, on_upgrade_deadline);
    alarm_init(&t->soon, on_soon);
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
    alarm_clear(alarms, &t->forgive);
    alarm_clear(alarms, &t->proof);
    alarm_clear(alarms, &t->upgrade_alarm);
    alarm_clear(alarms, &t->soon);
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
    t->upgrade_deadline = row.upgrade_deadline;
    if (t->current)
        instance_set_idle(t->current, row.idle_ms);
    return RC_OK;
}

/*----- those who wait -----*/

enum rc tenant_wait(struct tenant *t, unsigned worker, uint64_t request)
{
    struct waiter *w = calloc(1, sizeof *w);

    if (!w)
        return RC_NOMEM;
    w->request = request;
    w->worker = worker;
    w->since_us = now_us(t);
    w->woke = !t->first && (!t->current || !instance_serves(t->current));
    *t->last = w;
    t->last = &w->next;
    t->fleet->workers[worker].waiting++;
    if (w->woke)
        t->fleet->counters.wakes_total++;
    return RC_OK;
}

/* Takes *at out of the list; the caller frees it. */
static struct waiter *unlink_waiter(struct tenant *t, struct waiter **at)
{
    struct waiter *w = *at;

    *at = w->next;
    if (t->last == &w->next)
        t->last = at;
    t->fleet->workers[w->worker].waiting--;
    return w;
}

void tenant_unwait(struct tenant *t, unsigned worker)
{
    struct waiter **at = &t->first;

    while (*at)
        if ((*at)->worker == worker)
            free(unlink_waiter(t, at));
        else
            at = &(*at)->next;
}

static void refuse_first(struct tenant *t, enum rc why, const char *text)
{
    struct waiter *w = unlink_waiter(t, &t->first);
    struct control_msg m = {.type = CONTROL_REFUSED};

    m.refused.request = w->request;
    m.refused.why = (uint16_t)why;
    snprintf(m.refused.text, sizeof m.refused.text, "%s", text);
    t->fleet->counters.wakes_refused_total++;
    fleet_send(t->fleet, w->worker, &m, NULL, 0);
    free(w);
}

void tenant_refuse(struct tenant *t, enum rc why, const char *fmt, ...)
{
    char text[CONTROL_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    while (t->first)
        refuse_first(t, why, text);
}

static void tell_ready(struct tenant *t, struct waiter *w)
{
    struct instance *i = t->current;
    struct fleet *f = t->fleet;
    struct backend_channel ch;
    struct control_msg m = {.type = CONTROL_READY};
    uint64_t now = now_us(t);
    int fds[3];

    m.ready.request = w->request;
    m.ready.tenant = t->id;
    m.ready.id = (struct control_instance){i->id, i->generation};
    m.ready.channel = (uint16_t)w->worker;
    if (i->ready_us > w->since_us) {
        m.ready.woken = w->woke;
        m.ready.asked_us = i->asked_us > w->since_us ? (uint32_t)(i->asked_us - w->since_us) : 0;
        m.ready.ready_us = (uint32_t)(i->ready_us - w->since_us);
        histogram_add(&f->histograms.wake, now - w->since_us);
        if (w->woke)
            histogram_add(&f->histograms.queue, m.ready.asked_us);
    }
    if (now - w->since_us > f->limits.slow_wake_ms * 1000ull) {
        f->counters.wakes_slow_total++;
        log_warning("slow wake of %s: %" PRIu64 " ms", t->name, (now - w->since_us) / 1000);
    }
    f->backend_ops->channel(i->backend, w->worker, &ch);
    fds[0] = ch.memory_fd;
    fds[1] = ch.instance_fd;
    fds[2] = ch.client_fd;
    fleet_send(f, w->worker, &m, fds, 3);
}

/* Everybody whose channel is free gets it. */
static void serve(struct tenant *t)
{
    struct waiter **at = &t->first;

    if (!t->first)
        return;
    instance_touch(t->current);
    while (*at) {
        struct waiter *w = *at;

        if (slots_give(t->current, w->worker)) {
            at = &w->next;
            continue;
        }
        tell_ready(t, w);
        free(unlink_waiter(t, at));
    }
}

static void refuse_late(struct tenant *t)
{
    uint64_t now = now_us(t), wake_us = t->wake_timeout_ms * 1000ull;

    while (t->first && now - t->first->since_us >= wake_us) {
        t->fleet->counters.wakes_timedout_total++;
        refuse_first(t, RC_TIMEDOUT,
                     t->queued ? "the host is full: too many instances run"
                               : "its instance was not ready in time");
    }
    if (!t->first)
        alarm_clear(&t->fleet->alarms, &t->wake_alarm);
    else if (!t->wake_alarm.set)
        alarm_set(&t->fleet->alarms, &t->wake_alarm,
                  (t->first->since_us + wake_us - now + 999) / 1000);
}

/*----- starts -----*/

bool tenant_wants_start(const struct tenant *t)
{
    if (t->suspended || t->removing || t->fleet->stopping || t->pause.set || t->trial)
        return false;
    return t->current ? t->wants_trial : t->first != NULL;
}

void tenant_pause(struct tenant *t, const char *why)
{
    struct fleet_limits *limits = &t->fleet->limits;
    unsigned doubled = t->failures < 16 ? t->failures : 16;
    uint64_t ms = (uint64_t)limits->pause_ms << doubled;

    if (ms > limits->pause_max_ms)
        ms = limits->pause_max_ms;
    ms -= fleet_random(t->fleet) % (ms / 4 + 1); /* not all at once after a fault of the host */
    t->failures++;
    snprintf(t->why, sizeof t->why, "%s", why);
    alarm_set(&t->fleet->alarms, &t->pause, ms);
    alarm_set(&t->fleet->alarms, &t->forgive, ms + FORGIVE_MS);
    log_warning("tenant %s does not start: %s; next try in %" PRIu64 " ms", t->name, why, ms);
}

/* The image, or this host, could not bring an instance up. */
static void start_failed(struct tenant *t, uint64_t image, const char *why, bool host)
{
    t->fleet->counters.starts_failed_total++;
    fleet_event(t->fleet, t->name, "failed", "%s did not start: %s", t->image_ref, why);
    if (!host && tenant_roll_back(t, image, why))
        return; /* those who wait are served by the last good one */
    tenant_pause(t, why);
}

static uint32_t start_deadline(const struct tenant *t)
{
    const struct fleet_limits *limits = &t->fleet->limits;

    /* So that the last good one can still be ready for those who wait. */
    if (!t->current && tenant_on_trial(t) && limits->trial_start_ms < limits->start_ms)
        return limits->trial_start_ms;
    return limits->start_ms;
}

void tenant_start_now(struct tenant *t)
{
    struct fleet *f = t->fleet;
    struct registry_route route;
    struct registry_instance row;
    struct instance_start start = {.row = &row, .image = &route.image};
    struct instance *i = NULL;
    enum rc rc;

    if (!tenant_wants_start(t)) {
        tenant_step(t);
        return;
    }
    rc = registry_route_of(f->registry, t->id, &route);
    if (rc == RC_OK)
        rc = image_store_fd(f->images, route.image.sha256, &start.image_fd);
    if (rc) {
        start_failed(t, t->image,
                     rc == RC_NOT_FOUND ? "its file is gone from the image store" : rc_text(rc),
                     rc != RC_NOT_FOUND);
        tenant_step(t);
        return;
    }
    rc = registry_instance_begin(f->registry, t->id, route.image.id, f->backend_ops->name,
                                 now_utc(t), &row);
    if (rc == RC_OK) {
        start.memory =
            route.tenant.memory ? route.tenant.memory : (uint64_t)route.image.memory_kib << 10;
        start.idle_ms = route.tenant.idle_ms;
        start.deadline_ms = start_deadline(t);
        rc = instance_start(f, t, &start, &i);
        if (rc)
            fleet_db(f, registry_instance_end(f->registry, row.id, rc_text(rc), now_utc(t)),
                     "instance end");
    }
    close(start.image_fd);
    if (rc)
        start_failed(t, t->image, rc_text(rc), true);
    else if (t->current)
        t->trial = i;
    else
        t->current = i;
    tenant_step(t);
}

/*----- ends -----*/

static void on_crash(struct tenant *t, const struct instance *i)
{
    struct fleet_limits *limits = &t->fleet->limits;
    uint64_t life_ms = (now_us(t) - i->ready_us) / 1000;

    t->fleet->counters.crashes_total++;
    fleet_event(t->fleet, t->name, "crashed", "%s generation %" PRIu64 " crashed: %s", i->image_ref,
                i->generation, i->why);
    if (i->retire)
        return; /* it had its successor already */
    alarm_set(&t->fleet->alarms, &t->forgive, FORGIVE_MS);
    if (life_ms < limits->proof_ms && i->image == t->image && tenant_on_trial(t) &&
        ++t->trial_crashes >= limits->trial_crashes && tenant_roll_back(t, i->image, i->why))
        return;
    t->crashes = life_ms < limits->crash_soon_ms ? t->crashes + 1 : 0;
    if (t->crashes >= limits->crashes)
        tenant_pause(t, i->why);
}

/* What the end of an instance means for the tenant; once. */
static void on_end(struct tenant *t, struct instance *i)
{
    if (i->accounted)
        return;
    i->accounted = true;
    if (i->stopped || (i->retire && !i->ready)) {
        if (i->ready && !i->retire) {
            tenant_prove(t, i);
            forgive(t);
        }
        return;
    }
    /* Whoever wonders about the tenant reads its log first. */
    fleet_log(t->fleet, t, i, MUX_LOG_ERROR, i->why);
    if (i->ready || i->adopted)
        on_crash(t, i);
    else
        start_failed(t, i->image, i->why, false);
}

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
        on_end(t, i);
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
    on_end(t, i);
    instance_free(i);
    return true;
}

static void retire(struct tenant *t, struct instance **at, uint32_t ms, bool patient)
{
    struct instance *i = *at;

    *at = NULL;
    if (at == &t->current)
        alarm_clear(&t->fleet->alarms, &t->proof);
    i->next = t->retired;
    t->retired = i;
    instance_retire(i, ms, patient);
    t->again = true;
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
        if (w->cb)
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
        tenant_upgrade_done(t, FLEET_UPGRADE_CANCELED, "the tenant was suspended or removed");
    }
    tenant_upgrade_step(t);

    /* 5. Those who wait. */
    refuse_late(t);
    if (t->current && instance_serves(t->current))
        serve(t);
    else if (!t->current && t->pause.set)
        tenant_refuse(t, RC_FAILED, "%s; next try in %" PRIu64 " ms", t->why,
                      (t->pause.due - now_us(t)) / 1000 + 1);

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
        !t->forgive.set && !t->gone_waits && !t->upgrade_cb && !t->removing && !t->soon.set)
        fleet_forget(t->fleet, t); /* t is gone: last */
}
