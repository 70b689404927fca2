/* Fibers: a stack of its own for each job in flight, so that what does it is written
 * straight on and may wait in the middle.  An image runs app handlers on them, the
 * front its handshakes.
 *
 * One thread; a fiber runs until it waits or ends, and only the loop (never a
 * fiber) runs fibers.  The happy path is: fiber_start from the loop runs `body`
 * until its first fiber_wait; whoever has what it waits for says fiber_wake; the
 * loop's next fiber_run_woken goes on behind the fiber_wait; `body` returns and
 * the stack goes back to the pool.
 *
 * Possible failure modes are no memory for a stack (fiber_start) and a body that
 * overruns its stack: it hits the guard page and the process dies, before another
 * fiber's memory is touched.  A stack keeps what was on it: who puts secrets there
 * wipes them. */
#ifndef COMMON_FIBER_H
#define COMMON_FIBER_H

#include <stdbool.h>

#include "common/core/rc.h"

#define FIBER_STACK_SIZE 65536u /* bytes, without the guard page */
#define FIBER_POOL_MAX   32u    /* stacks kept when their fibers have ended */

struct fiber; /* owned by fiber.c; gone when its body has returned */

/* Runs `body(arg)` in a new fiber until its first fiber_wait() or its end.  RC_NOMEM:
 * nothing was run. */
RC_MUST_CHECK enum rc fiber_start(void (*body)(void *arg), void *arg);

/* The running fiber, or NULL in the loop. */
struct fiber *fiber_current(void);

/* In a fiber: lets others run until fiber_wake() of this one. */
void fiber_wait(void);

/* Makes a waiting fiber run again, in order of the calls.  Once is enough: a call
 * for one that was woken already, or is running, does nothing. */
void fiber_wake(struct fiber *f);

/* In the loop: runs each fiber that was woken before this call.  True when there
 * was one. */
bool fiber_run_woken(void);

/* How many have begun and not ended. */
unsigned fiber_count(void);

/* Gives the pooled stacks back; no fiber may be alive. */
void fiber_pool_free(void);

#endif
