/* What all grounds share: which one it is, and the end after a failed CHECK or abort(). */
#include "tenant-runtime/ground/ground.h"

#include <stdio.h>
#include <stdlib.h>
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

/* Instead of the C library's, whose signal does not reach process 1, which an instance is on Linux:
 * it would go on to a fault, and be told of as one. */
void abort(void)
{
    static const char text[] = "roomkey: stopped: the app called abort()\n";

    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        /* Nobody left to tell. */
    }
    _exit(LAUNCH_EXIT_PANIC);
}
