#include "tls-front/wake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/core/check.h"
#include "common/host/clock.h"
#include "common/host/log.h"
#include "tls-front/channel.h"
#include "tls-front/conn.h"
#include "tls-front/opening.h"
#include "tls-front/orch.h"
#include "tls-front/route.h"
#include "tls-front/worker.h"

/* roomkeyd's deadline is a little before ours. */
#define SLACK_US 100000u

struct wake {
    uint64_t request;
    uint64_t sent_us; /* clock_us() of the WAKE */
    char hostname[256];
    struct conn_list waiters;
    struct conn *first; /* borrowed: who started it; NULL when it left */
    bool busy;          /* its waiters are being told: do not free */
    LIST_ENTRY(wake) entry;
};

/* As many as there are sleeping tenants being asked for: a list will do. */
struct wakes {
    LIST_HEAD(, wake) all;
    uint64_t last_request;
};

enum rc wakes_init(struct worker *w)
{
    w->wakes = calloc(1, sizeof *w->wakes);
    if (!w->wakes)
        return RC_NOMEM;
    LIST_INIT(&w->wakes->all);
    return RC_OK;
}

void wakes_dispose(struct worker *w)
{
    CHECK(LIST_EMPTY(&w->wakes->all));
    free(w->wakes);
    w->wakes = NULL;
}

static void send_wake(struct worker *w, struct wake *k)
{
    struct control_msg m = {.type = CONTROL_WAKE};
    const struct route *r = routes_find(w, k->hostname);

    k->request = ++w->wakes->last_request;
    k->sent_us = clock_us();
    m.wake.request = k->request;
    m.wake.route_revision = r ? r->revision : 0;
    memcpy(m.wake.hostname, k->hostname, sizeof m.wake.hostname);
    orch_send(w, &m);
}

enum rc wake_join(struct worker *w, struct conn *c, const char *hostname)
{
    struct wake *k;

    CHECK(!c->opening->wake);
    LIST_FOREACH(k, &w->wakes->all, entry)
    if (strcmp(k->hostname, hostname) == 0)
        break;
    if (!k) {
        k = calloc(1, sizeof *k);
        if (!k)
            return RC_NOMEM;
        strncpy(k->hostname, hostname, sizeof k->hostname - 1);
        TAILQ_INIT(&k->waiters);
        k->first = c;
        LIST_INSERT_HEAD(&w->wakes->all, k, entry);
        send_wake(w, k);
    }
    TAILQ_INSERT_TAIL(&k->waiters, c, queued);
    c->opening->wake = k;
    return RC_OK;
}

static void free_if_idle(struct wake *k)
{
    if (k->busy || !TAILQ_EMPTY(&k->waiters))
        return;
    LIST_REMOVE(k, entry);
    free(k);
}

void wake_leave(struct worker *w, struct conn *c)
{
    struct wake *k = c->opening->wake;

    (void)w;
    if (!k)
        return;
    TAILQ_REMOVE(&k->waiters, c, queued);
    c->opening->wake = NULL;
    if (k->first == c)
        k->first = NULL;
    free_if_idle(k);
}

void wakes_resend(struct worker *w)
{
    struct wake *k;

    LIST_FOREACH(k, &w->wakes->all, entry)
    send_wake(w, k);
}

static struct wake *find(struct worker *w, uint64_t request)
{
    struct wake *k;

    LIST_FOREACH(k, &w->wakes->all, entry)
    if (k->request == request)
        return k;
    return NULL;
}

/* The wake is over: it is taken out first, so that one of those who are told may
 * begin another for the same name. */
static void end(struct worker *w, struct wake *k,
                void (*tell)(struct wake *k, struct conn *c, bool first, const void *with),
                const void *with)
{
    struct conn *c;

    LIST_REMOVE(k, entry);
    k->busy = true;
    while ((c = TAILQ_FIRST(&k->waiters))) {
        bool first = c == k->first;

        wake_leave(w, c);
        tell(k, c, first, with);
    }
    free(k);
}

static void tell_refused(struct wake *k, struct conn *c, bool first, const void *with)
{
    const struct control_refused *m = with;

    (void)first;
    /* That was the deadline of who began it: who has joined it later has time left. */
    if (m->why == RC_TIMEDOUT && c->opening->deadline_us > clock_us() + SLACK_US &&
        wake_join(c->w, c, k->hostname) == RC_OK)
        return;
    opening_on_refused(c, m->why > 0 && m->why < RC_NR ? (enum rc)m->why : RC_FAILED);
}

void wake_on_refused(struct worker *w, const struct control_refused *m)
{
    struct wake *k = find(w, m->request);

    if (!k)
        return;
    if (m->why != RC_NOT_FOUND)
        log_seldom(LOG_WARNING, "%s: no instance: %s", k->hostname, m->text);
    end(w, k, tell_refused, m);
}

static void tell_route(struct wake *k, struct route *r)
{
    struct conn *c, *next;

    k->busy = true;
    route_ref(r);
    for (c = TAILQ_FIRST(&k->waiters); c; c = next) {
        next = TAILQ_NEXT(c, queued);
        opening_on_route(c, r); /* c may leave */
    }
    route_unref(r);
    k->busy = false;
    free_if_idle(k);
}

void wakes_alone(struct worker *w)
{
    struct wake *k, *next;

    for (k = LIST_FIRST(&w->wakes->all); k; k = next) {
        struct route *r = routes_find(w, k->hostname);

        next = LIST_NEXT(k, entry);
        if (r)
            tell_route(k, r);
    }
}

void wake_on_route(struct worker *w, const struct control_route *m, const int *fds)
{
    struct wake *k = find(w, m->request);
    struct route *r;
    enum rc rc;

    if (!k)
        return;
    rc = routes_put(w, k->hostname, m, fds, &r);
    if (rc == RC_NOT_FOUND) {
        send_wake(w, k); /* pushed out since it was asked: ask without a revision */
        return;
    }
    if (rc) {
        struct control_refused refused = {.why = (uint16_t)rc};

        end(w, k, tell_refused, &refused);
        return;
    }
    tell_route(k, r);
}

static void tell_ready(struct wake *k, struct conn *c, bool first, const void *with)
{
    const struct control_ready *m = with;

    opening_on_ready(c, m->woken && first, m->ready_us ? k->sent_us + m->asked_us : 0,
                     m->ready_us ? k->sent_us + m->ready_us : 0);
}

/* Else it would be given to us at each wake, and nobody be told why none is served. */
static void complain(struct worker *w, const struct control_ready *ready, enum rc rc)
{
    struct control_msg m = {.type = CONTROL_COMPLAINT};

    if (rc == RC_NOMEM || rc == RC_IO || rc == RC_NOT_FOUND) /* that is not of the tenant's doing */
        return;
    m.complaint.id = ready->id;
    m.complaint.why = (uint16_t)rc;
    snprintf(m.complaint.text, sizeof m.complaint.text, "%s",
             rc == RC_UNMAPPED ? "the memory that it says it grants cannot be mapped"
             : rc == RC_CLOSED ? "it left its channel"
                               : "it makes no sense");
    orch_send(w, &m);
}

void wake_on_ready(struct worker *w, const struct control_ready *m, int *fds)
{
    struct wake *k = find(w, m->request);
    struct tenant *t = tenant_find(w, m->tenant);
    enum rc rc;

    if (!k)
        return; /* everybody has left */
    if (!t) {   /* but those whose route was invalidated before they came: they ask anew */
        end(w, k, tell_ready, m);
        return;
    }
    rc = channel_ready(w, t, m, fds);
    if (rc) {
        struct control_refused refused = {.why = (uint16_t)rc};

        log_seldom(LOG_ERROR, "tenant %s: its channel cannot be used: %s", t->name, rc_text(rc));
        complain(w, m, rc);
        end(w, k, tell_refused, &refused);
        return;
    }
    end(w, k, tell_ready, m);
}
