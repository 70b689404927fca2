/* The control socket: what a front worker and the orchestrator tell each other.
 * See schema/wire/control.md.
 *
 * One message a packet of a SOCK_SEQPACKET Unix socket (RUN/front.sock), some
 * with descriptors.  The worker asks, the orchestrator answers by request id;
 * every word about an instance carries its generation, and one about a
 * generation that is no longer there is dropped.  The front's key agent has a
 * socket of its own (RUN/agent.sock), where private keys are given and nothing
 * else is said.  Freestanding. */
#ifndef COMMON_CONTROL_H
#define COMMON_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

#define CONTROL_VERSION   2
#define CONTROL_SIZE_MAX  4096u /* bytes of a message */
#define CONTROL_CERTS_MAX 4     /* certificates of one hostname: EC, RSA, … */
#define CONTROL_FDS_MAX   CONTROL_CERTS_MAX
#define CONTROL_TEXT_MAX  512
#define CONTROL_KEY_SIZE  65 /* a key's id: SHA-256 of its public half, hex, with a NUL */

/* w>o: worker to orchestrator; o>w: orchestrator to worker; k: the key agent. */
enum control_type {
    CONTROL_HELLO = 1,       /* w>o, k>o first; by the front's parent, for its child */
    CONTROL_WELCOME = 2,     /* o>w, o>k answers HELLO */
    CONTROL_HOLDING = 3,     /* w>o after WELCOME: a channel it still uses */
    CONTROL_SYNCED = 4,      /* w>o after the last HOLDING */
    CONTROL_WAKE = 5,        /* w>o a connection for `hostname` has come */
    CONTROL_ROUTE = 6,       /* o>w whose it is; fds: the chain of each certificate */
    CONTROL_READY = 7,       /* o>w its channel; fds: memory, instance's doorbell, ours
                                (none when `bytes` is 0: it has them) */
    CONTROL_REFUSED = 8,     /* o>w no route or no instance: why (ends the request);
                                request 0: the peer itself is refused */
    CONTROL_ACTIVITY = 9,    /* w>o connections and bytes of an instance changed */
    CONTROL_RELEASE = 10,    /* o>w stop using this instance */
    CONTROL_RELEASED = 11,   /* w>o done: no connection left, channel unmapped */
    CONTROL_BUSY = 12,       /* w>o no: a connection won the race (not when forced) */
    CONTROL_GONE = 13,       /* o>w the instance died: reset its connections */
    CONTROL_INVALIDATE = 14, /* o>w forget the routes of this tenant (0: of all) */
    CONTROL_COMPLAINT = 15,  /* w>o this instance broke the protocol: stop it */
    CONTROL_STATS = 16,      /* w>o counters, at most once a second */
    CONTROL_KEY = 17,        /* k>o this private key is wanted */
    CONTROL_KEY_FILE = 18,   /* o>k here it is; fd: the key (REFUSED: it is not) */
    CONTROL_FORGET = 19,     /* o>k this key was removed */
};

/* Counters of a worker, in this order on the wire; all only grow but the first
 * three.  The names are those of /metrics: roomkey_front_<name>. */
#define CONTROL_COUNTERS(X)                                                                \
    X(connections) /* gauge: open */                                                       \
    X(handshakes)  /* gauge: in progress */                                                \
    X(routes)      /* gauge: cached */                                                     \
    X(accepted_total)                                                                      \
    /* How its opening ended, once for each: they and `handshakes` make accepted_total. */ \
    X(handovers_total)                                                                     \
    X(refused_limit_total) /* a limit; or ended to make room: it still owed us a word */   \
    X(refused_rate_total)  /* per-source rate */                                           \
    X(refused_name_total)  /* no or unknown server name */                                 \
    X(hello_malformed_total)                                                               \
    X(hello_timeout_total)                                                                 \
    X(hello_aborted_total) /* the client left before its hello was whole */                \
    X(handshake_failed_total)                                                              \
    X(handshake_timeout_total)                                                             \
    X(handshake_aborted_total) /* the client left after its hello */                       \
    X(wake_failed_total)       /* no route or no instance: 503, an alert, or reset */      \
    X(opening_dropped_total)   /* our own doing: at the end of a drain, out of memory */   \
    /* How it ended after the handover; they and what is open make handovers_total. */     \
    X(relay_closed_total)      /* both sides said so */                                    \
    X(relay_client_lost_total) /* reset, or gone */                                        \
    X(relay_tenant_lost_total) /* reset by the tenant, or its instance is gone */          \
    X(relay_stall_timeout_total)                                                           \
    X(relay_linger_timeout_total)                                                          \
    X(relay_dropped_total) /* our own doing: as above, or for another tenant */            \
    X(resumed_total)                                                                       \
    X(bytes_in_total)  /* from clients */                                                  \
    X(bytes_out_total) /* to clients */

enum control_counter {
#define X(name) CONTROL_COUNTER_##name,
    CONTROL_COUNTERS(X)
#undef X
        CONTROL_COUNTER_NR
};

struct control_hello {
    uint16_t control_version, mux_version, handover_version;
    uint16_t worker; /* index, from 0; of the key agent: 0 */
    uint32_t pid;
};

struct control_welcome {
    uint16_t control_version, mux_version, handover_version;
    uint16_t channels; /* of an instance: worker indices go below this */
};

/* Names one instance for good: an id is never reused. */
struct control_instance {
    uint64_t instance;
    uint64_t generation; /* of its tenant */
};

struct control_wake {
    uint64_t request;        /* chosen by the worker, not 0 */
    uint64_t route_revision; /* of the route that it has cached, 0: none */
    char hostname[256];      /* lower case, no trailing dot */
};

struct control_route {
    uint64_t request;
    uint64_t tenant;
    uint64_t revision;        /* changes with anything in here; same as asked with:
                                 certs is 0 and the cached certificates hold */
    uint32_t wake_timeout_ms; /* from the WAKE on; then the 503 page */
    uint32_t max_connections; /* of this tenant in this worker; 0: no limit */
    uint8_t certs;            /* that many descriptors come along */
    char name[64];            /* of the tenant */
    char alpn[64];            /* of its image, comma-separated, best first */
    char key[CONTROL_CERTS_MAX][CONTROL_KEY_SIZE]; /* of each certificate */
};

struct control_ready {
    uint64_t request;
    uint64_t tenant;
    struct control_instance id;
    uint16_t channel;  /* which one of the instance is this worker's */
    uint32_t bytes;    /* of its memory; 0: the channel that it still holds */
    uint32_t port;     /* 0: the doorbells are eventfds; else this port of an event channel */
    uint8_t woken;     /* 1: this request's wake started the instance */
    uint32_t asked_us; /* boot asked for, ready: µs after the WAKE came in; */
    uint32_t ready_us; /* 0 both when it was awake */
};

struct control_refused {
    uint64_t request;
    uint16_t why; /* enum rc: NOT_FOUND unknown hostname, DENIED suspended,
                     FAILED no instance can be had, TIMEDOUT, VERSION, INVAL */
    char text[CONTROL_TEXT_MAX];
};

struct control_activity {
    struct control_instance id;
    uint32_t connections; /* open now */
    uint64_t bytes;       /* both ways since the last ACTIVITY */
};

struct control_release {
    struct control_instance id;
    uint8_t force; /* 1: BUSY is no answer (upgrade); new connections ask again */
};

struct control_complaint {
    struct control_instance id;
    uint16_t why; /* enum rc: UNMAPPED may be of the host's doing, roomkeyd finds out whose;
                     at most once for each READY */
    char text[CONTROL_TEXT_MAX];
};

struct control_key {
    uint64_t request; /* chosen by the agent, not 0; 0 in FORGET */
    char key[CONTROL_KEY_SIZE];
};

struct control_holding {
    struct control_instance id;
    uint64_t tenant;
    uint16_t channel;
    uint32_t connections;
};

struct control_msg {
    enum control_type type;
    union {
        struct control_hello hello;
        struct control_welcome welcome;
        struct control_holding holding;
        struct control_wake wake;
        struct control_route route;
        struct control_ready ready;
        struct control_refused refused;
        struct control_activity activity;
        struct control_release release;
        struct control_instance instance; /* RELEASED, BUSY, GONE */
        uint64_t tenant;                  /* INVALIDATE */
        struct control_complaint complaint;
        uint64_t counters[CONTROL_COUNTER_NR]; /* STATS */
        struct control_key key;                /* KEY, FORGET */
        uint64_t request;                      /* KEY_FILE */
    };
};

RC_MUST_CHECK enum rc control_encode(const struct control_msg *m, void *buf, size_t size,
                                     size_t *len);
/* *out is written only on RC_OK.  Refuses unknown types and trailing bytes. */
RC_MUST_CHECK enum rc control_decode(const void *buf, size_t len, struct control_msg *out);

/* How many descriptors must come with this message. */
size_t control_fds(const struct control_msg *m);

#endif
