/* What the ground "xen" needs to be told, beyond backend.h. */
#ifndef XEN_H
#define XEN_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

/* By their names in roomkey.toml's [xen]; each is explained in docs/CONFIG.md.
 * X(name, default, least, most); the second list is of milliseconds. */
#define XEN_BOUNDS(X)    \
    X(helpers, 2, 1, 16) \
    X(pool, 0, 0, 64)

#define XEN_DEADLINES(X)                  \
    X(pool_idle, 600000, 1000, 604800000) \
    X(job, 5000, 10, 600000)

struct xen_settings {
#define X(name, standard, least, most) uint32_t name;
    XEN_BOUNDS(X)
#undef X
#define X(name, standard, least, most) uint32_t name##_ms;
    XEN_DEADLINES(X)
#undef X
    uint32_t pool_delay_ms; /* from an instance's start until the pool is filled for it */
    uint32_t reap_ms;       /* before what could not be destroyed is tried again; then doubled */
    char program[PATH_MAX]; /* the helper; empty: roomkey-xen, beside this program */
};

void xen_settings_init(struct xen_settings *s);

/* For all probes and openings from now on. */
void xen_configure(const struct xen_settings *s);

/*----- for the files of this folder -----*/

const struct xen_settings *xen_settings(void);
/* The helper's path; RC_IO when it cannot be told where this program is. */
RC_MUST_CHECK enum rc xen_program(char *out, size_t size);

#endif
