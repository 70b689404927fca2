/* RUN/front.sock: where the front's workers say what control.h lets them say.
 *
 * The happy path: a worker connects -> HELLO -> WELCOME -> its messages go to the
 * fleet, the fleet's to it -> it goes.
 * Failure modes: a peer that is neither root nor our own user is turned away; one
 * of another version, or with an index that has no channel, hears why (REFUSED,
 * request 0); a malformed message, or a peer that reads too slowly, costs that
 * peer its connection.  No HELLO in time: likewise. */
#ifndef ORCHESTRATOR_FRONT_SERVER_H
#define ORCHESTRATOR_FRONT_SERVER_H

#include <uv.h>

#include "orchestrator/fleet.h"
#include "orchestrator/refusal.h"

struct front_server;

/* Makes the socket; nobody is let in before front_server_begin(). */
RC_MUST_CHECK enum rc front_server_open(uv_loop_t *loop, const char *run_dir,
                                        struct front_server **out, struct refusal *no);
/* How the fleet reaches the workers; for fleet_open(). */
struct fleet_front front_server_front(struct front_server *s);
void front_server_begin(struct front_server *s, struct fleet *fleet);
/* Nobody new is let in; those who are there stay. */
void front_server_hold(struct front_server *s);
/* Ends all connections; freed when the loop has run dry.  NULL is fine.  Before
 * fleet_close(). */
void front_server_close(struct front_server *s);

#endif
