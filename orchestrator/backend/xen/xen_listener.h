/* One that reads a domain's console.
 *
 * The happy path: xen_listener_open -> on_line … -> xen_listener_drain, when the domain
 * has said its last -> xen_listener_close.  Failure: a console that cannot be read is
 * none; all of them take NULL for that. */
#ifndef XEN_LISTENER_H
#define XEN_LISTENER_H

#include <uv.h>

struct xen_listener;

/* *fd: consumed.  NULL: it cannot be read. */
struct xen_listener *xen_listener_open(uv_loop_t *loop, int *fd,
                                       void (*on_line)(void *arg, const char *line, size_t len),
                                       void *arg);
/* What is there already, at once. */
void xen_listener_drain(struct xen_listener *l);
/* No line comes any more. */
void xen_listener_mute(struct xen_listener *l);
/* The same, and it frees itself when the loop has let go of it. */
void xen_listener_close(struct xen_listener *l);

#endif
