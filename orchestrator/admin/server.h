/* What server.c, request.c, answer.c, held.c and doctor_get.c share; other handlers include
 * request.h. */
#ifndef ORCHESTRATOR_ADMIN_SERVER_H
#define ORCHESTRATOR_ADMIN_SERVER_H

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/host/acceptor.h"
#include "orchestrator/admin/admin.h"
#include "orchestrator/admin/request.h"

#define ADMIN_CONNECTIONS_MAX 256u
#define ADMIN_FOLLOWERS_MAX   (ADMIN_CONNECTIONS_MAX / 2)

struct admin {
    struct admin_house house;
    char path[512]; /* of the socket */
    struct MHD_Daemon *daemon;
    /* Not MHD's own: without a descriptor that one spins, or sleeps for good. */
    struct acceptor acceptor;
    uv_poll_t poll; /* MHD's epoll descriptor */
    uv_timer_t timer;
    uv_timer_t held_timer;
    TAILQ_HEAD(, admin_request) held; /* wait for the registry; also those without a connection */
    bool resumed;                     /* since MHD last ran: it does not wake by itself for that */
    bool closed;
    bool looking;     /* a doctor is at work */
    unsigned handles; /* of the acceptor and these three, open */
    unsigned connections;
    unsigned requests;           /* all, also those that only a callback still holds */
    unsigned followers;          /* of these */
    struct admin_request *first; /* those that have a connection */
};

/* Tells of the client's end while MHD does not look, since the request is suspended. */
struct admin_watch {
    uv_poll_t poll;
    int fd;                        /* owned */
    struct admin_request *request; /* NULL: closing */
};

struct admin_request {
    struct admin *admin;
    struct MHD_Connection *connection; /* NULL: it is gone */
    struct admin_request *next, **link;
    struct admin_peer peer;
    const struct admin_route *route; /* NULL: there is none */
    unsigned miss;                   /* then: status of the refusal */
    char name[ADMIN_PATH_NAME_SIZE];
    struct admin_text data; /* what came, until it is parsed */
    struct admin_body body;
    void *slot;

    bool handled;                  /* the handler was called */
    bool pending;                  /* admin_later(): a callback will answer */
    bool follows;                  /* counted as a follower */
    bool suspended;                /* MHD does not look at it */
    atomic_bool gone;              /* the client is, or we are closing */
    struct MHD_Response *response; /* owned; the answer, not yet queued */
    unsigned status;

    TAILQ_ENTRY(admin_request) held;
    uint64_t held_until; /* clock_us() */

    const struct admin_stream *stream; /* NULL: none, or closed */
    void *stream_state;
    bool stream_end;
    struct admin_text text; /* of the stream, not yet sent */
    size_t text_sent;

    struct admin_watch *watch; /* owned; NULL until first suspended */
};

/*----- request.c: MHD's callbacks -----*/

enum MHD_Result admin_on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **slot);
void admin_on_completed(void *arg, struct MHD_Connection *connection, void **slot,
                        enum MHD_RequestTerminationCode why);

/* Its answer, consumed; *q may be gone after this. */
void admin_respond(struct admin_request *q, unsigned status, struct MHD_Response *response);
/* Its handler is called now; or it is freed when its client is gone. */
void admin_request_go_on(struct admin_request *q);

/*----- held.c -----*/

/* True: another program holds the registry, and the request waits for its end. */
bool admin_held(struct admin_request *q);
void admin_held_end(struct admin *a);

/*----- server.c -----*/

/* MHD has a resumed connection to look at, soon. */
void admin_resumed(struct admin *a);
/* Frees it when nobody holds it any more. */
void admin_unref(struct admin *a);

/* The client is gone, or shall be: ends what the request waits for. */
void admin_request_drop(struct admin_request *q);

#endif
