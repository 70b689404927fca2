/* Wiping of secrets, in a way that no compiler may leave out.  Freestanding. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stddef.h>

void secret_wipe(void *p, size_t len);

/* Wipes what the functions that the caller called before have left on the stack, to a
 * depth of SECRET_STACK bytes: more than a handshake or a signature uses.  Libraries
 * wipe what they free, but not every frame that a secret passed through. */
#define SECRET_STACK (32u << 10)
void secret_wipe_stack(void);

#endif
