/* The life of one instance.
 *
 * The happy path: start -> CREATE (or a domain of the pool) -> LAUNCH: on_running ->
 * its channels are published: on_started -> … -> it shuts down, its last words are read:
 * on_exit, and it is destroyed when nobody waits for that any more.
 * Failure: a job's answer says why; a helper that died or hung in the middle leaves a
 * domain of which nobody knows how far it is: that one is destroyed, and the start
 * begun anew, once.  No memory: the pool gives its back, what is being destroyed is
 * waited for, and it is tried once more.  Killed: on_exit when it is destroyed.
 *
 * The memory of a domain that has shut down is given back a little after on_exit.
 * Who counts on it may find it missing, and then waits for it as above: better
 * than that each wake waits for a destruction.
 *
 * Callbacks note a fact and call xen_instance_step(), which decides.  The jobs of a start are
 * in xen_start.c, and what is asked of one that runs is in xen_running.c. */
#include "orchestrator/backend/xen/xen_instance.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/launch.h"
#include "common/host/clock.h"
#include "common/host/fd.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen_exit.h"

#define MEMORY_MIN (1u << 20)
/* What xenconsoled has taken from a domain it writes to the terminal in a moment,
 * and there is no word for "all". */
#define SETTLE_MS 50u

static const struct sm_state states[STATE_NR] = {
    [CREATING] = {"CREATING",
                  SM_BIT(CLEARING) | SM_BIT(LAUNCHING) | SM_BIT(DESTROYING) | SM_BIT(GONE)},
    [CLEARING] = {"CLEARING", SM_BIT(CREATING) | SM_BIT(GONE)},
    [LAUNCHING] = {"LAUNCHING", SM_BIT(CLEARING) | SM_BIT(BOOTING) | SM_BIT(DESTROYING)},
    [BOOTING] = {"BOOTING", SM_BIT(RUNNING) | SM_BIT(SETTLING) | SM_BIT(DESTROYING) | SM_BIT(GONE)},
    [RUNNING] = {"RUNNING", SM_BIT(SETTLING) | SM_BIT(DESTROYING) | SM_BIT(GONE)},
    [SETTLING] = {"SETTLING", SM_BIT(GONE)},
    [DESTROYING] = {"DESTROYING", SM_BIT(GONE)},
    [GONE] = {"GONE", 0},
};

__attribute__((format(printf, 2, 3))) static void why(struct backend_instance *i, const char *fmt,
                                                      ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(i->why.text, sizeof i->why.text, fmt, ap);
    va_end(ap);
}

/*----- the console -----*/

static void on_line(void *arg, const char *line, size_t len)
{
    struct backend_instance *i = arg;

    i->events.on_console(i->arg, line, len);
}

static void stop_listening(struct backend_instance *i)
{
    xen_listener_close(i->listener);
    i->listener = NULL;
}

/* One whose console cannot be heard runs all the same. */
static void listen_to(struct backend_instance *i)
{
    i->listener = xen_listener_open(i->backend->loop, &i->domain.console, on_line, i);
    if (!i->listener)
        log_warning("the console of %s cannot be read: its log will lack what it prints", i->name);
}

/*----- begin and end of life -----*/

static void close_bells(struct backend_instance *i)
{
    for (unsigned n = 0; n <= i->channels && i->bells; n++)
        fd_close(&i->bells[n].fd);
}

void xen_instance_drop(struct backend_instance *i)
{
    close_bells(i);
    free(i->bells);
    free(i->grants);
    fd_close(&i->image_fd);
    fd_close(&i->domain.console);
    free(i);
}

/* Nothing happens to it any more. */
static void detach(struct backend_instance *i)
{
    xen_watch_end(&i->backend->watcher, &i->watch);
    xen_mourner_leave(&i->mourner);
    alarm_clear(&i->backend->alarms, &i->alarm);
    stop_listening(i);
}

void xen_instance_release(struct backend_instance *i)
{
    struct backend *b = i->backend;

    detach(i);
    LIST_REMOVE(i, others);
    xen_instance_drop(i);
    xen_backend_step(b);
}

static void on_cleared(struct xen_mourner *m)
{
    struct backend_instance *i = CONTAINER_OF(m, struct backend_instance, mourner);

    i->cleared = true;
    xen_instance_step(i);
}

static void on_alarm(struct alarm *a)
{
    struct backend_instance *i = CONTAINER_OF(a, struct backend_instance, alarm);

    i->rang = true;
    xen_instance_step(i);
}

static void take_channels(struct backend_instance *i, const struct xen_event *event)
{
    memcpy(i->vchan, event->vchan, sizeof i->vchan);
    if (event->channels < i->channels && !i->kill_asked) {
        i->kill_asked = true;
        why(i, "it published %" PRIu32 " channels, and not %u", event->channels, i->channels);
    }
}

static void on_watch(struct xen_watch *w, const struct xen_event *event)
{
    struct backend_instance *i = CONTAINER_OF(w, struct backend_instance, watch);

    switch ((enum xen_event_type)event->type) {
    case XEN_PUBLISHED:
        if (i->published)
            return; /* said anew by a new process; what we have is what counts */
        i->published = true;
        take_channels(i, event);
        break;
    case XEN_SHUTDOWN:
        if (i->shut)
            return;
        i->shut = true;
        if (!i->kill_asked && i->sm.state < SETTLING)
            xen_exit_shutdown(event, &i->why);
        break;
    case XEN_GONE:
        i->vanished = true;
        break;
    case XEN_USAGE:
        i->usage =
            (struct backend_usage){.cpu_us = event->cpu_us, .memory = event->memory_kib * 1024};
        i->has_usage = true;
        return;
    case XEN_DONE:
    case XEN_FOUND:
    case XEN_CHECK:
        return;
    }
    xen_instance_step(i); /* must be last */
}

struct backend_instance *xen_instance_new(struct backend *b, const struct backend_events *events,
                                          void *arg, uint64_t id, unsigned channels)
{
    struct backend_instance *i = calloc(1, sizeof *i);

    if (!i)
        return NULL;
    i->backend = b;
    i->events = *events;
    i->arg = arg;
    i->channels = channels;
    i->image_fd = i->domain.console = -1;
    i->mourner.told = on_cleared;
    i->watch.on_event = on_watch;
    alarm_init(&i->alarm, on_alarm);
    sm_init(&i->sm, states, "xen", id, CREATING);
    i->bells = calloc(1 + channels, sizeof *i->bells);
    if (!i->bells) {
        free(i);
        return NULL;
    }
    for (unsigned n = 0; n <= channels; n++)
        i->bells[n].fd = -1;
    return i;
}

void xen_instance_dispose(struct backend_instance *i)
{
    CHECK(!i->disposed);
    i->disposed = true;
    xen_listener_mute(i->listener);
    switch (i->sm.state) {
    case CREATING:
    case LAUNCHING:
        /* Nobody can find it again: it goes when the job's answer has come. */
        (void)xen_helpers_cancel(&i->backend->helpers, &i->task);
        return;
    case BOOTING:
    case SETTLING:
        xen_reap(&i->backend->reaper, i->domain.uuid, i->name, NULL);
        break;
    default:
        break;
    }
    detach(i);
    if (!i->pausing)
        xen_instance_release(i);
    /* else on_paused() will: a helper still has that job. */
}

/*----- the whole story, in order -----*/

static void begin_launching(struct backend_instance *i)
{
    sm_move(&i->sm, LAUNCHING);
    listen_to(i);
    xen_watch_begin(&i->backend->watcher, &i->watch, i->domain.domid, i->domain.uuid);
    xen_start_launch(i);
}

static uint32_t since_asked(const struct backend_instance *i)
{
    uint64_t us = clock_us() - i->asked_us;

    return us == 0 ? 1 : us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* The last thing done with `i`. */
static void gone(struct backend_instance *i)
{
    sm_move(&i->sm, GONE);
    detach(i);
    close_bells(i);
    fd_close(&i->image_fd);
    i->why.started = i->why.started || i->adopted;
    i->events.on_exit(i->arg, &i->why); /* must be last: `i` may be disposed of */
}

/* Its console ends with it: what is there is read before. */
static void begin_destroying(struct backend_instance *i)
{
    sm_move(&i->sm, DESTROYING);
    i->cleared = false;
    xen_listener_drain(i->listener);
    xen_reap(&i->backend->reaper, i->domain.uuid, i->name, &i->mourner);
}

static void begin_clearing(struct backend_instance *i)
{
    sm_move(&i->sm, CLEARING);
    i->cleared = i->rang = i->published = i->shut = i->vanished = false;
    xen_watch_end(&i->backend->watcher, &i->watch);
    stop_listening(i);
}

/* Neither the one nor the other was of the image's doing: begun anew, or not. */
static bool try_again(struct backend_instance *i, bool exists)
{
    struct backend *b = i->backend;
    enum rc rc = (enum rc)i->answer.rc;

    if (i->kill_asked || i->disposed)
        return false;
    if (exists && (i->pooled || ((rc == RC_CLOSED || rc == RC_TIMEDOUT) && !i->retried))) {
        i->retried = i->retried || !i->pooled;
        log_warning("%s is begun anew: %s", i->name, i->answer.text);
        begin_clearing(i);
        xen_reap(&b->reaper, i->domain.uuid, i->name, &i->mourner);
        return true;
    }
    if (rc == RC_NOMEM && !i->made_room) {
        bool coming = xen_pool_evict(&b->pool);

        i->made_room = true;
        if (!coming && xen_reaper_idle(&b->reaper) && b->reaper.reaped == i->reaped)
            return false; /* nobody gives any back, or has since it was looked for */
        begin_clearing(i);
        xen_reaper_await(&b->reaper, &i->mourner);
        return true;
    }
    return false;
}

/* True: `i` is no more, or nothing is to be done now. */
static bool failed(struct backend_instance *i)
{
    enum rc rc = (enum rc)i->answer.rc;
    bool exists = i->sm.state == LAUNCHING || rc == RC_CLOSED || rc == RC_TIMEDOUT;

    if (i->disposed) {
        if (exists)
            xen_reap(&i->backend->reaper, i->domain.uuid, i->name, NULL);
        xen_instance_release(i);
        return true;
    }
    if (try_again(i, exists))
        return false;
    i->why.clean = false;
    if (rc == RC_NOMEM)
        i->why.lacking = i->answer.memory_kib ? i->answer.memory_kib * 1024 : 1;
    if (!i->kill_asked)
        why(i, "%.*s", (int)sizeof i->why.text - 1, i->answer.text);
    if (exists) {
        begin_destroying(i);
        return false;
    }
    gone(i); /* must be last */
    return true;
}

/* It stands, but nobody wants it any more. */
static bool unwanted(struct backend_instance *i)
{
    if (i->disposed) {
        xen_reap(&i->backend->reaper, i->domain.uuid, i->name, NULL);
        xen_instance_release(i);
        return true;
    }
    if (i->kill_asked)
        begin_destroying(i);
    return false;
}

static void begin_settling(struct backend_instance *i)
{
    sm_move(&i->sm, SETTLING);
    i->rang = false;
    alarm_set(&i->backend->alarms, &i->alarm, SETTLE_MS);
}

static void run(struct backend_instance *i)
{
    sm_move(&i->sm, RUNNING);
    i->why.started = true;
    xen_pool_want(&i->backend->pool, i->image_fd, i->memory_kib);
    fd_close(&i->image_fd);
    i->events.on_started(i->arg); /* must be last */
}

void xen_instance_step(struct backend_instance *i)
{
    for (;;) {
        switch (i->sm.state) {
        case CREATING:
            if (!i->answered)
                return;
            i->answered = false;
            if (i->answer.rc) {
                if (failed(i))
                    return;
                continue;
            }
            i->steps.created_us = since_asked(i);
            if (unwanted(i))
                return;
            if (i->sm.state == CREATING)
                begin_launching(i);
            continue;

        case CLEARING:
            if (i->cleared && !i->kill_asked) {
                sm_move(&i->sm, CREATING);
                xen_start_create(i);
                return;
            }
            if (i->cleared || (i->kill_asked && i->rang))
                return gone(i);
            return;

        case LAUNCHING:
            if (!i->answered)
                return;
            i->answered = false;
            if (i->answer.rc) {
                if (failed(i))
                    return;
                continue;
            }
            i->steps.unpaused_us = since_asked(i);
            if (unwanted(i))
                return;
            if (i->sm.state == LAUNCHING) {
                sm_move(&i->sm, BOOTING);
                i->events.on_running(i->arg, &i->steps);
            }
            continue;

        case BOOTING:
            if (i->published && !i->shut && !i->vanished && !i->kill_asked)
                return run(i);
            /* fall through */
        case RUNNING:
            if (i->vanished) {
                xen_reap(&i->backend->reaper, i->domain.uuid, i->name, NULL); /* its traces */
                why(i, "it was destroyed behind our back");
                i->why.clean = false;
                return gone(i);
            }
            if (i->shut)
                begin_settling(i);
            else if (i->kill_asked)
                begin_destroying(i);
            return;

        case SETTLING:
            if (!i->rang && !i->vanished)
                return;
            xen_listener_drain(i->listener);
            xen_reap(&i->backend->reaper, i->domain.uuid, i->name, NULL);
            return gone(i);

        case DESTROYING:
            if (i->cleared || i->vanished)
                return gone(i);
            return;

        default:
            return;
        }
    }
}

/*----- wishes -----*/

enum rc xen_instance_start(struct backend *b, const struct backend_spec *spec,
                           const struct backend_events *events, void *arg,
                           struct backend_instance **out)
{
    struct backend_instance *i;
    enum rc rc;

    if (spec->channels > LAUNCH_CHANNELS_MAX || spec->memory < MEMORY_MIN || b->closing)
        return RC_INVAL;
    i = xen_instance_new(b, events, arg, spec->instance, spec->channels);
    if (!i)
        return RC_NOMEM;
    i->asked_us = clock_us();
    i->memory_kib = spec->memory / 1024;
    rc = xen_start_fill(i, spec);
    if (rc) {
        xen_instance_drop(i);
        return rc;
    }
    LIST_INSERT_HEAD(&b->instances, i, others);
    i->pooled = xen_pool_take(&b->pool, i->image_fd, i->memory_kib, &i->domain);
    if (i->pooled)
        begin_launching(i);
    else
        xen_start_create(i);
    *out = i;
    return RC_OK;
}

void xen_instance_resume(struct backend_instance *i, const struct xen_event *published)
{
    sm_init(&i->sm, states, "xen", i->sm.id, RUNNING);
    i->adopted = i->why.started = i->published = true;
    memcpy(i->vchan, published->vchan, sizeof i->vchan);
    i->paused = i->pause_wanted = published->paused;
    i->usage =
        (struct backend_usage){.cpu_us = published->cpu_us, .memory = published->memory_kib * 1024};
    i->has_usage = true;
    LIST_INSERT_HEAD(&i->backend->instances, i, others);
    listen_to(i);
    xen_watch_begin(&i->backend->watcher, &i->watch, i->domain.domid, i->domain.uuid);
}

void xen_instance_kill(struct backend_instance *i)
{
    struct backend *b = i->backend;

    if (i->kill_asked || i->sm.state >= SETTLING)
        return; /* it is on its way */
    i->kill_asked = true;
    why(i, "killed by roomkeyd");
    switch (i->sm.state) {
    case CREATING:
        /* Not begun: then the answer is near.  Else it is destroyed when it stands. */
        (void)xen_helpers_cancel(&b->helpers, &i->task);
        break;
    case CLEARING:
        if (!i->mourner.of)
            alarm_set(&b->alarms, &i->alarm, 0); /* it waits for others only */
        break;
    case BOOTING:
    case RUNNING:
        begin_destroying(i);
        break;
    default:
        break;
    }
}
