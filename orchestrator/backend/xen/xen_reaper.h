/* Whatever has to be destroyed, until it is: off everybody's way.
 *
 * The happy path: xen_reap -> a helper destroys it -> whoever waits is told.
 * Failure: it is tried again after a growing pause, and the log says why; when that
 * does not help it is told as a trouble of the host.  Likewise one that is destroyed,
 * but whose memory somebody still maps: a ghost, which nobody waits for.  At the
 * daemon's end what is left is the next one's to sweep. */
#ifndef XEN_REAPER_H
#define XEN_REAPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "orchestrator/backend/xen/xen_helpers.h"

struct xen_corpse;

struct xen_reaper {
    struct xen_helpers *helpers;                         /* borrowed */
    struct alarms *alarms;                               /* borrowed */
    TAILQ_HEAD(xen_corpses, xen_corpse) corpses, ghosts; /* owned, oldest first */
    unsigned asking;                                     /* ghosts that are being looked at */
    bool closing;
    LIST_HEAD(, xen_mourner) mourners; /* borrowed, waiting */
    struct alarm soon;
    uint64_t serial;
    uint64_t reaped;            /* so many have been destroyed */
    void (*on_idle)(void *arg); /* nothing is left to be destroyed */
    void (*on_trouble)(void *arg, const char *text);
    void *arg;
};

/* Somebody who waits for an end. */
struct xen_mourner {
    void (*told)(struct xen_mourner *m);

    /* Private. */
    LIST_ENTRY(xen_mourner) entry;
    uint64_t of;    /* that one; 0: all … */
    uint64_t until; /* … up to this one */
    bool waiting;
};

void xen_reaper_init(struct xen_reaper *r, struct xen_helpers *helpers, struct alarms *alarms,
                     void (*on_idle)(void *arg), void (*on_trouble)(void *arg, const char *text),
                     void *arg);
bool xen_reaper_idle(const struct xen_reaper *r);
/* Ghosts are forgotten, now and from now on. */
void xen_reaper_close(struct xen_reaper *r);
/* What waits to be tried again is forgotten. */
void xen_reaper_abandon(struct xen_reaper *r);
/* Of an idle one: nobody is told any more. */
void xen_reaper_dispose(struct xen_reaper *r);

/* `m` (NULL: nobody) is told when it is gone; `name` is for people, and is copied. */
void xen_reap(struct xen_reaper *r, const uint8_t uuid[XEN_UUID_SIZE], const char *name,
              struct xen_mourner *m);

/* `m` is told when all that is to be destroyed now has been, or failed once. */
void xen_reaper_await(struct xen_reaper *r, struct xen_mourner *m);

/* told() does not come any more. */
void xen_mourner_leave(struct xen_mourner *m);

#endif
