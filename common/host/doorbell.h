/* The doorbell of a channel, seen from its client: how the peer is rung, and how it
 * rings us.  On Linux two eventfds, on Xen one event channel.
 *
 * A ring is an invitation to look: several may become one, and one may come for
 * nothing.  Nothing here blocks. */
#ifndef COMMON_HOST_DOORBELL_H
#define COMMON_HOST_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "common/host/fd.h"

struct doorbell {
    int out_fd;    /* owned: rings the peer */
    int in_fd;     /* owned: readable when the peer has rung */
    uint32_t port; /* 0: eventfds; else both are descriptors of /dev/xen/evtchn (xen/evtchn.h),
                      to which this local port, and no other, is bound */
};

#define DOORBELL_NONE ((struct doorbell){.out_fd = -1, .in_fd = -1})

/* The one ioctl that rings an event channel: for the list of a confined program. */
extern const unsigned long doorbell_xen_ioctl;

/* Neither descriptor blocks from now on: the peer may share them.  RC_IO when they
 * cannot be made so. */
RC_MUST_CHECK enum rc doorbell_prepare(const struct doorbell *d);

/* Rings the peer; false when that cannot be done any more. */
bool doorbell_ring(const struct doorbell *d);

/* Takes the rings that have come, so that in_fd is readable again only after the
 * next one; false when the doorbell is broken. */
bool doorbell_take(const struct doorbell *d);

/* A copy with descriptors of its own (close-on-exec). */
RC_MUST_CHECK enum rc doorbell_dup(const struct doorbell *d, struct doorbell *out);

static inline void doorbell_close(struct doorbell *d)
{
    fd_close(&d->out_fd);
    fd_close(&d->in_fd);
}

#endif
