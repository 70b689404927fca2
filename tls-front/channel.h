/* The worker's channels: one to each instance that serves one of its tenants.
 *
 * Happy path: READY brings memory and doorbells; channel_ready() checks and maps
 * them, says HELLO, and makes the channel its tenant's; relay.h moves frames;
 * RELEASE retires it and DRAIN goes to the tenant; when its last connection is
 * gone, RELEASED goes to roomkeyd.  It stays mapped until GONE, as a WAKE in time
 * brings the same instance back, which has heard our HELLO already.
 *
 * Failure modes: memory that is not sealed or too small (RC_MALFORMED); a tenant
 * that breaks ring or frames (channel_complain(): its connections are reset, the
 * memory unmapped, roomkeyd told); a tenant that is gone, by GONE or by what its
 * page says: its connections are reset. */
#ifndef TLS_FRONT_CHANNEL_H
#define TLS_FRONT_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/core/control.h"
#include "common/core/mux.h"
#include "common/core/ring.h"
#include "common/host/doorbell.h"
#include "tls-front/conn.h"

struct worker;
struct tenant;

enum channel_state {
    CHANNEL_ACTIVE,   /* takes new connections */
    CHANNEL_RETIRED,  /* RELEASE: finishes the open ones */
    CHANNEL_RELEASED, /* has none left; roomkeyd knows */
    CHANNEL_DEAD      /* unmapped; only its handle is closing */
};

struct channel {
    struct worker *w;
    struct tenant *tenant; /* a reference */
    struct control_instance id;
    uint16_t index;
    enum channel_state state;

    struct ring ring;
    void *mem; /* owned mapping */
    size_t mem_len;
    struct doorbell bell; /* owned */
    uv_poll_t poll;       /* of the doorbell */
    uv_idle_t again;      /* active: look once more in the next turn */
    unsigned handles;     /* of these two that are still closing */
    bool greeted;         /* its HELLO has come */
    bool wrote, read;     /* since its doorbell was last thought of */
    bool dirty;           /* listed for that */
    unsigned news;        /* frames taken and room found, this second */
    unsigned idle_rings;  /* looks without any, this second */
    uint32_t crossing;    /* frames that may yet come of connections that have ended */
    const char *broken;   /* why to complain, once off the stack of frames */

    struct conn_list conns; /* those with an id on it */
    uint32_t connections;
    struct conn_list blocked; /* those that wait for ring room, in turn */
    uint32_t blocked_s;       /* seconds since any of them had some */

    uint64_t bytes; /* both ways, not yet told */
    uint32_t told_connections;

    TAILQ_ENTRY(channel) entry, dirty_entry;
};

RC_MUST_CHECK enum rc channels_init(struct worker *w);
void channels_close(struct worker *w);   /* all connections are gone */
void channels_dispose(struct worker *w); /* after its handles are closed */

/* READY: fds are memory, the instance's doorbell, ours, or none of them; those taken are
 * set to -1.  RC_NOT_FOUND: none came, and it holds no such channel. */
RC_MUST_CHECK enum rc channel_ready(struct worker *w, struct tenant *t,
                                    const struct control_ready *m, int *fds);
void channel_release(struct worker *w, const struct control_instance *id, bool force);
void channel_gone(struct worker *w, const struct control_instance *id);

/* The tenant broke the rules.  Safe in the middle of its frames: it takes effect
 * when they are left. */
void channel_complain(struct channel *ch, const char *why);

/* mux_put() and mux_commit(), with the doorbell rung before the loop sleeps.  A
 * bad index is a complaint and reads as RC_FULL. */
RC_MUST_CHECK enum rc channel_put(struct channel *ch, uint8_t type, uint64_t conn,
                                  const void *payload, uint32_t len);
void channel_wrote(struct channel *ch);

/* A connection gets its id on this channel, or gives it up. */
void channel_join(struct channel *ch, struct conn *c);
void channel_leave(struct channel *ch, struct conn *c);

/* The connection wants ring room: relay_resume() when there is. */
void channel_block(struct channel *ch, struct conn *c);

void channels_hold(struct worker *w);   /* HOLDING of each */
void channels_second(struct worker *w); /* ACTIVITY of what moved */

#endif
