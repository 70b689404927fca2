/* The shared memory and doorbells of one instance: made for a new one, or taken
 * from a living one (which cannot exchange its own: it has no call for that, and
 * what it has is checked). */
#ifndef SANDBOX_CHANNELS_H
#define SANDBOX_CHANNELS_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/launch.h"
#include "common/core/rc.h"

struct sandbox_channel {
    int memory_fd; /* owned, sealed against a change of size */
    int client_fd; /* owned, eventfd */
    size_t len;
};

struct sandbox_channels {
    int doorbell_fd; /* owned, eventfd: the instance's */
    unsigned n;      /* workers' channels */
    /* [0] control, [1 + i] worker i's */
    struct sandbox_channel at[1 + LAUNCH_CHANNELS_MAX];
};

/* Both: on failure nothing is left open. */
RC_MUST_CHECK enum rc sandbox_channels_make(struct sandbox_channels *c, unsigned n);
RC_MUST_CHECK enum rc sandbox_channels_take(struct sandbox_channels *c, unsigned n, int pidfd);
/* All their memory. */
uint64_t sandbox_channels_bytes(const struct sandbox_channels *c);
void sandbox_channels_dispose(struct sandbox_channels *c);

#endif
