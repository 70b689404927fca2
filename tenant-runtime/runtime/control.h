/* The control channel: the orchestrator's words to this instance, and ours to it.
 * See schema/wire/mux.md.
 *
 * The happy path is: control_open, control_ready once on_start has returned, then
 * HEALTH is answered as it comes, SLOT, LOG and BUSY go out as they happen, and
 * STOP begins the end.  Possible failure modes are a full ring (what is owed waits;
 * log lines past that are dropped and counted), an orchestrator that goes away (the
 * channel is opened anew for the next one), and a channel that makes no sense. */
#ifndef RUNTIME_CONTROL_H
#define RUNTIME_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/mux.h"
#include "common/core/rc.h"

RC_MUST_CHECK enum rc control_open(void);
/* Whether lines can be logged there. */
bool control_is_open(void);
void control_ready(uint32_t boot_us);
void control_failed(const char *why);
void control_log(enum mux_log level, const char *text);
/* Channel `index` is free again. */
void control_slot(unsigned index);
/* The leases changed. */
void control_busy_changed(void);

/* Takes what came and sends what is owed.  True when there was something. */
bool control_poll(void);
/* As channels_notify() and channels_want(). */
void control_notify(void);
bool control_want(void);
void control_close(void);

/* RC_AGAIN while all is well; RC_MALFORMED: it is of no use any more. */
enum rc control_verdict(void);
/* STOP came: when all must be over, in rk_now_ns' time; TIMER_NEVER: it did not. */
uint64_t control_stop_ns(void);

#endif
