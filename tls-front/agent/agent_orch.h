/* The key agent's end of its socket to roomkeyd, and who waits for what may come from
 * there.
 *
 * Happy path: a request for a key that is not here is kept (agent_orch_want()), the
 * key asked for; its file comes, is loaded, and every request for it is told.
 *
 * Failure modes: roomkeyd away, or of another release (logged): the parent is asked for
 * another socket, and what waits is asked for anew; a key that is not to be had: its
 * requests are told why; no answer by the deadline: RC_TIMEDOUT; more than
 * AGENT_WAITING_MAX requests or AGENT_WANTED_MAX keys of one worker wait: RC_FULL. */
#ifndef TLS_FRONT_AGENT_ORCH_H
#define TLS_FRONT_AGENT_ORCH_H

#include <stdint.h>

#include "common/core/rc.h"
#include "tls-front/agent/agent_msg.h"

#define AGENT_WAITING_MAX 4096u
#define AGENT_WANTED_MAX  1024u

/* What agent_orch_want() keeps, told when its key is here (RC_OK) or will not be.  It
 * is free to be wanted again. */
typedef void agent_orch_told(unsigned worker, uint64_t request, const struct agent_sign *what,
                             enum rc rc);

/* Asks the parent, on socket `parent`, for a socket.  `deadline_ms` is for a key. */
void agent_orch_open(int parent, uint64_t deadline_ms, agent_orch_told *told);
void agent_orch_connected(int fd); /* consumed */

int agent_orch_fd(void); /* to be polled for reading; -1: none */
void agent_orch_read(void);

/* `what` NULL: nobody waits, but somebody will. */
RC_MUST_CHECK enum rc agent_orch_want(unsigned worker, const char *key, uint64_t request,
                                      const struct agent_sign *what);
/* The worker is gone, and with it what it waits for. */
void agent_orch_leave(unsigned worker);

/* Microseconds until the next deadline; UINT64_MAX: none.  Passed ones are told. */
uint64_t agent_orch_time(void);

#endif
