/* Wakes in flight: host names of which roomkeyd has been asked whose they are and
 * for a running instance.
 *
 * Happy path: wake_join() puts a connection on the one wake of its host name,
 * sending WAKE if it is the first; ROUTE and READY come back by request id and
 * are passed on to all that wait (opening.h); READY ends the wake.
 *
 * Failure modes: REFUSED ends it likewise; for its deadline, only for those who have
 * waited as long.  A connection that gives up leaves; a wake that nobody waits for is
 * forgotten, and its answer dropped.  While there is no control socket wakes wait, and
 * are sent (again) when there is one; each connection's own deadline bounds that. */
#ifndef TLS_FRONT_WAKE_H
#define TLS_FRONT_WAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/control.h"
#include "common/core/rc.h"

struct worker;
struct conn;
struct wake;

RC_MUST_CHECK enum rc wakes_init(struct worker *w);
void wakes_dispose(struct worker *w);

/* c->opening->wake is set; its opening_on_…() follow, never synchronously. */
RC_MUST_CHECK enum rc wake_join(struct worker *w, struct conn *c, const char *hostname);
void wake_leave(struct worker *w, struct conn *c);

/* The control socket is there and both sides are in step. */
void wakes_resend(struct worker *w);
/* It is gone: who waits for a route goes on with the one that it said last, if there is one. */
void wakes_alone(struct worker *w);

void wake_on_route(struct worker *w, const struct control_route *m, const int *fds);
void wake_on_ready(struct worker *w, const struct control_ready *m, int *fds);
void wake_on_refused(struct worker *w, const struct control_refused *m);

#endif
