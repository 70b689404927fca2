#include "orchestrator/acceptor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"

#define AGAIN_MS 100u

static void on_connection(uv_poll_t *poll, int status, int events);

static bool is_lack(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void on_again(uv_timer_t *timer)
{
    struct acceptor *a = timer->data;

    CHECK(uv_poll_start(&a->poll, UV_READABLE, on_connection) == 0);
}

static void wait_for_more(struct acceptor *a, int err)
{
    if (!a->lacking)
        log_error("%s socket: nobody can be let in: %s; those who come wait", a->what,
                  strerror(err));
    a->lacking = true;
    uv_poll_stop(&a->poll);
    CHECK(uv_timer_start(&a->again, on_again, AGAIN_MS, 0) == 0);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct acceptor *a = poll->data;
    int fd;

    (void)events;
    if (status < 0)
        return;
    fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        if (a->lacking)
            log_info("%s socket: who comes is let in again", a->what);
        a->lacking = false;
        a->on_taken(a, fd); /* a may be held or closing: last */
    } else if (is_lack(errno)) {
        wait_for_more(a, errno);
    }
}

enum rc acceptor_open(struct acceptor *a, uv_loop_t *loop, int fd)
{
    if (uv_poll_init(loop, &a->poll, fd) != 0) {
        close(fd);
        return RC_IO;
    }
    CHECK(uv_timer_init(loop, &a->again) == 0);
    a->poll.data = a->again.data = a;
    a->fd = fd;
    a->lacking = false;
    a->handles = 2;
    return RC_OK;
}

void acceptor_begin(struct acceptor *a)
{
    CHECK(uv_poll_start(&a->poll, UV_READABLE, on_connection) == 0);
}

void acceptor_hold(struct acceptor *a)
{
    uv_poll_stop(&a->poll);
    uv_timer_stop(&a->again);
}

static void on_closed(uv_handle_t *h)
{
    struct acceptor *a = h->data;

    if (--a->handles == 0)
        a->on_closed(a); /* a may be freed: last */
}

void acceptor_close(struct acceptor *a)
{
    uv_close((uv_handle_t *)&a->poll, on_closed);
    uv_close((uv_handle_t *)&a->again, on_closed);
    close(a->fd);
}
