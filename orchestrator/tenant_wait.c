/* Those who wait for a tenant: connections at the workers, by their WAKEs. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/tenant.h"

static uint64_t now_us(const struct tenant *t)
{
    return alarms_us(&t->fleet->alarms);
}

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
    if (!t->first)
        t->again = true; /* it sleeps, maybe: there are those who wait for that */
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

/* False: its channel cannot be had, and the instance goes; the next one serves. */
static bool tell_ready(struct tenant *t, const struct waiter *w)
{
    struct instance *i = t->current;
    struct fleet *f = t->fleet;
    struct backend_channel ch;
    struct control_msg m = {.type = CONTROL_READY};
    uint64_t now = now_us(t);
    int fds[3];
    enum rc rc;

    rc = f->backend_ops->channel(i->backend, w->worker, &ch);
    if (!rc && ch.bell.in_fd < 0 && i->slots[w->worker].state == SLOT_FREE) {
        backend_channel_close(&ch);
        rc = RC_BUSY; /* no worker has its doorbell, and there is none to be had */
    }
    if (rc) {
        instance_fail(i, "a channel of it cannot be had");
        return false;
    }
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
    if (ch.bell.in_fd >= 0) {
        m.ready.bytes = (uint32_t)ch.len;
        m.ready.port = ch.bell.port;
    }
    fds[0] = ch.memory_fd;
    fds[1] = ch.bell.out_fd;
    fds[2] = ch.bell.in_fd;
    fleet_send(f, w->worker, &m, fds, control_fds(&m));
    backend_channel_close(&ch);
    return true;
}

/* Everybody whose channel is free gets it. */
void tenant_serve(struct tenant *t)
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
        if (!tell_ready(t, w)) {
            t->again = true;
            return;
        }
        slots_given(t->current, w->worker);
        free(unlink_waiter(t, at));
    }
}

void tenant_refuse_late(struct tenant *t)
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
    else if (!t->wake_alarm.set || t->wake_alarm.due > t->first->since_us + wake_us + 999)
        alarm_set(&t->fleet->alarms, &t->wake_alarm,
                  (t->first->since_us + wake_us - now + 999) / 1000);
}
