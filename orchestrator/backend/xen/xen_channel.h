/* A tenant's vchan, opened for its client with plain ioctls of /dev/xen/gntdev and
 * /dev/xen/evtchn: nothing blocks, and no library believes the tenant.
 *
 * The happy path: xen_channel_memory looks at the vchan's page (copied, then
 * checked) and gives a descriptor on which the grants of page and rings, and no
 * others, are inserted; xen_bell_bind gives one to which the tenant's event
 * channel, and no other domain's, can be bound.
 * Failure: the page makes no sense (RC_MALFORMED), what it names cannot be mapped
 * or bound (RC_IO), somebody has the event channel already (RC_BUSY). */
#ifndef XEN_CHANNEL_H
#define XEN_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/launch.h"
#include "common/core/rc.h"
#include "common/core/ring.h"
#include "common/host/doorbell.h"

/* Of both rings, which are never larger than a worker's: what all of dom0 can map is
 * limited, and a tenant that says more would take it from the others. */
#define XEN_GRANTS_MAX (((1u << LAUNCH_LEFT_ORDER) + (1u << LAUNCH_RIGHT_ORDER)) / RING_PAGE_SIZE)
_Static_assert(sizeof(struct ring_page) + XEN_GRANTS_MAX * sizeof(uint32_t) <= RING_PAGE_SIZE,
               "the page has room for them");

struct xen_grants {
    uint32_t ref[1 + XEN_GRANTS_MAX]; /* the page, left ring, right ring */
    unsigned nr;
    size_t bytes; /* nr pages */
};

/* Grants of the channel whose page `copy` is a private copy of. */
RC_MUST_CHECK enum rc xen_channel_grants(const void *copy, uint32_t ring_ref,
                                         struct xen_grants *out);

/* *fd: the caller's; to be mapped once, from 0, *bytes long. */
RC_MUST_CHECK enum rc xen_channel_memory(uint32_t domid, uint32_t ring_ref, int *fd, size_t *bytes);

/* A channel's event channel, held for as long as the tenant lives. */
struct xen_bell {
    int fd; /* owned; -1: not bound */
    uint32_t port;
};

RC_MUST_CHECK enum rc xen_bell_bind(struct xen_bell *b, uint32_t domid, uint32_t port);
/* Descriptors for one more client of it. */
RC_MUST_CHECK enum rc xen_bell_give(const struct xen_bell *b, struct doorbell *out);

#endif
