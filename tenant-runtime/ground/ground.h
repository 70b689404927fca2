/* The floor an image stands on: a Linux process, a Xen domain, or any other virtual
 * machine that boots by PVH.  Exactly one is chosen at the start, by which entry
 * point ran and what it found below it.
 *
 * The C library works on every ground through the syscall table
 * (common/core/image_calls.h); this header is for what a C library has no
 * word for: channels, doorbells, waiting. */
#ifndef GROUND_GROUND_H
#define GROUND_GROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

/* Memory and doorbell of one channel. */
struct ground_channel {
    void *memory; /* laid out by ring_format(), mapped for good */
    size_t len;   /* bytes */
};

#define GROUND_CONTROL (-1) /* the index of the control channel */

struct ground {
    const char *name; /* "linux", "pvh", "xen": for people */

    /* Maps `channels` workers' channels and the control channel; RC_UNSUPPORTED: this
     * ground has none. */
    enum rc (*open)(unsigned channels);
    struct ground_channel (*channel)(int index);

    /* Rings the peer of a channel. */
    void (*ring)(int index);

    /* Sleeps until our doorbell is rung or `deadline_ns` (rk_now_ns' clock;
     * UINT64_MAX: none) has passed.  May return early; takes the ring. */
    void (*wait)(uint64_t deadline_ns);

    /* Ends the instance. */
    void (*exit)(int status) __attribute__((noreturn));

    /* rk_now_ns' clock began with the image's first instruction. */
    bool clock_from_entry;
};

/* Chosen before main() by the entry point; never NULL in main(). */
extern const struct ground *ground;
extern const struct ground ground_linux, ground_pvh, ground_xen;

#endif
