/* Why an instance is gone, for people. */
#ifndef SANDBOX_EXIT_H
#define SANDBOX_EXIT_H

#include <stddef.h>

#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/sandbox/sandbox_child.h"

/* Takes the status of the dead process behind `pidfd`; sets clean and text. */
void sandbox_exit_collect(int pidfd, struct backend_exit *out);

/* The text for one that never ran. */
void sandbox_exit_not_started(enum sandbox_step step, int error, struct backend_exit *out);

#endif
