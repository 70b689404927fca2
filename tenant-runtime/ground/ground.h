/* The floor an image stands on: what differs between a Linux process and a
 * virtual machine.  One implementation a ground; exactly one is chosen at the
 * start, by which entry point ran.
 *
 * The C library works on every ground through the syscall table
 * (common/core/image_calls.h); this header is for what a C library has no
 * word for: channels, doorbells, waiting. */
#ifndef GROUND_GROUND_H
#define GROUND_GROUND_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

/* Memory and doorbell of one channel. */
struct ground_channel {
    void *memory; /* laid out by ring_format(), mapped for good */
    size_t len;
};

#define GROUND_CONTROL (-1) /* the index of the control channel */

struct ground {
    const char *name; /* "linux", "pvh", "xen" */

    /* Maps the control channel and `channels` workers' channels. */
    enum rc (*open)(unsigned channels);
    struct ground_channel (*channel)(int index);

    /* Rings the peer of a channel. */
    void (*ring)(int index);

    /* Sleeps until our doorbell is rung or `deadline_ns` (rk_now_ns' clock;
     * UINT64_MAX: none) has passed.  May return early; takes the ring. */
    void (*wait)(uint64_t deadline_ns);

    /* Ends the instance. */
    void (*exit)(int status) __attribute__((noreturn));
};

/* Chosen before main() by the entry point; never NULL in main(). */
extern const struct ground *ground;
extern const struct ground ground_linux, ground_pvh;

#endif
