#include "common/host/acceptor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"

#define AGAIN_MS 100u
#define CALM_MS  1000u /* so long nothing lacks until that is said */
#define AT_ONCE  16    /* then others have their turn */

static void on_connection(uv_poll_t *poll, int status, int events);

/* Nobody is there, or has gone again: the next may be taken. */
static bool is_passing(int err)
{
    return err == EAGAIN || err == EINTR || err == ECONNABORTED || err == EPROTO;
}

static void on_again(uv_timer_t *timer)
{
    struct acceptor *a = timer->data;

    if (uv_is_active((uv_handle_t *)&a->poll)) {
        log_info("%s: who comes is let in again", a->what);
        a->lacking = false;
    } else {
        CHECK(uv_poll_start(&a->poll, UV_READABLE, on_connection) == 0);
    }
}

static void wait_for_more(struct acceptor *a, int err)
{
    if (!a->lacking)
        log_error("%s: nobody can be let in: %s; those who come wait", a->what, strerror(err));
    a->lacking = true;
    uv_poll_stop(&a->poll);
    CHECK(uv_timer_start(&a->again, on_again, AGAIN_MS, 0) == 0);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct acceptor *a = poll->data;

    (void)events;
    if (status < 0) /* it is looked at no more */
        wait_for_more(a, -status);
    for (int i = 0; status == 0 && i < AT_ONCE && !a->held; i++) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            if (!is_passing(errno))
                wait_for_more(a, errno);
            return;
        }
        /* A descriptor that was free for a moment lets in one, and is not there for the next. */
        if (a->lacking && !uv_is_active((uv_handle_t *)&a->again))
            CHECK(uv_timer_start(&a->again, on_again, CALM_MS, 0) == 0);
        a->on_taken(a, fd); /* a may be held now, or closing */
    }
}

enum rc acceptor_open(struct acceptor *a, uv_loop_t *loop, int fd)
{
    int r = uv_poll_init(loop, &a->poll, fd);

    if (r != 0) {
        log_error("%s: nobody can be let in: %s", a->what, uv_strerror(r));
        close(fd);
        return RC_IO;
    }
    CHECK(uv_timer_init(loop, &a->again) == 0);
    a->poll.data = a->again.data = a;
    a->fd = fd;
    a->lacking = false;
    a->held = true;
    a->handles = 2;
    return RC_OK;
}

void acceptor_begin(struct acceptor *a)
{
    a->held = false;
    CHECK(uv_poll_start(&a->poll, UV_READABLE, on_connection) == 0);
}

void acceptor_hold(struct acceptor *a)
{
    a->held = true;
    uv_poll_stop(&a->poll);
    uv_timer_stop(&a->again);
}

static void on_closed(uv_handle_t *h)
{
    struct acceptor *a = h->data;

    if (--a->handles == 0 && a->on_closed)
        a->on_closed(a); /* a may be freed: last */
}

void acceptor_close(struct acceptor *a)
{
    a->held = true;
    uv_close((uv_handle_t *)&a->poll, on_closed);
    uv_close((uv_handle_t *)&a->again, on_closed);
    close(a->fd);
}
