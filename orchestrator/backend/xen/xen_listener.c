#include "orchestrator/backend/xen/xen_listener.h"

#include <stdlib.h>

#include "common/core/container_of.h"
#include "common/host/fd.h"
#include "orchestrator/backend/console.h"

struct xen_listener {
    struct console console;
    unsigned handles;
};

struct xen_listener *xen_listener_open(uv_loop_t *loop, int *fd,
                                       void (*on_line)(void *arg, const char *line, size_t len),
                                       void *arg)
{
    struct xen_listener *l = *fd < 0 ? NULL : calloc(1, sizeof *l);

    if (!l) {
        fd_close(fd);
        return NULL;
    }
    if (console_init(&l->console, loop, *fd, on_line, arg)) {
        free(l);
        l = NULL;
    }
    *fd = -1;
    if (l)
        console_listen(&l->console);
    return l;
}

void xen_listener_drain(struct xen_listener *l)
{
    if (l)
        console_drain(&l->console);
}

void xen_listener_mute(struct xen_listener *l)
{
    if (l)
        l->console.stopped = true;
}

static void on_closed(uv_handle_t *h)
{
    struct console *c = h->data;
    struct xen_listener *l = CONTAINER_OF(c, struct xen_listener, console);

    if (--l->handles == 0)
        free(l);
}

void xen_listener_close(struct xen_listener *l)
{
    if (!l)
        return;
    l->handles = 2;
    console_close(&l->console, on_closed);
}
