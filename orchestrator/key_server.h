/* RUN/agent.sock: where the front's key agent is given private keys, as descriptors; they
 * are never read here.
 *
 * Not on front.sock, where the front's workers are: a worker that somebody has broken
 * into could have the parent connect it anew and say that it is the agent.  This socket
 * the parent connects for the agent alone.
 *
 * The happy path: HELLO -> WELCOME -> KEY -> KEY_FILE …; FORGET for each key that the
 * certificate store removes.
 * Failure modes: a peer that is neither root nor our own user is turned away; one of
 * another version hears why (REFUSED, request 0); a key that is not there is REFUSED; a
 * malformed message, or a peer that reads too slowly, costs that peer its connection. */
#ifndef ORCHESTRATOR_KEY_SERVER_H
#define ORCHESTRATOR_KEY_SERVER_H

#include <uv.h>

#include "orchestrator/cert_store.h"
#include "orchestrator/refusal.h"

struct key_server;

/* `certs` is borrowed until key_server_close(). */
RC_MUST_CHECK enum rc key_server_open(uv_loop_t *loop, const char *run_dir,
                                      struct cert_store *certs, struct key_server **out,
                                      struct refusal *no);
/* Ends all connections; freed when the loop has run dry.  NULL is fine. */
void key_server_close(struct key_server *s);

#endif
