/* The memory that a channel is made of, and its doorbell: as roomkeyd passes them on, and not to
 * be believed before they were looked at. */
#ifndef TLS_FRONT_CHANNEL_MAP_H
#define TLS_FRONT_CHANNEL_MAP_H

#include "tls-front/channel.h"

/* Maps ch->mem, says HELLO in ch->ring, and prepares bell, poll and idle handle; fds are those of
 * channel_ready().  RC_MALFORMED, RC_CLOSED, RC_IO: it is the tenant's fault; RC_NOMEM: ours.
 * Then nothing is left behind. */
RC_MUST_CHECK enum rc channel_map(struct channel *ch, const struct control_ready *m, int *fds);

#endif
