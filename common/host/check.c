/* What CHECK() does in a host program: says where and what, and aborts, so that
 * a supervisor sees a signal and a developer a core. */
#include "common/core/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, what);
    abort();
}
