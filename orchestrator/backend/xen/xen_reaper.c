#include "orchestrator/backend/xen/xen_reaper.h"

#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen_event.h"

#define PAUSE_MS     1000u
#define PAUSE_MAX_MS 60000u

struct xen_corpse {
    TAILQ_ENTRY(xen_corpse) entry;
    struct xen_reaper *reaper;
    struct xen_task task;
    struct alarm again;
    uint64_t serial;
    uint32_t pause_ms;
    bool failed; /* once, at least */
};

/*----- those who wait -----*/

static bool is_over(const struct xen_reaper *r, const struct xen_mourner *m)
{
    struct xen_corpse *c;

    TAILQ_FOREACH(c, &r->corpses, entry)
    if (m->of ? c->serial == m->of : c->serial <= m->until && !c->failed)
        return false;
    return true;
}

static void on_soon(struct alarm *a)
{
    struct xen_reaper *r = CONTAINER_OF(a, struct xen_reaper, soon);
    struct xen_mourner *m = LIST_FIRST(&r->mourners);

    while (m) {
        if (!is_over(r, m)) {
            m = LIST_NEXT(m, entry);
            continue;
        }
        xen_mourner_leave(m);
        m->told(m);
        m = LIST_FIRST(&r->mourners); /* it may have changed the list */
    }
    if (xen_reaper_idle(r))
        r->on_idle(r->arg); /* must be last */
}

static void wait(struct xen_reaper *r, struct xen_mourner *m)
{
    CHECK(!m->waiting);
    m->waiting = true;
    LIST_INSERT_HEAD(&r->mourners, m, entry);
}

void xen_reaper_await(struct xen_reaper *r, struct xen_mourner *m)
{
    m->of = 0;
    m->until = r->serial;
    wait(r, m);
    alarm_set(r->alarms, &r->soon, 0); /* there may be none */
}

void xen_mourner_leave(struct xen_mourner *m)
{
    if (m->waiting)
        LIST_REMOVE(m, entry);
    m->waiting = false;
}

/*----- those who are destroyed -----*/

static void forget(struct xen_corpse *c)
{
    TAILQ_REMOVE(&c->reaper->corpses, c, entry);
    alarm_clear(c->reaper->alarms, &c->again);
    free(c);
}

static void on_destroyed(struct xen_task *t, const struct xen_event *answer, int *fd)
{
    struct xen_corpse *c = CONTAINER_OF(t, struct xen_corpse, task);
    struct xen_reaper *r = c->reaper;
    char uuid[XEN_UUID_TEXT];

    (void)fd;
    if (answer->rc == RC_OK || answer->rc == RC_CANCELED) {
        r->reaped++;
        forget(c);
    } else {
        xen_uuid_text(t->job.uuid, uuid);
        log_warning("the domain %s could not be destroyed: %s; trying again in %u s", uuid,
                    answer->text, c->pause_ms / 1000);
        c->failed = true;
        alarm_set(r->alarms, &c->again, c->pause_ms);
        c->pause_ms = c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
    }
    alarm_set(r->alarms, &r->soon, 0);
}

static void on_again(struct alarm *a)
{
    struct xen_corpse *c = CONTAINER_OF(a, struct xen_corpse, again);

    xen_helpers_do(c->reaper->helpers, &c->task);
}

void xen_reap(struct xen_reaper *r, const uint8_t uuid[XEN_UUID_SIZE], struct xen_mourner *m)
{
    struct xen_corpse *c = calloc(1, sizeof *c);

    if (m) {
        m->of = ++r->serial;
        wait(r, m);
        alarm_set(r->alarms, &r->soon, 0);
    }
    if (!c) {
        log_error("out of memory: a domain is left for the next roomkeyd to destroy");
        return;
    }
    c->reaper = r;
    c->serial = m ? m->of : ++r->serial;
    c->pause_ms = PAUSE_MS;
    alarm_init(&c->again, on_again);
    c->task.job.type = XEN_JOB_DESTROY;
    memcpy(c->task.job.uuid, uuid, XEN_UUID_SIZE);
    c->task.fd = -1;
    c->task.priority = XEN_DESTROY;
    c->task.done = on_destroyed;
    TAILQ_INSERT_TAIL(&r->corpses, c, entry);
    xen_helpers_do(r->helpers, &c->task);
}

/*----- begin and end -----*/

void xen_reaper_init(struct xen_reaper *r, struct xen_helpers *helpers, struct alarms *alarms,
                     void (*on_idle)(void *arg), void *arg)
{
    *r = (struct xen_reaper){.helpers = helpers, .alarms = alarms, .on_idle = on_idle, .arg = arg};
    TAILQ_INIT(&r->corpses);
    LIST_INIT(&r->mourners);
    alarm_init(&r->soon, on_soon);
}

bool xen_reaper_idle(const struct xen_reaper *r)
{
    return TAILQ_EMPTY(&r->corpses);
}

void xen_reaper_abandon(struct xen_reaper *r)
{
    struct xen_corpse *c, *after;

    for (c = TAILQ_FIRST(&r->corpses); c; c = after) {
        after = TAILQ_NEXT(c, entry);
        if (c->again.set)
            forget(c);
    }
    alarm_set(r->alarms, &r->soon, 0);
}

void xen_reaper_dispose(struct xen_reaper *r)
{
    struct xen_mourner *m;

    CHECK(xen_reaper_idle(r));
    while ((m = LIST_FIRST(&r->mourners)))
        xen_mourner_leave(m);
    alarm_clear(r->alarms, &r->soon);
}
