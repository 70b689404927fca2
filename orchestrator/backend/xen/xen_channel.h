/* A tenant's vchans, opened for their clients with plain ioctls of /dev/xen/gntdev and
 * /dev/xen/evtchn: nothing blocks, and no library believes the tenant.
 *
 * The happy path: xen_channels_look reads the pages of all of a tenant's vchans (copied,
 * then checked), once, before any client has one: a client can write to its page, too.
 * xen_channel_memory gives a descriptor on which the grants of one vchan's page and
 * rings, and no others, are inserted; xen_bell_bind gives one to which the tenant's
 * event channel, and no other domain's, can be bound.
 * Failure: the pages make no sense (RC_MALFORMED), what they name cannot be mapped or
 * bound (RC_IO), somebody has the event channel already (RC_BUSY). */
#ifndef XEN_CHANNEL_H
#define XEN_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/launch.h"
#include "common/core/rc.h"
#include "common/core/ring.h"
#include "common/host/doorbell.h"
#include "orchestrator/backend/xen/xen_job.h"

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

/* Whether no page is in two of those `n` channels, and none is the tool stack's: so that
 * whoever is given one of them can reach no other, even if he could write to its page
 * before (the worker of an earlier roomkeyd). */
bool xen_channels_apart(const struct xen_grants *all, unsigned n);
/* All `n` channels of a domain. */
RC_MUST_CHECK enum rc xen_channels_look(uint32_t domid, const struct xen_vchan *vchans, unsigned n,
                                        struct xen_grants *out);

/* It could not be mapped.  True: all of it is granted for us to write to, and that was this host's
 * doing. */
bool xen_channel_lacks_mappings(uint32_t domid, const struct xen_grants *g);

/* *fd: the caller's; to be mapped once, from 0, `g->bytes` long. */
RC_MUST_CHECK enum rc xen_channel_memory(uint32_t domid, const struct xen_grants *g, int *fd);

/* A channel's event channel, held for as long as the tenant lives. */
struct xen_bell {
    int fd; /* owned; -1: not bound */
    uint32_t port;
};

RC_MUST_CHECK enum rc xen_bell_bind(struct xen_bell *b, uint32_t domid, uint32_t port);
/* Descriptors for one more client of it. */
RC_MUST_CHECK enum rc xen_bell_give(const struct xen_bell *b, struct doorbell *out);

#endif
