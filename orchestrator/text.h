/* Text of a tenant, before it goes into a log, an event or an answer. */
#ifndef ORCHESTRATOR_TEXT_H
#define ORCHESTRATOR_TEXT_H

#include <stddef.h>

/* Copies untrusted bytes as one line of valid UTF-8: control characters and
 * broken sequences become '?', a trailing newline goes, what is too long is cut.
 * Always terminated. */
void text_clean(char *out, size_t size, const void *in, size_t len);

#endif
