/* Domains that are created and paused before anybody asks, so that a start is
 * nothing but a launch.
 *
 * The happy path: an instance of an image runs (xen_pool_want) -> a moment later,
 * when it has the processors no more for itself, `size` domains of it are made,
 * whenever no start or destroy wants a helper -> xen_pool_take gives one of
 * them away -> another is made when that one runs.
 * An image is a file and its memory: what is in a pool boots what was checked.
 * Bounds: an image not started for `idle_ms`, and the one not started the longest
 * when there are POOL_IMAGES_MAX, gives its domains back.  When memory is short
 * (xen_pool_evict) all do, and nothing is made for EVICTED_MS.
 * Failure: what cannot be made is tried again after a growing pause. */
#ifndef XEN_POOL_H
#define XEN_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "orchestrator/backend/xen/xen_name.h"
#include "orchestrator/backend/xen/xen_reaper.h"

#define POOL_IMAGES_MAX 32
#define EVICTED_MS      30000u

/* A domain that is created, paused, and nobody's. */
struct xen_domain {
    uint8_t uuid[XEN_UUID_SIZE];
    uint32_t domid;
    int console; /* owned */
};

struct xen_pool_image;

struct xen_pool {
    /* Caller sets, before xen_pool_init(). */
    struct xen_helpers *helpers;   /* borrowed */
    struct xen_reaper *reaper;     /* borrowed */
    struct alarms *alarms;         /* borrowed */
    const struct xen_house *house; /* borrowed */
    unsigned size;                 /* domains of an image; 0: no pool */
    uint32_t idle_ms, delay_ms;
    void (*on_idle)(void *arg); /* closed, and nothing is being made any more */
    void *arg;

    /* Private. */
    struct xen_pool_image *images[POOL_IMAGES_MAX]; /* owned */
    unsigned nr;                                    /* of them */
    unsigned making;                                /* jobs */
    uint64_t not_before_us;                         /* after an eviction */
    struct alarm alarm;
    bool closed;
};

void xen_pool_init(struct xen_pool *p);

/* One of that image: the caller's. */
bool xen_pool_take(struct xen_pool *p, int image_fd, uint64_t memory_kib, struct xen_domain *out);
/* It runs: more of it may be wanted. */
void xen_pool_want(struct xen_pool *p, int image_fd, uint64_t memory_kib);
/* Gives all memory back; false: there was none. */
bool xen_pool_evict(struct xen_pool *p);

/* Domains that wait, of all images. */
unsigned xen_pool_ready(const struct xen_pool *p);

/* Destroys what there is; what is being made is destroyed when it is there. */
void xen_pool_close(struct xen_pool *p);
bool xen_pool_idle(const struct xen_pool *p);

#endif
