#include "orchestrator/backend/xen/xen_helpers.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/secret.h"
#include "common/host/log.h"

#define PAUSE_MS            100u /* before the first replacement; then doubled */
#define PAUSE_MAX_MS        10000u
#define DESTROY_PATIENCE_MS 2000u

struct xen_helper {
    struct xen_helpers *all;
    struct xen_child *child; /* owned; NULL: to be replaced when `alarm` rings */
    struct xen_task *task;   /* borrowed; NULL: free. `alarm` is its deadline */
    struct alarm alarm;
};

static void pump(struct xen_helpers *h);

/*----- answers -----*/

static void answer(struct xen_task *t, const struct xen_event *event, int *fd)
{
    t->state = TASK_IDLE;
    secret_wipe(t->job.words, sizeof t->job.words);
    t->done(t, event, fd); /* must be last: it may free `t` */
}

static void on_soon(struct alarm *a)
{
    struct xen_helpers *h = CONTAINER_OF(a, struct xen_helpers, soon);
    struct xen_tasks owed = TAILQ_HEAD_INITIALIZER(owed);
    struct xen_task *t;

    TAILQ_CONCAT(&owed, &h->answered, entry); /* what comes meanwhile has its own turn */
    while ((t = TAILQ_FIRST(&owed))) {
        struct xen_event event = {.type = XEN_DONE, .rc = (uint16_t)t->verdict};
        int none = -1;

        TAILQ_REMOVE(&owed, t, entry);
        snprintf(event.text, sizeof event.text, "%s",
                 t->verdict == RC_CLOSED ? "roomkey-xen died in the middle of it"
                 : t->verdict == RC_TIMEDOUT
                     ? "roomkey-xen did not answer in time, and was killed; "
                       "raise [xen] job if the host is that slow"
                     : rc_text(t->verdict));
        answer(t, &event, &none);
    }
}

/* Not from inside a call: from `soon`. */
static void answer_soon(struct xen_helpers *h, struct xen_task *t, enum rc verdict)
{
    t->state = TASK_ANSWERED;
    t->verdict = verdict;
    TAILQ_INSERT_TAIL(&h->answered, t, entry);
    alarm_set(h->alarms, &h->soon, 0);
}

/*----- one helper -----*/

static struct xen_task *take_off(struct xen_helper *one)
{
    struct xen_task *t = one->task;

    alarm_clear(one->all->alarms, &one->alarm);
    one->task = NULL;
    if (t && t->priority == XEN_REFILL)
        one->all->refilling--;
    return t;
}

static void drop(struct xen_helper *one, enum rc verdict)
{
    struct xen_helpers *h = one->all;
    struct xen_task *t = take_off(one);

    xen_child_end(one->child, CHILD_KILLED);
    one->child = NULL;
    if (t)
        answer_soon(h, t, verdict);
    if (h->stopped)
        return;
    alarm_set(h->alarms, &one->alarm, h->pause_ms);
    h->pause_ms = h->pause_ms * 2 < PAUSE_MAX_MS ? h->pause_ms * 2 : PAUSE_MAX_MS;
}

static void on_event(void *arg, const struct xen_event *event, int *fd)
{
    struct xen_helper *one = arg;
    struct xen_helpers *h = one->all;
    struct xen_task *t;

    if (event->type != XEN_DONE || !one->task || event->token != one->task->job.token) {
        log_error("roomkey-xen work: an answer that nobody asked for");
        drop(one, RC_CLOSED);
        return;
    }
    h->pause_ms = PAUSE_MS;
    t = take_off(one);
    answer(t, event, fd); /* it may ask for more */
    pump(h);
}

static void on_lost(void *arg)
{
    drop(arg, RC_CLOSED);
}

static void begin(struct xen_helper *one)
{
    static const struct xen_child_events events = {on_event, on_lost};
    struct xen_helpers *h = one->all;

    if (xen_child_start(h->loop, "work", &events, one, &one->child) == RC_OK)
        return;
    one->child = NULL;
    alarm_set(h->alarms, &one->alarm, h->pause_ms);
    h->pause_ms = h->pause_ms * 2 < PAUSE_MAX_MS ? h->pause_ms * 2 : PAUSE_MAX_MS;
}

static void on_alarm(struct alarm *a)
{
    struct xen_helper *one = CONTAINER_OF(a, struct xen_helper, alarm);

    if (one->child) {
        log_error("roomkey-xen did not do a job within %u ms: it is killed", one->all->deadline_ms);
        drop(one, RC_TIMEDOUT);
    } else {
        begin(one);
    }
    pump(one->all);
}

/*----- the queue -----*/

/* The one to be done next by somebody who is free. */
static struct xen_task *next(const struct xen_helpers *h)
{
    struct xen_task *start = TAILQ_FIRST(&h->queue[XEN_START]);
    struct xen_task *destroy = TAILQ_FIRST(&h->queue[XEN_DESTROY]);
    bool late = destroy && alarms_us(h->alarms) - destroy->since_us > DESTROY_PATIENCE_MS * 1000ull;

    if (late && (!start || destroy->since_us < start->since_us))
        return destroy;
    if (start || destroy)
        return start ? start : destroy;
    return h->refilling == 0 || h->refilling + 1 < h->nr ? TAILQ_FIRST(&h->queue[XEN_REFILL])
                                                         : NULL;
}

static void give(struct xen_helper *one, struct xen_task *t)
{
    struct xen_helpers *h = one->all;
    enum rc rc;

    TAILQ_REMOVE(&h->queue[t->priority], t, entry);
    t->state = TASK_RUNNING;
    t->job.token = ++h->token;
    one->task = t;
    h->refilling += t->priority == XEN_REFILL;
    alarm_set(h->alarms, &one->alarm, h->deadline_ms);
    rc = xen_child_send(one->child, &t->job, t->fd);
    secret_wipe(t->job.words, sizeof t->job.words);
    if (rc)
        drop(one, RC_CLOSED);
}

static void pump(struct xen_helpers *h)
{
    struct xen_task *t;

    for (unsigned n = 0; n < h->nr && !h->stopped; n++) {
        struct xen_helper *one = &h->all[n];

        if (one->child && !one->task && (t = next(h)))
            give(one, t);
    }
}

void xen_helpers_do(struct xen_helpers *h, struct xen_task *t)
{
    CHECK(t->state == TASK_IDLE);
    if (h->stopped) {
        answer_soon(h, t, RC_CANCELED);
        return;
    }
    t->state = TASK_QUEUED;
    t->since_us = alarms_us(h->alarms);
    TAILQ_INSERT_TAIL(&h->queue[t->priority], t, entry);
    pump(h);
}

bool xen_helpers_cancel(struct xen_helpers *h, struct xen_task *t)
{
    if (t->state != TASK_QUEUED)
        return false;
    TAILQ_REMOVE(&h->queue[t->priority], t, entry);
    answer_soon(h, t, RC_CANCELED);
    return true;
}

/*----- begin and end -----*/

enum rc xen_helpers_open(struct xen_helpers *h, uv_loop_t *loop, struct alarms *alarms, unsigned nr,
                         uint32_t deadline_ms)
{
    *h = (struct xen_helpers){
        .loop = loop, .alarms = alarms, .nr = nr, .deadline_ms = deadline_ms, .pause_ms = PAUSE_MS};
    alarm_init(&h->soon, on_soon);
    TAILQ_INIT(&h->answered);
    for (int p = 0; p < XEN_PRIORITIES; p++)
        TAILQ_INIT(&h->queue[p]);
    h->all = calloc(nr, sizeof *h->all);
    if (!h->all)
        return RC_NOMEM;
    for (unsigned n = 0; n < nr; n++) {
        h->all[n].all = h;
        alarm_init(&h->all[n].alarm, on_alarm);
        begin(&h->all[n]);
    }
    return RC_OK;
}

void xen_helpers_stop(struct xen_helpers *h)
{
    struct xen_task *t;

    h->stopped = true;
    for (int p = 0; p < XEN_PRIORITIES; p++)
        while ((t = TAILQ_FIRST(&h->queue[p]))) {
            TAILQ_REMOVE(&h->queue[p], t, entry);
            answer_soon(h, t, RC_CANCELED);
        }
    for (unsigned n = 0; n < h->nr; n++)
        if (h->all[n].task)
            drop(&h->all[n], RC_CANCELED);
}

void xen_helpers_close(struct xen_helpers *h)
{
    h->stopped = true;
    for (unsigned n = 0; n < h->nr && h->all; n++) {
        struct xen_helper *one = &h->all[n];

        CHECK(!one->task);
        alarm_clear(h->alarms, &one->alarm);
        if (one->child)
            xen_child_end(one->child, CHILD_GENTLY);
        one->child = NULL;
    }
    alarm_clear(h->alarms, &h->soon);
    CHECK(TAILQ_EMPTY(&h->answered));
    free(h->all);
    h->all = NULL;
}
