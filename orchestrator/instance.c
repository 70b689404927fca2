#include "orchestrator/instance.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/link.h"
#include "orchestrator/text.h"

const struct sm_state instance_states[INSTANCE_STATE_NR] = {
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

static uint64_t now_us(const struct instance *i)
{
    return alarms_us(&i->fleet->alarms);
}

/* Sets the alarm of the state. */
static void arm(struct instance *i, uint64_t ms)
{
    i->rang = false;
    alarm_set(&i->fleet->alarms, &i->alarm, ms);
}

void instance_arm_start(struct instance *i)
{
    uint64_t now = now_us(i), due = i->asked_us + i->fleet->limits.start_ms * 1000ull;

    if (i->running_us && i->running_us + i->own_ms * 1000ull < due)
        due = i->running_us + i->own_ms * 1000ull;
    arm(i, due > now ? (due - now + 999) / 1000 : 0);
}

/* The row follows the machine; IDLE is READY to it. */
static void note(struct instance *i, enum registry_instance_state state)
{
    fleet_db(
        i->fleet,
        registry_instance_state(i->fleet->registry, i->id, state, alarms_utc_ms(&i->fleet->alarms)),
        "instance state");
}

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
        fleet_room_changed(i->fleet);
    }
}

void instance_set_idle(struct instance *i, uint32_t ms)
{
    if (i->idle_ms == ms)
        return;
    i->idle_ms = ms;
    if ((i->sm.state == INSTANCE_READY || i->sm.state == INSTANCE_IDLE) &&
        i->question != QUESTION_OUT)
        arm(i, 0); /* to reckon anew */
}

void instance_hurry(struct instance *i, uint32_t ms)
{
    if (i->sm.state != INSTANCE_STARTING || i->own_ms <= ms)
        return;
    i->own_ms = ms;
    instance_arm_start(i);
}

bool instance_wronged(const struct instance *i)
{
    return !i->running_us || i->hindered || i->exit.lacking > 0;
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
    char text[sizeof i->why];
    va_list ap;

    if (i->why[0] || i->exited)
        return; /* the first reason is the reason */
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_clean(i->why, sizeof i->why, text, strlen(text)); /* it may be cut within a character */
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

/* Requests and leases hold it; leases no longer than their bound, requests while the workers know
 * of a connection for them, for it could say so for ever; and nothing does when its own on_health
 * says that it is not well. */
static bool busy(const struct instance *i)
{
    uint64_t quiet_ms = (now_us(i) - i->quiet_us) / 1000;

    if (!i->health.healthy)
        return false;
    return (i->health.in_flight > 0 && (instance_connections(i) > 0 || slots_unknown(i))) ||
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
    if (slots_held(i) > 0) {
        if (i->rang) /* that was of a question, before a worker came back */
            arm(i, left_ms + 1);
        return false;
    }
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

/* STARTING, and its time is over.  The ground's part of it does not count against the image. */
static void not_ready(struct instance *i)
{
    const struct fleet_limits *limits = &i->fleet->limits;
    uint64_t ground_ms = (i->running_us - i->asked_us) / 1000;
    uint64_t own_ms = (now_us(i) - i->running_us) / 1000;

    if (i->adopted) {
        instance_fail(i, "it did not answer a restarted roomkeyd in time");
    } else if (!i->running_us) {
        instance_fail(i,
                      "this host did not get it to run within %u ms: roomkeyd's log may say why; "
                      "raise [deadlines] start if the host is that slow",
                      limits->start_ms);
    } else if (own_ms < limits->trial_start_ms && own_ms < ground_ms) {
        i->hindered = true;
        instance_fail(i,
                      "not ready in time, since this host took %" PRIu64 " of %u ms to get it to "
                      "run; raise [deadlines] start if the host is that slow",
                      ground_ms, limits->start_ms);
    } else {
        instance_fail(i, "not ready in time");
    }
}

static bool must_end(struct instance *i)
{
    return i->why[0] || i->exited;
}

static void end(struct instance *i)
{
    bool late = i->rang || i->killed;

    /* How one ended that an earlier roomkeyd has started, nobody is told. */
    i->left_badly = i->ready && (late || (!i->exit.clean && !i->adopted));
    if (i->stopped && late)
        snprintf(i->why, sizeof i->why, "stopped: killed, since it did not leave in time");
    else if (i->stopped && i->left_badly)
        snprintf(i->why, sizeof i->why, "stopped, and failed on its way out: %.200s", i->exit.text);
    else if (i->stopped)
        snprintf(i->why, sizeof i->why, "stopped");
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
                not_ready(i);
            if (must_end(i) || (i->retire && (!i->adopted || i->leaving))) {
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
                i->ready_at = alarms_utc_ms(&i->fleet->alarms);
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
            fleet_room_changed(i->fleet);
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
