/* Frames on a channel: many connections, or the orchestrator's words, on one
 * ring.  See schema/wire/mux.md.
 *
 * A frame is a 16-byte head and up to MUX_PAYLOAD_MAX bytes, and is published
 * whole: a head whose payload is not yet there is malformed.  The first frame in
 * each direction of a worker's channel is HELLO.  DATA obeys credit: each side
 * starts with MUX_CREDIT_INITIAL bytes a connection and direction, and may send
 * more only as the other returns it with CREDIT.  Freestanding. */
#ifndef COMMON_MUX_H
#define COMMON_MUX_H

#include <stdint.h>

#include "common/core/rc.h"
#include "common/core/ring.h"

#define MUX_VERSION        1
#define MUX_HEAD_SIZE      16u
#define MUX_PAYLOAD_MAX    32768u
#define MUX_CREDIT_INITIAL 65536u /* bytes of DATA a connection may have in flight */
#define MUX_TEXT_MAX       1024u  /* bytes of a FAILED or LOG text */

enum mux_type {
    /* A worker's channel.  w>t: worker to tenant; t>w: tenant to worker. */
    MUX_HELLO = 1,  /* both  first frame: struct mux_hello; conn 0 */
    MUX_OPEN = 2,   /* w>t   a new connection: one whole handover (handover.h) */
    MUX_DATA = 3,   /* both  TLS records as a byte stream, cut anywhere */
    MUX_CREDIT = 4, /* both  u32: so many more bytes of DATA may come */
    MUX_CLOSE = 5,  /* both  end of this direction (FIN); no DATA follows */
    MUX_RESET = 6,  /* both  the connection is over at once; its id is dead */
    MUX_DRAIN = 7,  /* w>t   end idle connections with close_notify, let the active
                       finish their request; a later OPEN takes it back; conn 0 */

    /* The control channel.  o>t: orchestrator to tenant; t>o the other way. */
    MUX_READY = 16,  /* t>o  on_start returned: struct mux_ready */
    MUX_FAILED = 17, /* t>o  on_start failed or the runtime gave up: a text */
    MUX_LOG = 18,    /* t>o  u8 level (enum mux_log), then a text */
    MUX_HEALTH = 19, /* o>t  u64 token.  t>o  struct mux_health */
    MUX_BUSY = 20,   /* t>o  struct mux_health with token 0: the busy lease or
                        its end changed while a HEALTH said "busy" */
    MUX_STOP = 21,   /* o>t  u32 deadline in ms: drain all, on_stop, exit 0 */
    MUX_SLOT = 22,   /* t>o  u32: this channel is free again (cli_live was GONE,
                        is WAITING) */
};

enum mux_log { MUX_LOG_ERROR = 3, MUX_LOG_WARNING = 4, MUX_LOG_INFO = 6, MUX_LOG_DEBUG = 7 };

struct mux_head {
    uint32_t len;  /* payload bytes */
    uint8_t type;  /* enum mux_type, or one that a newer peer knows */
    uint64_t conn; /* chosen by the worker, never used twice on a channel; 0: none.  Low half:
                      any value (its table's index); high half: a serial that is never 0 */
};

/* The next whole frame of `r`, still in the ring: *payload spans shared memory,
 * so copy before deciding on it.  RC_AGAIN when there is none; RC_MALFORMED when
 * head, length or indices are wrong.  Finish with mux_consume(). */
RC_MUST_CHECK enum rc mux_next(const struct ring *r, struct mux_head *head,
                               struct ring_span *payload);
/* Frees the frame that mux_next() showed. */
void mux_consume(struct ring *r, const struct mux_head *head);

/* Puts one whole frame.  RC_FULL when the ring has no room for it now (ask for
 * RING_NOTIFY_READ and try again at the doorbell); RC_MALFORMED on a bad index. */
RC_MUST_CHECK enum rc mux_put(struct ring *r, uint8_t type, uint64_t conn, const void *payload,
                              uint32_t len);

/* For a payload that is written where it will lie: the room after a head, at
 * most MUX_PAYLOAD_MAX and `want` bytes.  RC_FULL when not even one byte fits.
 * Nothing is sent until mux_commit(). */
RC_MUST_CHECK enum rc mux_reserve(const struct ring *r, uint32_t want, struct ring_span *payload);
/* Publishes `len` bytes (at most what was reserved) behind their head. */
void mux_commit(struct ring *r, uint8_t type, uint64_t conn, uint32_t len);

struct mux_hello {
    uint16_t mux_version;
    uint16_t handover_version;
    uint64_t generation; /* of the instance; a peer that expects another closes */
};
#define MUX_HELLO_SIZE 16u

struct mux_ready {
    uint32_t boot_us; /* from the image's entry to the return of on_start */
    char name[64];    /* of the manifest */
    char version[64];
};

struct mux_health {
    uint64_t token;       /* of the question; 0: unasked (MUX_BUSY) */
    uint8_t healthy;      /* on_health's answer: 0 or 1 */
    uint32_t connections; /* open */
    uint32_t in_flight;   /* requests begun and not answered in full */
    uint32_t leases;      /* busy leases held */
    uint64_t busy_ms;     /* until the last lease's deadline; 0: none */
};

/* The payload of CREDIT, STOP and SLOT: one number. */
#define MUX_U32_SIZE 4u
void mux_u32_encode(uint32_t v, uint8_t out[MUX_U32_SIZE]);
/* Copies it out of the ring.  RC_MALFORMED when it is of another length. */
RC_MUST_CHECK enum rc mux_u32_decode(const struct ring_span *payload, uint32_t len, uint32_t *v);

/* Payload codecs; decoding refuses trailing bytes and unterminated text. */
RC_MUST_CHECK enum rc mux_hello_encode(const struct mux_hello *m, void *buf, size_t size,
                                       size_t *n);
RC_MUST_CHECK enum rc mux_hello_decode(const void *buf, size_t len, struct mux_hello *m);
RC_MUST_CHECK enum rc mux_ready_encode(const struct mux_ready *m, void *buf, size_t size,
                                       size_t *n);
RC_MUST_CHECK enum rc mux_ready_decode(const void *buf, size_t len, struct mux_ready *m);
RC_MUST_CHECK enum rc mux_health_encode(const struct mux_health *m, void *buf, size_t size,
                                        size_t *n);
RC_MUST_CHECK enum rc mux_health_decode(const void *buf, size_t len, struct mux_health *m);

#endif
