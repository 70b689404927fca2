/* What front workers say, and what that means for tenants and channels.
 *
 * The happy path: HELLO -> HOLDING … -> SYNCED -> WAKE, ACTIVITY, RELEASED …
 * A worker that is lost may come back within worker_grace_ms (its connection
 * broke, or roomkeyd was restarted).  Until SYNCED its channels are nobody's: what
 * it says HOLDING of is its own again, the rest was a dead worker's, and is cleared.
 * A message about an instance that is no more is dropped and counted; one that
 * makes no sense costs the worker its connection. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/fleet_private.h"

void fleet_send(struct fleet *f, unsigned worker, const struct control_msg *m, const int *fds,
                size_t nfds)
{
    if (f->workers[worker].connected)
        f->front.send(f->front.arg, worker, m, fds, nfds);
}

/* Calls `each` for every instance, then lets every tenant act. */
static void for_all(struct fleet *f, void (*each)(struct instance *i, unsigned w), unsigned w)
{
    struct tenant *t, *next;

    RB_FOREACH_SAFE(t, tenant_tree, &f->tenants, next)
    {
        if (t->current)
            each(t->current, w);
        if (t->trial)
            each(t->trial, w);
        for (struct instance *i = t->retired; i; i = i->next)
            each(i, w);
        tenant_step(t);
    }
}

static void gone(struct worker *worker)
{
    struct fleet *f = worker->fleet;

    alarm_clear(&f->alarms, &worker->grace);
    worker->known = false;
    for_all(f, slots_on_worker_gone, (unsigned)(worker - f->workers));
}

static void on_grace_over(struct alarm *a)
{
    gone(CONTAINER_OF(a, struct worker, grace));
}

void workers_init(struct fleet *f)
{
    for (unsigned w = 0; w < LAUNCH_CHANNELS_MAX; w++) {
        f->workers[w].fleet = f;
        alarm_init(&f->workers[w].grace, on_grace_over);
    }
}

void workers_dispose(struct fleet *f)
{
    for (unsigned w = 0; w < LAUNCH_CHANNELS_MAX; w++)
        alarm_clear(&f->alarms, &f->workers[w].grace);
}

void workers_awaited(struct fleet *f)
{
    for (unsigned w = 0; w < f->limits.channels; w++)
        alarm_set(&f->alarms, &f->workers[w].grace, f->limits.worker_grace_ms);
}

void workers_stopping(struct fleet *f)
{
    for (unsigned w = 0; w < f->limits.channels; w++)
        if (!f->workers[w].connected && f->workers[w].known)
            gone(&f->workers[w]);
}

const uint64_t *fleet_worker_counters(const struct fleet *f, unsigned worker)
{
    return worker < f->limits.channels && f->workers[worker].connected ? f->workers[worker].counters
                                                                       : NULL;
}

void fleet_worker_hello(struct fleet *f, unsigned worker)
{
    struct worker *w = &f->workers[worker];

    CHECK(worker < f->limits.channels);
    if (w->connected)
        fleet_worker_lost(f, worker);
    alarm_clear(&f->alarms, &w->grace);
    w->connected = w->known = true;
    w->synced = false;
    memset(w->counters, 0, sizeof w->counters);
    for_all(f, slots_on_worker_back, worker);
}

void fleet_worker_lost(struct fleet *f, unsigned worker)
{
    struct worker *w = &f->workers[worker];
    struct tenant *t, *next;

    w->connected = false;
    RB_FOREACH_SAFE(t, tenant_tree, &f->tenants, next)
    {
        tenant_unwait(t, worker);
        tenant_step(t);
    }
    if (f->leave)
        return; /* it is we who go: the channels stay as they are */
    if (f->stopping)
        gone(w);
    else
        alarm_set(&f->alarms, &w->grace, f->limits.worker_grace_ms);
}

/*----- a wake -----*/

static void refuse(struct fleet *f, unsigned worker, uint64_t request, enum rc why,
                   const char *text)
{
    struct control_msg m = {.type = CONTROL_REFUSED};

    m.refused.request = request;
    m.refused.why = (uint16_t)why;
    snprintf(m.refused.text, sizeof m.refused.text, "%s", text);
    f->counters.wakes_refused_total++;
    fleet_send(f, worker, &m, NULL, 0);
}

/* Its share of the tenant's connections, rounded up. */
static uint32_t share(const struct fleet *f, uint32_t connections)
{
    uint32_t workers = 0;

    for (unsigned w = 0; w < f->limits.channels; w++)
        workers += f->workers[w].connected;
    return workers ? connections / workers + (connections % workers != 0) : connections;
}

/* At once, while the instance boots: the handshake waits for nothing else. */
static enum rc send_route(struct fleet *f, unsigned worker, const struct control_wake *wake,
                          const struct registry_route *route)
{
    struct control_msg m = {.type = CONTROL_ROUTE};
    int fds[CONTROL_FDS_MAX];
    size_t n = 0;

    m.route.request = wake->request;
    m.route.tenant = route->tenant.id;
    m.route.revision = route->tenant.revision;
    m.route.wake_timeout_ms = route->tenant.wake_timeout_ms;
    m.route.max_connections = share(f, route->tenant.max_connections);
    snprintf(m.route.name, sizeof m.route.name, "%s", route->tenant.name);
    snprintf(m.route.alpn, sizeof m.route.alpn, "%s", route->image.alpn);
    if (f->certs && wake->route_revision != route->tenant.revision) {
        for (size_t c = 0; c < route->certs && c < CONTROL_CERTS_MAX; c++) {
            enum rc rc = cert_store_chain(f->certs, route->cert[c].fingerprint, &fds[n]);

            if (rc)
                log_seldom(LOG_ERROR, "tenant %s: certificate %s: %s", route->tenant.name,
                           route->cert[c].fingerprint, rc_text(rc));
            else
                snprintf(m.route.key[n++], CONTROL_KEY_SIZE, "%s", route->cert[c].key_id);
        }
        if (n == 0)
            return RC_NOT_FOUND;
    }
    m.route.certs = (uint8_t)n;
    fleet_send(f, worker, &m, fds, n);
    while (n > 0)
        close(fds[--n]);
    return RC_OK;
}

static void on_wake(struct fleet *f, unsigned worker, const struct control_wake *wake)
{
    struct registry_route route;
    struct tenant *t;
    enum rc rc;

    f->counters.wake_requests_total++;
    if (f->stopping) {
        refuse(f, worker, wake->request, RC_FAILED, "roomkeyd is being stopped");
        return;
    }
    if (f->workers[worker].waiting >= f->limits.max_waiting) {
        refuse(f, worker, wake->request, RC_FAILED, "too many wakes of this worker are waiting");
        return;
    }
    rc = registry_route(f->registry, wake->hostname, &route);
    if (rc) {
        if (rc != RC_NOT_FOUND)
            log_seldom(LOG_ERROR, "registry: route: %s: %s", rc_text(rc),
                       registry_error(f->registry));
        refuse(f, worker, wake->request, rc == RC_NOT_FOUND ? rc : RC_FAILED,
               rc == RC_NOT_FOUND ? "no tenant has this host name" : "the registry cannot be read");
        return;
    }
    if (route.tenant.suspended) {
        refuse(f, worker, wake->request, RC_DENIED, "the tenant is suspended");
        return;
    }
    if (send_route(f, worker, wake, &route)) {
        refuse(f, worker, wake->request, RC_FAILED, "the tenant's certificates cannot be read");
        return;
    }
    t = fleet_tenant_active(f, route.tenant.id, route.tenant.name);
    if (!t || tenant_wait(t, worker, wake->request)) {
        refuse(f, worker, wake->request, RC_FAILED, "out of memory");
        return;
    }
    tenant_step(t);
}

/*----- all that it says -----*/

static void on_activity(struct instance *i, unsigned worker, const struct control_activity *m)
{
    struct slot *s = &i->slots[worker];

    if (s->state != SLOT_HELD && s->state != SLOT_RELEASING)
        return;
    if (m->bytes > 0 && m->connections > 0)
        instance_touch(i); /* a request came when it was asked to let go: that has time */
    else if (m->bytes > 0 || m->connections != s->connections)
        i->quiet_us = alarms_us(&i->fleet->alarms);
    s->connections = m->connections;
}

static enum rc on_complaint(struct instance *i, unsigned worker, const struct control_complaint *m)
{
    struct slot *s = &i->slots[worker];

    /* It keeps what it has released mapped. */
    if (s->state != SLOT_HELD && s->state != SLOT_RELEASING && s->state != SLOT_RELEASED)
        return RC_OK;
    if (m->why == RC_UNMAPPED) {
        if (s->given == 0)
            return RC_MALFORMED; /* it would have us map and copy without end */
        s->given--;
        if (instance_lacks_mappings(i, (int)worker))
            return RC_OK; /* it stays the worker's, and is given to it again at the next wake */
    }
    i->fleet->counters.complaints_total++;
    instance_fail(i, "it broke its channel to worker %u: %s", worker, m->text);
    return RC_OK;
}

static enum rc on_instance_message(struct instance *i, unsigned worker, const struct control_msg *m)
{
    enum rc rc = RC_OK;

    switch (m->type) {
    case CONTROL_ACTIVITY:
        on_activity(i, worker, &m->activity);
        break;
    case CONTROL_RELEASED:
        slots_on_released(i, worker);
        break;
    case CONTROL_BUSY:
        slots_on_busy(i, worker);
        if (!i->retire)
            instance_touch(i);
        break;
    case CONTROL_HOLDING:
        slots_on_holding(i, worker, m->holding.connections);
        break;
    default:
        rc = on_complaint(i, worker, &m->complaint);
        break;
    }
    tenant_step(i->tenant);
    return rc;
}

/* RELEASED of a generation that is none: see slots.c. */
static enum rc on_fence(struct fleet *f, unsigned worker, uint64_t instance)
{
    struct instance key = {.id = instance};
    struct instance *i = RB_FIND(instance_tree, &f->instances, &key);

    if (i) {
        slots_on_fence(i, worker);
        tenant_step(i->tenant);
    }
    return RC_OK;
}

static enum rc about_instance(struct fleet *f, unsigned worker, const struct control_msg *m,
                              const struct control_instance *id)
{
    struct instance *i = fleet_instance(f, id);
    struct control_msg dead = {.type = CONTROL_GONE, .instance = *id};

    if (i)
        return on_instance_message(i, worker, m);
    if (m->type == CONTROL_RELEASED && id->generation == 0)
        return on_fence(f, worker, id->instance);
    f->counters.stale_total++;
    if (m->type == CONTROL_HOLDING)
        fleet_send(f, worker, &dead, NULL, 0);
    return RC_OK;
}

enum rc fleet_worker_message(struct fleet *f, unsigned worker, const struct control_msg *m)
{
    CHECK(worker < f->limits.channels && f->workers[worker].connected);
    switch (m->type) {
    case CONTROL_WAKE:
        if (m->wake.request == 0)
            return RC_MALFORMED;
        on_wake(f, worker, &m->wake);
        return RC_OK;
    case CONTROL_SYNCED: /* once: each looks at every instance */
        if (f->workers[worker].synced)
            return RC_MALFORMED;
        f->workers[worker].synced = true;
        for_all(f, slots_on_synced, worker);
        return RC_OK;
    case CONTROL_HOLDING:
        if (m->holding.channel != worker)
            return RC_MALFORMED;
        return about_instance(f, worker, m, &m->holding.id);
    case CONTROL_ACTIVITY:
        return about_instance(f, worker, m, &m->activity.id);
    case CONTROL_RELEASED:
    case CONTROL_BUSY:
        return about_instance(f, worker, m, &m->instance);
    case CONTROL_COMPLAINT:
        return about_instance(f, worker, m, &m->complaint.id);
    case CONTROL_STATS:
        memcpy(f->workers[worker].counters, m->counters, sizeof m->counters);
        return RC_OK;
    default:
        return RC_MALFORMED;
    }
}
