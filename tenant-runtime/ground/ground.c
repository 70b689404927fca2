/* What all grounds share: which one it is, and the end after a failed CHECK. */
#include "tenant-runtime/ground/ground.h"

#include <stdio.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/launch.h"

/* The entry of a virtual machine sets another before it jumps to the C library's
 * start, which leaves .data alone. */
const struct ground *ground = &ground_linux;

void check_failed(const char *file, int line, const char *what)
{
    /* Not through stdio: its state may be what broke. */
    char text[256];
    int n = snprintf(text, sizeof text, "%s:%d: CHECK(%s) failed\n", file, line, what);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;

    if (write(STDERR_FILENO, text, len) < 0) {
        /* Nobody left to tell. */
    }
    _exit(LAUNCH_EXIT_PANIC);
}
