/* A number for a state folder, by which the instances of its orchestrator are told
 * from another's on the same host. */
#ifndef ORCHESTRATOR_STATE_ID_H
#define ORCHESTRATOR_STATE_ID_H

#include <stdint.h>

#include "common/core/rc.h"

/* The same as long as the folder is the same; RC_NOT_FOUND (see errno) when it
 * cannot be looked at. */
RC_MUST_CHECK enum rc state_id(const char *state_dir, uint64_t *id);

#endif
