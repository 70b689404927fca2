/* Host names: the one form in which they are kept, and which name covers which.
 *
 * Kept: lower case, ASCII (an international name in its xn-- form), no trailing
 * dot, at most 253 bytes, labels of 1 to 63 letters, digits and hyphens.  Not an
 * IP address.  A wildcard is "*." and a name; it stands for exactly one label. */
#ifndef ORCHESTRATOR_HOSTNAME_H
#define ORCHESTRATOR_HOSTNAME_H

#include <stdbool.h>

#include "orchestrator/refusal.h"

#define HOSTNAME_SIZE 254 /* with its NUL */

/* Writes the kept form of what a person typed; RC_INVAL with the reason. */
RC_MUST_CHECK enum rc hostname_normalize(const char *in, char out[HOSTNAME_SIZE],
                                         struct refusal *no);

/* The wildcard that would stand for `host`; false when it has none (one label,
 * or itself a wildcard). */
bool hostname_wildcard(const char *host, char out[HOSTNAME_SIZE]);

/* Whether one of a certificate's names (separated by commas, either case) is good for
 * `host` (kept form): equal, or a wildcard of its first label. */
bool hostname_covered(const char *names, const char *host);

#endif
