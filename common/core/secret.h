/* Wiping of secrets, in a way that no compiler may leave out.  Freestanding. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stddef.h>

void secret_wipe(void *p, size_t len);

#endif
