/* Which calls an allocation may fail in, when starve.c is linked; else nothing happens. */
#ifndef TESTS_STARVE_H
#define TESTS_STARVE_H

#include <stdbool.h>

__attribute__((weak)) void starve_scope(bool in_product);

static inline void starve_in(bool in_product)
{
    if (starve_scope)
        starve_scope(in_product);
}

#endif
