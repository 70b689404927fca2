/* One channel of shared memory between two parties that do not trust each
 * other: Xen's public vchan layout, on every ground.  See schema/wire/ring.md.
 *
 * The tenant is the server, the front's worker (or the orchestrator, for the
 * control channel) the client.  "left" carries client to server, "right" server
 * to client.  Indices run freely modulo 2^32; a ring holds prod - cons bytes.
 *
 * Rules that make a hostile peer harmless: an index is read once, atomically,
 * into a private variable, and that copy is checked; what we own (our producer
 * and consumer index) is kept privately and only ever written to the page;
 * bytes in a ring may change under the reader, so whatever is decided on is
 * copied first.  A bad index is RC_MALFORMED, never "no data": the caller closes
 * the channel.
 *
 * Waiting without losing a wake-up: ring_want() what you wait for, look again,
 * then sleep until the doorbell.  Freestanding. */
#ifndef COMMON_RING_H
#define COMMON_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

#define RING_PAGE_SIZE 4096u
#define RING_ORDER_MIN 12 /* both rings always have pages of their own */
#define RING_ORDER_MAX 20 /* libxenvchan's limit */

struct ring_indices {
    _Atomic uint32_t cons; /* written by the reader of this ring */
    _Atomic uint32_t prod; /* written by the writer of this ring */
};

/* Bits of cli_notify and srv_notify (VCHAN_NOTIFY_*). */
#define RING_NOTIFY_WRITE 1u
#define RING_NOTIFY_READ  2u

/* Values of cli_live and srv_live. */
enum ring_live { RING_GONE = 0, RING_CONNECTED = 1, RING_WAITING = 2 };

/* xen/include/public/io/libxenvchan.h, struct vchan_interface. */
struct ring_page {
    struct ring_indices left;   /* client writes, server reads */
    struct ring_indices right;  /* server writes, client reads */
    uint16_t left_order;        /* constant once the page is shared */
    uint16_t right_order;       /* likewise */
    _Atomic uint8_t cli_live;   /* client; the server may reset 0 to RING_WAITING */
    _Atomic uint8_t srv_live;   /* server */
    _Atomic uint8_t cli_notify; /* server sets, client clears: "ring me" */
    _Atomic uint8_t srv_notify; /* client sets, server clears: "ring me" */
    uint32_t grants[];          /* xen only: left pages, then right pages */
};

_Static_assert(offsetof(struct ring_page, left) == 0, "vchan layout");
_Static_assert(offsetof(struct ring_page, right) == 8, "vchan layout");
_Static_assert(offsetof(struct ring_page, left_order) == 16, "vchan layout");
_Static_assert(offsetof(struct ring_page, right_order) == 18, "vchan layout");
_Static_assert(offsetof(struct ring_page, cli_live) == 20, "vchan layout");
_Static_assert(offsetof(struct ring_page, srv_live) == 21, "vchan layout");
_Static_assert(offsetof(struct ring_page, cli_notify) == 22, "vchan layout");
_Static_assert(offsetof(struct ring_page, srv_notify) == 23, "vchan layout");
_Static_assert(offsetof(struct ring_page, grants) == 24, "vchan layout");
_Static_assert(sizeof(_Atomic uint8_t) == 1 && sizeof(_Atomic uint32_t) == 4, "vchan layout");

enum ring_side { RING_SERVER, RING_CLIENT };

/* One party's private view of a channel. */
struct ring {
    struct ring_page *page; /* borrowed, shared with the peer */
    enum ring_side side;
    const uint8_t *rx;         /* borrowed, shared */
    uint8_t *tx;               /* borrowed, shared */
    uint32_t rx_size, tx_size; /* bytes, powers of two */
    uint32_t rx_cons;          /* ours: the page is only told */
    uint32_t tx_prod;          /* ours: the page is only told */
};

/* Up to two runs of bytes in ring order; the second is empty unless the range
 * wraps.  Borrowed, shared memory. */
struct ring_span {
    uint8_t *p[2];
    uint32_t len[2];
};

/* Bytes a channel needs when its page and rings lie one after another: the
 * page, the left ring, the right ring. */
size_t ring_bytes(unsigned left_order, unsigned right_order);

/* Lays out a new channel in `mem` (zeroed, page-aligned, ring_bytes() long):
 * server waiting for its client.  Done by whoever owns the memory. */
void ring_format(void *mem, unsigned left_order, unsigned right_order);

/* Views a channel laid out by ring_format() in `len` bytes at `mem`.  The client
 * becomes connected; indices start where the page says.  RC_MALFORMED when the
 * page's orders or indices make no sense for `len`. */
RC_MUST_CHECK enum rc ring_attach(struct ring *r, void *mem, size_t len, enum ring_side side);

/* Bytes that can be read now, and where they lie.  RC_MALFORMED on a bad index. */
RC_MUST_CHECK enum rc ring_readable(const struct ring *r, struct ring_span *span, uint32_t *n);
/* Frees `n` bytes that ring_readable() showed. */
void ring_consume(struct ring *r, uint32_t n);

/* Bytes that can be written now, and where.  RC_MALFORMED on a bad index. */
RC_MUST_CHECK enum rc ring_writable(const struct ring *r, struct ring_span *span, uint32_t *n);
/* Shows the peer `n` bytes that were put where ring_writable() said. */
void ring_publish(struct ring *r, uint32_t n);

/* Asks the peer to ring after it has written (RING_NOTIFY_WRITE) and/or read
 * (RING_NOTIFY_READ).  One shot: ask again before each sleep. */
void ring_want(struct ring *r, uint8_t bits);

/* After ring_publish (RING_NOTIFY_WRITE) or ring_consume (RING_NOTIFY_READ):
 * true when the peer asked for the doorbell; the request is thereby taken. */
bool ring_must_notify(struct ring *r, uint8_t bit);

/* The peer's liveness as the page has it; an undefined value reads as GONE. */
enum ring_live ring_peer(const struct ring *r);

/* Our side is gone: the peer sees it when it looks next (ring the doorbell). */
void ring_leave(struct ring *r);

/* Server, after ring_peer() was RING_GONE: both rings empty, waiting for the
 * next client. */
void ring_reopen(struct ring *r);

/* Copies bytes [from, from + n) of a span; false when the span is shorter. */
bool ring_span_copy(const struct ring_span *span, uint32_t from, void *out, uint32_t n);
/* Copies `n` bytes into a span at `from`; false when the span is shorter. */
bool ring_span_fill(const struct ring_span *span, uint32_t from, const void *in, uint32_t n);
/* Cuts `from` bytes off the front and limits the rest to `n`. */
struct ring_span ring_span_cut(const struct ring_span *span, uint32_t from, uint32_t n);

#endif
