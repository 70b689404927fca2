#include "orchestrator/backend/xen/xen_watcher.h"

#include <inttypes.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/host/log.h"

#define PAUSE_MS     100u
#define PAUSE_MAX_MS 10000u

static int order(const struct xen_watch *a, const struct xen_watch *b)
{
    return a->token == b->token ? 0 : a->token < b->token ? -1 : 1;
}

RB_GENERATE_STATIC(xen_watches, xen_watch, entry, order)

static void again(struct xen_watcher *w)
{
    if (w->child)
        xen_child_end(w->child, CHILD_KILLED);
    w->child = NULL;
    alarm_set(w->alarms, &w->alarm, w->pause_ms);
    w->pause_ms = w->pause_ms * 2 < PAUSE_MAX_MS ? w->pause_ms * 2 : PAUSE_MAX_MS;
}

/* It has a word for each domain every XEN_USAGE_MS. */
static void expect_words(struct xen_watcher *w)
{
    if (!w->child)
        return;
    if (RB_EMPTY(&w->all))
        alarm_clear(w->alarms, &w->alarm);
    else
        alarm_set(w->alarms, &w->alarm, XEN_USAGE_MS + w->patience_ms);
}

static void tell_of(struct xen_watcher *w, const struct xen_watch *one, uint32_t type)
{
    struct xen_job job = {.type = type, .domid = one->domid, .token = one->token};

    if (!w->child)
        return; /* the next one is told of those that are left */
    memcpy(job.uuid, one->uuid, sizeof job.uuid);
    if (xen_child_send(w->child, &job, -1))
        again(w);
}

static void on_event(void *arg, const struct xen_event *event, int *fd)
{
    struct xen_watcher *w = arg;
    struct xen_watch key = {.token = event->token};
    struct xen_watch *one = RB_FIND(xen_watches, &w->all, &key);

    (void)fd;
    w->pause_ms = PAUSE_MS;
    expect_words(w);
    if (event->type < XEN_PUBLISHED) {
        log_error("roomkey-xen watch: an answer to what nobody asked");
        again(w);
    } else if (one) {              /* else it crossed our goodbye */
        one->on_event(one, event); /* must be last */
    }
}

static void on_lost(void *arg)
{
    again(arg);
}

static void on_alarm(struct alarm *a)
{
    static const struct xen_child_events events = {on_event, on_lost};
    struct xen_watcher *w = CONTAINER_OF(a, struct xen_watcher, alarm);
    struct xen_watch *one;

    if (w->child) {
        log_error("roomkey-xen watch has said nothing for %" PRIu32 " ms: it is killed",
                  XEN_USAGE_MS + w->patience_ms);
        again(w);
        return;
    }
    if (xen_child_start(w->loop, "watch", &events, w, &w->child)) {
        w->child = NULL;
        again(w);
        return;
    }
    expect_words(w);
    RB_FOREACH(one, xen_watches, &w->all)
    tell_of(w, one, XEN_JOB_WATCH);
}

void xen_watcher_open(struct xen_watcher *w, uv_loop_t *loop, struct alarms *alarms,
                      uint32_t patience_ms)
{
    *w = (struct xen_watcher){
        .loop = loop, .alarms = alarms, .patience_ms = patience_ms, .pause_ms = PAUSE_MS};
    RB_INIT(&w->all);
    alarm_init(&w->alarm, on_alarm);
    on_alarm(&w->alarm);
}

void xen_watcher_close(struct xen_watcher *w)
{
    CHECK(RB_EMPTY(&w->all));
    alarm_clear(w->alarms, &w->alarm);
    if (w->child)
        xen_child_end(w->child, CHILD_GENTLY);
    w->child = NULL;
}

void xen_watch_begin(struct xen_watcher *w, struct xen_watch *one, uint32_t domid,
                     const uint8_t uuid[XEN_UUID_SIZE])
{
    bool first = RB_EMPTY(&w->all);

    CHECK(!one->on);
    one->on = true;
    one->domid = domid;
    one->token = ++w->token;
    memcpy(one->uuid, uuid, XEN_UUID_SIZE);
    RB_INSERT(xen_watches, &w->all, one);
    if (first)
        expect_words(w);
    tell_of(w, one, XEN_JOB_WATCH);
}

void xen_watch_end(struct xen_watcher *w, struct xen_watch *one)
{
    if (!one->on)
        return;
    one->on = false;
    RB_REMOVE(xen_watches, &w->all, one);
    if (RB_EMPTY(&w->all))
        expect_words(w);
    tell_of(w, one, XEN_JOB_UNWATCH);
}
