/* Routes: whose a host name is and how to shake hands for it, as roomkeyd said
 * last; and the tenants behind them.
 *
 * A route is found by host name, kept until it is invalidated or pushed out as
 * the least recently used of max-routes.  One whose roomkeyd went away is stale:
 * it serves on while nobody is there to ask, and is asked for again (with its
 * revision) as soon as somebody is.  A tenant lives as long as a route, a
 * connection or a channel refers to it. */
#ifndef TLS_FRONT_ROUTE_H
#define TLS_FRONT_ROUTE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/core/control.h"
#include "common/core/rc.h"
#include "tls-front/conn.h"
#include "tls-front/handshake.h"

struct worker;
struct channel;

struct tenant {
    uint64_t id;
    unsigned refs;
    char name[64];
    uint32_t max_connections; /* 0: no limit */
    uint32_t connections;     /* open, from the route on */
    struct channel *channel;  /* borrowed; takes new connections; or NULL */
    /* share.c's. */
    uint32_t shares;         /* of its connections, handed over and open */
    struct conn_list shared; /* these; set up while there are any */
    LIST_ENTRY(tenant) by_shares;
};

struct route {
    char hostname[256];
    struct tenant *tenant;  /* a reference */
    struct tls_config *tls; /* a reference */
    uint64_t revision;
    uint32_t wake_timeout_ms;
    bool stale;
    unsigned refs;
    TAILQ_ENTRY(route) by_use;
};

RC_MUST_CHECK enum rc routes_init(struct worker *w);
void routes_dispose(struct worker *w);

/* The route of a name, most recently used now; NULL: none.  Borrowed. */
struct route *routes_find(struct worker *w, const char *hostname);

/* Takes in what roomkeyd says of a name, with m->certs descriptors (borrowed).
 * *out is borrowed from the table.  RC_INVAL: unusable certificates, logged;
 * RC_NOT_FOUND: it says "as before" of what is not there any more. */
RC_MUST_CHECK enum rc routes_put(struct worker *w, const char *hostname,
                                 const struct control_route *m, const int *fds, struct route **out);

void routes_invalidate(struct worker *w, uint64_t tenant); /* 0: all */
void routes_stale(struct worker *w);
void routes_tickets(struct worker *w); /* w->secrets have changed */
uint32_t routes_count(const struct worker *w);

struct route *route_ref(struct route *r);
void route_unref(struct route *r); /* NULL is ignored */

/* The tenant by id, if anyone refers to it.  Borrowed. */
struct tenant *tenant_find(struct worker *w, uint64_t id);
struct tenant *tenant_ref(struct tenant *t);
void tenant_unref(struct worker *w, struct tenant *t);

#endif
