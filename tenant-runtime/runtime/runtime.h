/* One instance: what it was launched as, and the loop that runs it.
 *
 * The happy path is: runtime_launch() reads the launch arguments, runtime_open()
 * the channels, runtime_start() (on_start, READY), runtime_step() and
 * runtime_wait() until runtime_verdict() says that all is over, runtime_stop()
 * (on_stop).  Possible failure modes are a bad launch, an on_start that fails
 * (FAILED is sent), and a control channel that makes no sense. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/rc.h"

/* Set by runtime_launch(), read by all. */
struct runtime {
    char tenant[64];
    uint64_t generation;
    unsigned channels;
    uint32_t memory_kib;
    uint64_t entered_ns;      /* when main() began, or the image where the clock tells */
    uint32_t connections_max; /* open at once; more are RESET */
    unsigned requests_max;    /* in fibers at once; more wait in their connections */
    uint64_t input_max;       /* bytes of all connections' input buffers together */

    /* The running counts. */
    uint64_t input_bytes;
    uint32_t connections, in_flight; /* in_flight: requests whose head is whole */
};
extern struct runtime rt;

/* Reads the launch arguments into `rt`.  RC_INVAL when one is missing or wrong,
 * with the reason on stderr. */
RC_MUST_CHECK enum rc runtime_launch(int argc, char **argv);

/* Opens the ground's channels: RC_UNSUPPORTED where the ground has none. */
RC_MUST_CHECK enum rc runtime_open(void);

/* on_start, then READY or FAILED.  RC_FAILED: exit with LAUNCH_EXIT_START. */
RC_MUST_CHECK enum rc runtime_start(void);

/* Does all that can be done now, and rings those who asked; true when it did
 * something.  Sleeping is the caller's: runtime_wait(). */
bool runtime_step(void);

/* Sleeps until something happens; at once when something has. */
void runtime_wait(void);

/* RC_AGAIN while it should run on; RC_OK: stopped as asked; else the control
 * channel is of no use any more. */
enum rc runtime_verdict(void);

/* on_stop; leaves all channels. */
void runtime_stop(void);

#endif
