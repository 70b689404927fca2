/* Whether this host can confine an instance: tried, not guessed. */
#ifndef SANDBOX_PROBE_H
#define SANDBOX_PROBE_H

#include <stddef.h>

#include "common/core/rc.h"

/* RC_OK and an empty `why`; RC_OK and a warning in it; or what is missing. */
enum rc sandbox_probe(char *why, size_t size);

#endif
