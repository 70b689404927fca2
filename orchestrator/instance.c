#include "orchestrator/instance.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/link.h"
#include "orchestrator/text.h"

static const struct sm_state states[INSTANCE_STATE_NR] = {
    [INSTANCE_STARTING] = {"starting", SM_BIT(INSTANCE_READY) | SM_BIT(INSTANCE_STOPPING) |
                                           SM_BIT(INSTANCE_ENDED)},
    [INSTANCE_READY] = {"ready", SM_BIT(INSTANCE_IDLE) | SM_BIT(INSTANCE_DRAINING) |
                                     SM_BIT(INSTANCE_STOPPING) | SM_BIT(INSTANCE_ENDED)},
    [INSTANCE_IDLE] = {"idle", SM_BIT(INSTANCE_READY) | SM_BIT(INSTANCE_DRAINING) |
                                   SM_BIT(INSTANCE_STOPPING) | SM_BIT(INSTANCE_ENDED)},
    [INSTANCE_DRAINING] = {"draining", SM_BIT(INSTANCE_READY) | SM_BIT(INSTANCE_STOPPING) |
                                           SM_BIT(INSTANCE_ENDED)},
    [INSTANCE_STOPPING] = {"stopping", SM_BIT(INSTANCE_ENDED)},
    [INSTANCE_ENDED] = {"ended", 0},
};

static const struct link_events link_events;
static const struct backend_events backend_events;
static void on_alarm(struct alarm *a);

static uint64_t now_us(const struct instance *i)
{
    return alarms_us(&i->fleet->alarms);
}

static void arm(struct instance *i, uint64_t ms)
{
    i->rang = false;
    alarm_set(&i->fleet->alarms, &i->alarm, ms);
}

/* The row follows the machine; IDLE is READY to it. */
static void note(struct instance *i, enum registry_instance_state state)
{
    fleet_db(i->fleet,
             registry_instance_state(i->fleet->registry, i->id, state,
                                     (int64_t)alarms_utc_ms(&i->fleet->alarms)),
             "instance state");
}

/*----- making and freeing -----*/

static struct instance *new (struct fleet *f, struct tenant *t, const struct instance_start *start)
{
    struct instance *i = calloc(1, sizeof *i);

    if (!i)
        return NULL;
    sm_init(&i->sm, states, "instance", start->row->id, INSTANCE_STARTING);
    i->fleet = f;
    i->tenant = t;
    i->id = start->row->id;
    i->generation = start->row->generation;
    i->image = start->image->id;
    memcpy(i->image_ref, start->row->image_ref, sizeof i->image_ref);
    memcpy(i->image_name, start->image->name, sizeof i->image_name);
    memcpy(i->image_version, start->image->version, sizeof i->image_version);
    i->memory = start->memory;
    i->idle_ms = start->idle_ms;
    i->started_at = start->row->started_at;
    i->ready_at = start->row->ready_at;
    i->asked_us = i->quiet_us = now_us(i);
    alarm_init(&i->alarm, on_alarm);
    return i;
}

static void drop(struct instance *i)
{
    alarm_clear(&i->fleet->alarms, &i->alarm);
    slots_dispose(i);
    free(i);
}

static enum rc listen_to(struct instance *i)
{
    struct backend_channel control;

    i->fleet->backend_ops->control(i->backend, &control);
    return link_open(i->fleet->loop, &control, &link_events, i, &i->link);
}

static void note_handle(struct instance *i)
{
    struct backend_handle handle;

    i->fleet->backend_ops->handle(i->backend, &handle);
    fleet_db(i->fleet, registry_instance_handle(i->fleet->registry, i->id, handle.text),
             "instance handle");
}

enum rc instance_start(struct fleet *f, struct tenant *t, const struct instance_start *start,
                       struct instance **out)
{
    struct instance *i = new (f, t, start);
    struct backend_spec spec = {
        .instance = start->row->id,
        .generation = start->row->generation,
        .tenant = t->name,
        .image_fd = start->image_fd,
        .memory = start->memory,
        .channels = f->limits.channels,
    };
    enum rc rc = RC_NOMEM;

    if (!i)
        return rc;
    rc = slots_init(i, spec.channels, false);
    if (rc == RC_OK)
        rc = f->backend_ops->start(f->backend, &spec, &backend_events, i, &i->backend);
    if (rc) {
        drop(i);
        return rc;
    }
    arm(i, start->deadline_ms);
    fleet_started(f, i);
    *out = i;
    return RC_OK;
}

enum rc instance_adopt(struct fleet *f, struct tenant *t, const struct instance_start *start,
                       struct instance **out)
{
    struct instance *i = new (f, t, start);
    struct backend_handle handle;
    enum rc rc = RC_NOMEM;

    if (!i)
        return rc;
    snprintf(handle.text, sizeof handle.text, "%s", start->row->handle);
    rc = slots_init(i, f->limits.channels, true);
    if (rc == RC_OK)
        rc = f->backend_ops->adopt(f->backend, &handle, i->channels, &backend_events, i,
                                   &i->backend);
    if (rc) {
        drop(i);
        return rc;
    }
    i->adopted = i->started = true;
    fleet_started(f, i);
    if (listen_to(i)) {
        instance_fail(i, "its control channel cannot be mapped");
    } else {
        i->question = QUESTION_OUT;
        link_health(i->link, ++i->token);
    }
    arm(i, start->deadline_ms);
    *out = i;
    return RC_OK;
}

void instance_free(struct instance *i)
{
    link_close(i->link);
    i->fleet->backend_ops->dispose(i->backend);
    drop(i);
}

/*----- facts: note one, then step -----*/

static void on_alarm(struct alarm *a)
{
    struct instance *i = CONTAINER_OF(a, struct instance, alarm);

    i->rang = true;
    tenant_step(i->tenant);
}

static void on_started(void *arg)
{
    struct instance *i = arg;

    if (i->started || i->exited)
        return;
    i->started = true;
    i->started_us = now_us(i);
    note_handle(i);
    if (listen_to(i))
        instance_fail(i, "its control channel cannot be mapped");
    tenant_step(i->tenant);
}

static void on_gone(void *arg, const struct backend_exit *why)
{
    struct instance *i = arg;

    if (i->link)
        link_look(i->link); /* it may have said why */
    i->exited = true;
    i->exit = *why;
    tenant_step(i->tenant);
}

/* A flood of lines costs the tenant its own lines. */
static void log_text(struct instance *i, int level, const char *text)
{
    uint64_t now = now_us(i), rate = i->fleet->limits.log_lines;
    char line[96];

    if (now - i->log_us >= 1000000) {
        if (i->log_dropped) {
            snprintf(line, sizeof line, "… %llu lines dropped: more than %llu in a second",
                     (unsigned long long)i->log_dropped, (unsigned long long)rate);
            fleet_log(i->fleet, i->tenant, i, MUX_LOG_WARNING, line);
        }
        i->log_dropped = 0;
        i->log_tokens = (unsigned)rate;
        i->log_us = now;
    }
    if (i->log_tokens == 0) {
        i->log_dropped++;
        return;
    }
    i->log_tokens--;
    fleet_log(i->fleet, i->tenant, i, level, text);
}

static void on_console(void *arg, const char *line, size_t len)
{
    char text[MUX_TEXT_MAX + 1];

    text_clean(text, sizeof text, line, len);
    log_text(arg, MUX_LOG_INFO, text);
}

static void on_ready(void *arg, const struct mux_ready *ready)
{
    struct instance *i = arg;

    if (i->sm.state != INSTANCE_STARTING) {
        if (!i->adopted) /* else an earlier roomkeyd has seen it, and could not note it */
            instance_fail(i, "it broke its control channel: READY twice");
    } else if (strcmp(ready->name, i->image_name) || strcmp(ready->version, i->image_version)) {
        instance_fail(i, "it says that it is another image than %s", i->image_ref);
    } else {
        i->ready = true;
        i->boot_us = ready->boot_us;
    }
    tenant_step(i->tenant);
}

static void on_failed(void *arg, const char *text)
{
    struct instance *i = arg;

    instance_fail(i, "it says: %s", *text ? text : "(nothing)");
    tenant_step(i->tenant);
}

static void on_log(void *arg, int level, const char *text)
{
    log_text(arg, level, text);
}

static void on_health(void *arg, const struct mux_health *health)
{
    struct instance *i = arg;

    if (health->token != 0 && health->token != i->token)
        return; /* the answer to an older question */
    i->health = *health;
    if (health->token != 0 && i->question == QUESTION_OUT)
        i->question = QUESTION_ANSWERED;
    else if (i->question == QUESTION_BUSY)
        i->rang = true; /* a lease changed: look again */
    tenant_step(i->tenant);
}

static void on_slot(void *arg, uint32_t channel)
{
    struct instance *i = arg;

    slots_on_slot(i, channel);
    tenant_step(i->tenant);
}

static void on_broken(void *arg, const char *why)
{
    struct instance *i = arg;

    i->fleet->counters.broken_total++;
    instance_fail(i, "it broke its control channel: %s", why);
    tenant_step(i->tenant);
}

static const struct link_events link_events = {
    .on_ready = on_ready,
    .on_failed = on_failed,
    .on_log = on_log,
    .on_health = on_health,
    .on_slot = on_slot,
    .on_broken = on_broken,
};

static const struct backend_events backend_events = {
    .on_started = on_started,
    .on_exit = on_gone,
    .on_console = on_console,
};

/*----- wishes -----*/

bool instance_serves(const struct instance *i)
{
    return !i->retire && !i->why[0] && !i->exited &&
           (i->sm.state == INSTANCE_READY || i->sm.state == INSTANCE_IDLE ||
            i->sm.state == INSTANCE_DRAINING);
}

void instance_touch(struct instance *i)
{
    i->quiet_us = now_us(i);
    if (i->sm.state == INSTANCE_DRAINING && !i->retire) {
        sm_move(&i->sm, INSTANCE_READY);
        note(i, REGISTRY_INSTANCE_READY);
        i->fleet->counters.taken_back_total++;
        arm(i, i->idle_ms);
    }
}

void instance_set_idle(struct instance *i, uint32_t ms)
{
    if (i->idle_ms == ms)
        return;
    i->idle_ms = ms;
    if (i->sm.state == INSTANCE_READY || i->sm.state == INSTANCE_IDLE)
        arm(i, 0); /* to reckon anew */
}

void instance_retire(struct instance *i, uint32_t ms, bool patient)
{
    uint64_t until = now_us(i) + (uint64_t)ms * 1000;

    if (i->retire && i->retire_us <= until)
        return;
    i->retire_us = until;
    i->patient = patient;
    if (i->sm.state == INSTANCE_DRAINING) {
        i->drain_us = until;
        arm(i, ms);
        if (!i->retire)
            slots_release(i, true);
    }
    i->retire = true;
}

void instance_fail(struct instance *i, const char *fmt, ...)
{
    va_list ap;

    if (i->why[0] || i->exited)
        return; /* the first reason is the reason */
    va_start(ap, fmt);
    vsnprintf(i->why, sizeof i->why, fmt, ap);
    va_end(ap);
}

uint32_t instance_connections(const struct instance *i)
{
    uint64_t n = 0;

    for (unsigned w = 0; w < i->channels; w++)
        n += i->slots[w].connections;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

const char *instance_state_text(const struct instance *i)
{
    return sm_name(&i->sm);
}

/*----- the whole story, in order -----*/

static void kill_it(struct instance *i)
{
    i->killed = true;
    if (!i->exited)
        i->fleet->backend_ops->kill(i->backend);
}

static void ask(struct instance *i)
{
    i->question = QUESTION_OUT;
    link_health(i->link, ++i->token);
    arm(i, i->fleet->limits.health_ms);
}

/* Requests and leases hold it; leases no longer than their bound. */
static bool busy(const struct instance *i)
{
    uint64_t quiet_ms = (now_us(i) - i->quiet_us) / 1000;

    return i->health.in_flight > 0 ||
           (i->health.leases > 0 && quiet_ms < i->fleet->limits.busy_max_ms);
}

/* A lease's end is told by BUSY, a request's by its bytes; this is for an instance
 * that forgets. */
static uint64_t look_again_ms(const struct instance *i)
{
    uint64_t ms = i->health.leases && i->health.busy_ms ? i->health.busy_ms + 1 : i->idle_ms;

    if (ms > i->fleet->limits.busy_max_ms)
        ms = i->fleet->limits.busy_max_ms;
    return ms > 100 ? ms : 100;
}

/* Running: true when it is to be drained. */
static bool idle_over(struct instance *i)
{
    uint64_t quiet_ms = (now_us(i) - i->quiet_us) / 1000;

    if (quiet_ms < i->idle_ms) {
        /* The alarm is not moved at each byte, but when it has rung in vain. */
        if (i->rang || i->question != QUESTION_NONE)
            arm(i, i->idle_ms - quiet_ms);
        i->question = QUESTION_NONE;
        return false;
    }
    switch (i->question) {
    case QUESTION_NONE:
        if (i->rang)
            ask(i);
        return false;
    case QUESTION_OUT:
        if (i->rang)
            instance_fail(i, "it did not answer a health question within %u ms",
                          i->fleet->limits.health_ms);
        return false;
    case QUESTION_ANSWERED:
        if (!busy(i))
            return true;
        i->fleet->counters.held_busy_total++;
        i->question = QUESTION_BUSY;
        arm(i, look_again_ms(i));
        return false;
    case QUESTION_BUSY:
        if (i->rang)
            ask(i);
        return false;
    }
    return false;
}

/* Draining: true when it is to be stopped. */
static bool drained(struct instance *i)
{
    uint64_t now = now_us(i), left_ms = (i->drain_us - now) / 1000;

    if (now >= i->drain_us)
        return true;
    if (slots_held(i) > 0)
        return false;
    if (!i->patient)
        return true;
    switch (i->question) {
    case QUESTION_NONE:
        ask(i);
        return false;
    case QUESTION_OUT:
        return i->rang; /* mute: it is on its way out anyway, and STOP has a deadline */
    case QUESTION_ANSWERED:
        if (!busy(i))
            return true;
        i->question = QUESTION_BUSY;
        arm(i, look_again_ms(i) < left_ms ? look_again_ms(i) : left_ms + 1);
        return false;
    case QUESTION_BUSY:
        if (i->rang)
            ask(i);
        return false;
    }
    return false;
}

static bool must_end(struct instance *i)
{
    return i->why[0] || i->exited;
}

static void end(struct instance *i)
{
    if (i->stopped)
        snprintf(i->why, sizeof i->why, "%s",
                 i->rang || i->killed ? "stopped: killed, since it did not leave in time"
                                      : "stopped");
    else if (!i->why[0])
        snprintf(i->why, sizeof i->why, "%s", i->exit.text);
    alarm_clear(&i->fleet->alarms, &i->alarm);
    link_close(i->link);
    i->link = NULL;
    slots_on_end(i);
    sm_move(&i->sm, INSTANCE_ENDED);
    fleet_ended(i->fleet, i);
}

static void begin_stopping(struct instance *i)
{
    struct fleet_limits *limits = &i->fleet->limits;

    i->question = QUESTION_NONE;
    i->stopped = !i->why[0];
    if (i->stopped && i->ready)
        link_stop(i->link, limits->stop_ms);
    else
        kill_it(i); /* nothing in it is worth a farewell */
    sm_move(&i->sm, INSTANCE_STOPPING);
    note(i, REGISTRY_INSTANCE_STOPPING);
    arm(i, i->killed ? limits->kill_ms : limits->stop_ms + limits->stop_grace_ms);
}

static void begin_draining(struct instance *i)
{
    uint64_t now = now_us(i);

    i->question = QUESTION_NONE;
    i->drain_us = i->retire ? i->retire_us : now + i->fleet->limits.drain_ms * 1000ull;
    sm_move(&i->sm, INSTANCE_DRAINING);
    note(i, REGISTRY_INSTANCE_DRAINING);
    slots_release(i, i->retire);
    arm(i, i->drain_us > now ? (i->drain_us - now) / 1000 : 0);
}

void instance_step(struct instance *i)
{
    struct fleet_limits *limits = &i->fleet->limits;

    for (;;) {
        switch ((enum instance_state)i->sm.state) {
        case INSTANCE_STARTING:
            if (i->adopted && i->question == QUESTION_ANSWERED)
                i->ready = true;
            if (!must_end(i) && !i->ready && i->rang)
                instance_fail(i, i->adopted ? "it did not answer a restarted roomkeyd in time"
                                            : "not ready in time");
            if (must_end(i) || i->retire) {
                /* Nobody uses it yet: there is nothing to drain. */
                fleet_start_over(i->fleet, i);
                if (i->exited)
                    return end(i);
                begin_stopping(i);
                continue;
            }
            if (!i->ready)
                return;
            i->ready_us = i->quiet_us = now_us(i);
            if (!i->ready_at)
                i->ready_at = (int64_t)alarms_utc_ms(&i->fleet->alarms);
            i->question = QUESTION_NONE;
            sm_move(&i->sm, INSTANCE_READY);
            note(i, REGISTRY_INSTANCE_READY);
            fleet_start_over(i->fleet, i);
            arm(i, i->idle_ms);
            continue;

        case INSTANCE_READY:
        case INSTANCE_IDLE:
            if (i->exited)
                return end(i);
            if (must_end(i)) {
                begin_stopping(i);
                continue;
            }
            if (i->retire || idle_over(i)) {
                begin_draining(i);
                continue;
            }
            if (i->why[0])
                continue;
            if ((i->sm.state == INSTANCE_IDLE) == (instance_connections(i) == 0))
                return;
            sm_move(&i->sm, i->sm.state == INSTANCE_IDLE ? INSTANCE_READY : INSTANCE_IDLE);
            return;

        case INSTANCE_DRAINING:
            if (i->exited)
                return end(i);
            if (must_end(i)) {
                begin_stopping(i);
                continue;
            }
            if (!drained(i))
                return;
            begin_stopping(i);
            continue;

        case INSTANCE_STOPPING:
            if (i->exited)
                return end(i);
            if (!i->killed && (i->rang || i->why[0])) {
                kill_it(i);
                arm(i, limits->kill_ms);
            } else if (i->rang) {
                log_error("instance %llu of %s does not end although it was killed",
                          (unsigned long long)i->id, i->tenant->name);
                arm(i, limits->kill_ms);
            }
            return;

        case INSTANCE_ENDED:
        case INSTANCE_STATE_NR:
            return;
        }
    }
}
