/* The one process that tells what happens to domains, and who is told.
 *
 * The happy path: xen_watch_begin -> … on_event -> xen_watch_end.  Failure: the
 * process dies, or says nothing for so long that it must hang: another one is
 * started after a growing pause and told of all domains anew, so that an event comes
 * late, or twice, but is not lost. */
#ifndef XEN_WATCHER_H
#define XEN_WATCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include <uv/tree.h>

#include "orchestrator/alarm.h"
#include "orchestrator/backend/xen/xen_child.h"

/* Somebody's domain. */
struct xen_watch {
    /* PUBLISHED, SHUTDOWN, GONE, USAGE; each may come again after the process died. */
    void (*on_event)(struct xen_watch *w, const struct xen_event *event);

    /* Private. */
    RB_ENTRY(xen_watch) entry;
    uint32_t domid;
    uint8_t uuid[XEN_UUID_SIZE];
    uint64_t token;
    bool on;
};
RB_HEAD(xen_watches, xen_watch);

struct xen_watcher {
    uv_loop_t *loop;         /* borrowed */
    struct alarms *alarms;   /* borrowed */
    struct xen_child *child; /* owned; NULL: comes when `alarm` rings */
    struct xen_watches all;  /* borrowed, by token: while there are any, `alarm` is the
                                child's deadline to say something */
    struct alarm alarm;
    uint64_t token;
    uint32_t patience_ms, pause_ms;
};

/* `patience_ms`: what it may be late with what it says every XEN_USAGE_MS. */
void xen_watcher_open(struct xen_watcher *w, uv_loop_t *loop, struct alarms *alarms,
                      uint32_t patience_ms);
void xen_watcher_close(struct xen_watcher *w);

void xen_watch_begin(struct xen_watcher *w, struct xen_watch *one, uint32_t domid,
                     const uint8_t uuid[XEN_UUID_SIZE]);
/* No event comes after it. */
void xen_watch_end(struct xen_watcher *w, struct xen_watch *one);

#endif
