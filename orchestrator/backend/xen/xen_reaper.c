#include "orchestrator/backend/xen/xen_reaper.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen.h"

#define PAUSE_MAX_MS 60000u
/* Tries, or looks, before it is told: seven seconds and what they took themselves. */
#define TRIES_MAX 3u

struct xen_corpse {
    TAILQ_ENTRY(xen_corpse) entry;
    struct xen_reaper *reaper;
    struct xen_task task;
    struct alarm again;
    uint64_t serial;
    uint32_t pause_ms;
    unsigned tries; /* that failed, or found it still there */
    bool failed;    /* once, at least */
    bool ghost;
    char name[XEN_NAME_MAX];
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
    TAILQ_REMOVE(c->ghost ? &c->reaper->ghosts : &c->reaper->corpses, c, entry);
    alarm_clear(c->reaper->alarms, &c->again);
    free(c);
}

__attribute__((format(printf, 2, 3))) static void tell(struct xen_corpse *c, const char *fmt, ...)
{
    char text[XEN_TEXT_MAX + XEN_NAME_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->reaper->on_trouble(c->reaper->arg, text);
}

static void try_again(struct xen_corpse *c)
{
    c->tries++;
    alarm_set(c->reaper->alarms, &c->again, c->pause_ms);
    c->pause_ms = c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
}

/* Whoever maps its memory may be about to let go of it; so it is as good as gone. */
static void on_ghost(struct xen_corpse *c, const struct xen_event *answer)
{
    struct xen_reaper *r = c->reaper;

    if (!c->ghost) {
        TAILQ_REMOVE(&r->corpses, c, entry);
        TAILQ_INSERT_TAIL(&r->ghosts, c, entry);
        c->ghost = true;
        c->tries = 0;
        c->pause_ms = xen_settings()->reap_ms;
    } else {
        r->asking--;
    }
    if (r->closing) {
        forget(c);
        return;
    }
    if (c->tries == TRIES_MAX)
        tell(c,
             "%" PRIu64 " KiB of %s are not free although it is destroyed: a front worker, or a "
             "domain that it granted pages to, still maps them as those of domain %" PRIu32
             " (xl debug-keys g; xl dmesg)",
             answer->memory_kib, c->name, answer->domid);
    try_again(c);
}

static void on_destroyed(struct xen_task *t, const struct xen_event *answer, int *fd)
{
    struct xen_corpse *c = CONTAINER_OF(t, struct xen_corpse, task);
    struct xen_reaper *r = c->reaper;

    (void)fd;
    if (answer->rc == RC_OK && answer->memory_kib) {
        on_ghost(c, answer);
    } else if (answer->rc == RC_OK || answer->rc == RC_CANCELED) {
        r->reaped++;
        r->asking -= c->ghost;
        if (c->ghost && c->tries > TRIES_MAX && answer->rc == RC_OK)
            tell(c, "the memory of %s is free now", c->name);
        forget(c);
    } else if (c->ghost) { /* not this time */
        r->asking--;
        if (r->closing)
            forget(c);
        else
            try_again(c);
    } else {
        log_warning("%s could not be destroyed: %s; trying again in %u s", c->name, answer->text,
                    (c->pause_ms + 999) / 1000);
        c->failed = true;
        try_again(c);
        if (c->tries == TRIES_MAX)
            tell(c, "%s cannot be destroyed, which is tried again and again: %s", c->name,
                 answer->text);
    }
    alarm_set(r->alarms, &r->soon, 0);
}

static void on_again(struct alarm *a)
{
    struct xen_corpse *c = CONTAINER_OF(a, struct xen_corpse, again);

    if (c->ghost) {
        c->reaper->asking++;
        c->task.priority = XEN_REFILL; /* nobody waits */
    }
    xen_helpers_do(c->reaper->helpers, &c->task);
}

void xen_reap(struct xen_reaper *r, const uint8_t uuid[XEN_UUID_SIZE], const char *name,
              struct xen_mourner *m)
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
    snprintf(c->name, sizeof c->name, "%s", name[0] ? name : "a domain without a name");
    c->serial = m ? m->of : ++r->serial;
    c->pause_ms = xen_settings()->reap_ms;
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
                     void (*on_idle)(void *arg), void (*on_trouble)(void *arg, const char *text),
                     void *arg)
{
    *r = (struct xen_reaper){.helpers = helpers,
                             .alarms = alarms,
                             .on_idle = on_idle,
                             .on_trouble = on_trouble,
                             .arg = arg};
    TAILQ_INIT(&r->corpses);
    TAILQ_INIT(&r->ghosts);
    LIST_INIT(&r->mourners);
    alarm_init(&r->soon, on_soon);
}

bool xen_reaper_idle(const struct xen_reaper *r)
{
    return TAILQ_EMPTY(&r->corpses) && r->asking == 0;
}

void xen_reaper_close(struct xen_reaper *r)
{
    struct xen_corpse *c, *after;

    r->closing = true;
    for (c = TAILQ_FIRST(&r->ghosts); c; c = after) {
        after = TAILQ_NEXT(c, entry);
        if (c->again.set)
            forget(c);
    }
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

    CHECK(xen_reaper_idle(r) && TAILQ_EMPTY(&r->ghosts));
    while ((m = LIST_FIRST(&r->mourners)))
        xen_mourner_leave(m);
    alarm_clear(r->alarms, &r->soon);
}
