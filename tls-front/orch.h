/* The worker's end of the control socket (common/core/control.h).
 *
 * Happy path: the parent hands over a connected socket on which it has said HELLO;
 * WELCOME, HOLDING for each channel, SYNCED; then wakes are sent (again) and answers dispatched.
 * Once a second: ACTIVITY of each channel that moved, STATS when they changed.
 *
 * Failure modes: roomkeyd goes away, makes no sense, or is of another version
 * (logged): the socket is closed, the parent asked for another, and everything
 * that is open or awake goes on. */
#ifndef TLS_FRONT_ORCH_H
#define TLS_FRONT_ORCH_H

#include <stdbool.h>

#include "common/core/control.h"
#include "common/core/rc.h"

struct worker;

RC_MUST_CHECK enum rc orch_init(struct worker *w); /* asks the parent for a socket */
void orch_dispose(struct worker *w);               /* after its handles are closed */
void orch_close(struct worker *w);                 /* for good */

void orch_connected(struct worker *w, int fd); /* consumed */

/* Dropped when there is no socket in step: what matters then is told by HOLDING,
 * or sent again. */
void orch_send(struct worker *w, const struct control_msg *m);
void orch_second(struct worker *w);
/* roomkeyd is there, and tells this worker what changes. */
bool orch_in_step(const struct worker *w);

#endif
