/* Messages with descriptors over a SOCK_SEQPACKET Unix socket, on libuv.
 *
 * Happy path: packet_open() takes a connected socket; each message of the peer
 * is one on_message(); packet_send() writes at once or queues; packet_close()
 * ends it, and on_closed() is the last call.
 *
 * Failure modes, all told by one on_lost() (then call packet_close()): the peer
 * closed (RC_CLOSED), sent a message longer than PACKET_SIZE_MAX or with more
 * than PACKET_FDS_MAX descriptors (RC_MALFORMED), or reads so slowly that
 * PACKET_QUEUE_MAX messages wait (RC_FULL; packet_send() says so too), or the
 * socket failed (RC_IO). */
#ifndef COMMON_HOST_PACKET_H
#define COMMON_HOST_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/core/rc.h"

#define PACKET_SIZE_MAX  4096u
#define PACKET_FDS_MAX   16u /* even: the kernel fills what pads a control message, too */
#define PACKET_QUEUE_MAX 4096u

struct packet;
struct packet_queued;

struct packet_ops {
    /* fds are ours: what the callee wants to keep it takes and sets to -1; the
     * rest is closed after the call.  It may call packet_close(). */
    void (*on_message)(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds);
    void (*on_lost)(struct packet *p, enum rc why);
    void (*on_closed)(struct packet *p); /* may free p */
};

struct packet {
    void *data; /* the owner's */

    /* Private. */
    const struct packet_ops *ops; /* borrowed, static */
    uv_poll_t poll;
    int fd; /* owned */
    bool closing, lost;
    struct packet_queued *first, **last; /* owned, oldest first */
    size_t queued;
};

/* Consumes `fd`, also when it fails (RC_IO); then no callback follows. */
RC_MUST_CHECK enum rc packet_open(struct packet *p, uv_loop_t *loop, int fd,
                                  const struct packet_ops *ops, void *data);

/* Sends a copy of the message; `fds` are borrowed (duplicated when it must wait). */
RC_MUST_CHECK enum rc packet_send(struct packet *p, const void *buf, size_t len, const int *fds,
                                  size_t nfds);

/* Drops what is queued.  on_closed() follows, never synchronously. */
void packet_close(struct packet *p);

/* The same on a bare socket, for programs without a loop.  RC_AGAIN when it is
 * not blocking and would wait; RC_CLOSED when the peer is gone. */
RC_MUST_CHECK enum rc packet_write(int fd, const void *buf, size_t len, const int *fds,
                                   size_t nfds);
/* Descriptors come with close-on-exec; *nfds is at most PACKET_FDS_MAX. */
RC_MUST_CHECK enum rc packet_read(int fd, void *buf, size_t size, size_t *len, int *fds,
                                  size_t *nfds);

#endif
