/* Wiping of secrets, in a way that no compiler may leave out.  Freestanding. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>

void secret_wipe(void *p, size_t len);

/* Compares in a time that depends on `len` only. */
bool secret_equal(const void *a, const void *b, size_t len);

#endif
