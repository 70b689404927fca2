/* Client connections: their table, life, and socket.
 *
 * Happy path: accepted -> HELLO -> ROUTE -> HANDSHAKE -> WAKING -> RELAY -> CLOSED,
 * where ROUTE and WAKING are passed at once when roomkeyd's answer is there
 * already.  The first five are opening.c's, RELAY is relay.c's; ANSWER is when all
 * words are said and the client only has to take them: the front's own (an alert,
 * the 503 page), or those of a tenant that waits no longer.
 *
 * A connection is closed by conn_close(), from any state and safely from any
 * callback; it is freed when libuv has let go of it and the tenant, if it had
 * one, has been told. */
#ifndef TLS_FRONT_CONN_H
#define TLS_FRONT_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/core/control.h"
#include "common/core/handover.h"
#include "common/core/sm.h"

struct acceptor;
struct worker;
struct channel;
struct opening;

enum conn_state {
    CONN_HELLO,
    CONN_ROUTE,
    CONN_HANDSHAKE,
    CONN_WAKING,
    CONN_RELAY,
    CONN_ANSWER,
    CONN_CLOSED,
    CONN_STATE_NR
};

/* What /metrics is still owed about a connection. */
enum conn_account {
    CONN_OWES_OPENING, /* how its opening ended; it is one of the gauge `handshakes` */
    CONN_OWES_END,     /* how it ended, handed over as it was */
    CONN_SETTLED,
};

/* What the socket did not take yet; a ring of CONN_OUT_SIZE bytes while there is
 * any.  At most a flight of the handshake and the credit that a tenant has. */
#define CONN_OUT_SIZE (128u << 10)

struct conn {
    struct worker *w;
    uint64_t id; /* table index, serial in the high half */
    struct sm sm;
    enum conn_account account;
    uint64_t since_ms; /* uv_now() when it came to be in ROUTE, HANDSHAKE or WAKING */
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned handles; /* of libuv, not yet closed */
    char addr[46];
    uint16_t port;

    uint8_t *out; /* owned */
    uint32_t out_at, out_len;
    uv_write_t write;
    uv_shutdown_t shutdown;
    size_t unsent;               /* by libuv, when that was last looked at */
    bool writing, fin, fin_sent; /* fin: after what is in `out` */

    struct opening *opening; /* owned, until the tenant has it */
    struct tenant *tenant;   /* a reference, counted in its connections; or NULL */

    /* Relay. */
    struct channel *channel; /* borrowed; NULL: none, or it is over */
    uint32_t credit;         /* bytes of DATA that we may send */
    uint32_t window;         /* bytes of DATA that the tenant may send */
    uint32_t owed;           /* of those it sent, taken and not yet credited */
    bool reading, blocked;
    bool eof, close_sent; /* the client's end, and whether the tenant knows */
    bool close_got;       /* the tenant's end */
    bool reset;           /* RESET is to be sent: nothing else may */

    bool shares; /* one of its tenant's share of --max-connections */
    TAILQ_ENTRY(conn) share;

    TAILQ_ENTRY(conn) opened; /* by age, among all that owe their opening, or get our last words */
    TAILQ_ENTRY(conn) queued; /* in a wake, or blocked on its channel */
    TAILQ_ENTRY(conn) on_channel;
};

TAILQ_HEAD(conn_list, conn);

RC_MUST_CHECK enum rc conns_init(struct worker *w);
void conns_dispose(struct worker *w);
void conns_close(struct worker *w); /* all of them, at once */
uint32_t conns_count(const struct worker *w);
/* Once a second: those whose clients were reset unseen before their handover are closed. */
void conns_second(struct worker *w);

/* Of a worker's acceptors. */
void conn_on_taken(struct acceptor *a, int fd);

/* The connection of an id, if it is still on `ch`. */
struct conn *conn_find(struct channel *ch, uint64_t id);

/* Reads with these until conn_stop(). */
void conn_read(struct conn *c, uv_alloc_cb alloc, uv_read_cb read);
void conn_stop(struct conn *c);
/* libuv does not tell of a reset while nothing is read, and takes one for UV_EOF when it comes
 * right behind data.  But a socket has no peer that was reset, or that both sides have ended. */
bool conn_was_reset(const struct conn *c);

/* Sends, or keeps what the socket does not take.  RC_FULL: more than it may keep;
 * RC_IO: the client is gone.  Closing is left to the caller. */
RC_MUST_CHECK enum rc conn_write(struct conn *c, const uv_buf_t *bufs, unsigned n);
/* FIN, after all that was written, for which the client has `stall` from each byte
 * to the next; from FIN on it has `linger` to end too. */
void conn_fin(struct conn *c);

/* `late` is called once in `ms`, unless set again. */
void conn_deadline(struct conn *c, uint64_t ms, uv_timer_cb late);
void conn_no_deadline(struct conn *c);

/* Last words: what is in `out`, FIN, then whatever the client still sends is
 * thrown away until it ends too or `linger` is over: a close with unread bytes
 * would make its TCP throw our words away. */
void conn_answer(struct conn *c);
/* The same after conn_fin() in RELAY, off the channel. */
void conn_finish(struct conn *c);

/* Tells /metrics how its opening ended, or after the handover how it ended itself;
 * without effect when that is told already, or not owed.  What conn_close() finds
 * untold is our own doing. */
void conn_opened(struct conn *c, enum control_counter how);
void conn_ended(struct conn *c, enum control_counter how);
#define OPENED(c, name) conn_opened(c, CONTROL_COUNTER_##name##_total)
#define ENDED(c, name)  conn_ended(c, CONTROL_COUNTER_relay_##name##_total)

enum conn_how { CONN_FIN, CONN_RST };
void conn_close(struct conn *c, enum conn_how how);
/* The client is gone, whatever was going on: counted as that, and closed. */
void conn_lost(struct conn *c, enum conn_how how);
/* What conn_write() could not do: conn_lost(), or closed as our own doing. */
void conn_unwritten(struct conn *c, enum rc why);
/* It may be freed now: idempotent, called when one of the reasons not to ends. */
void conn_settle(struct conn *c);

#endif
