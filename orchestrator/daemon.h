/* The house of roomkeyd: opens everything, runs the loop, closes everything.
 *
 * Happy path: folders and locks, registry, stores, ground, fleet (which takes over
 * what runs), admin and front sockets; then it is ready.  A signal: no new wakes,
 * instances are stopped (or left), and all is closed in reverse.
 * Failure modes: each thing that cannot be had is a refusal, and what was opened
 * is closed again. */
#ifndef ORCHESTRATOR_DAEMON_H
#define ORCHESTRATOR_DAEMON_H

#include "orchestrator/backend/backend.h"
#include "orchestrator/config.h"

/* Those that are built in, best first; ends with NULL. */
extern const struct backend_ops *const daemon_grounds[];

/* Until SIGTERM, SIGINT or, unless that is ignored, SIGHUP; RC_OK after a clean end. */
RC_MUST_CHECK enum rc daemon_run(const struct config *config, struct refusal *no);

#endif
