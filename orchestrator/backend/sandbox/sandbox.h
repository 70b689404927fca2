/* What the ground "sandbox" tells beyond backend.h, for tests/bench. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/sandbox/sandbox_launcher.h"

/* How the start went, with its times; valid from on_started on, borrowed. */
const struct sandbox_launch *sandbox_launched(const struct backend_instance *i);

#endif
