#include "orchestrator/backend/console.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PIPE_BYTES (64u << 10)

static void flush(struct console *c)
{
    size_t len = c->len;

    c->len = 0;
    if (!c->stopped)
        c->on_line(c->arg, c->line, len);
}

static void feed(struct console *c, const char *p, size_t n)
{
    for (size_t i = 0; i < n && !c->stopped; i++) {
        if (p[i] == '\n') {
            if (c->len && c->line[c->len - 1] == '\r')
                c->len--; /* a terminal's line end */
            if (!c->cut)
                flush(c);
            c->cut = false;
        } else if (!c->cut) {
            c->line[c->len++] = p[i];
            if (c->len == sizeof c->line) {
                flush(c);
                c->cut = true;
            }
        }
    }
}

/* Returns what was read; 0 at the end or when there is nothing. */
static size_t read_some(struct console *c, size_t most, bool *ended)
{
    char buf[4096];
    ssize_t n;

    do
        n = read(c->fd, buf, most < sizeof buf ? most : sizeof buf);
    while (n < 0 && errno == EINTR);
    *ended = n == 0 || (n < 0 && errno != EAGAIN); /* EIO: a terminal whose other end is gone */
    if (n <= 0)
        return 0;
    feed(c, buf, (size_t)n);
    return (size_t)n;
}

static void on_second(uv_timer_t *timer);

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct console *c = poll->data;
    uint64_t now = uv_now(poll->loop);
    bool ended;

    (void)events;
    if (now - c->second >= 1000) {
        c->second = now;
        c->budget = CONSOLE_RATE;
    }
    c->budget -= read_some(c, c->budget, &ended);
    if (c->stopped)
        return;
    if (ended || status < 0) {
        uv_poll_stop(poll);
    } else if (c->budget == 0) {
        uv_poll_stop(poll);
        uv_timer_start(&c->timer, on_second, 1000 - (now - c->second), 0);
    }
}

static void on_second(uv_timer_t *timer)
{
    struct console *c = timer->data;

    uv_poll_start(&c->poll, UV_READABLE, on_readable);
}

enum rc console_init(struct console *c, uv_loop_t *loop, int fd,
                     void (*on_line)(void *, const char *, size_t), void *arg)
{
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->on_line = on_line;
    c->arg = arg;
    c->budget = CONSOLE_RATE;
    c->second = uv_now(loop);
    if (uv_poll_init(loop, &c->poll, fd)) {
        close(fd);
        c->fd = -1;
        return RC_IO;
    }
    uv_timer_init(loop, &c->timer);
    c->poll.data = c->timer.data = c;
    return RC_OK;
}

void console_listen(struct console *c)
{
    uv_poll_start(&c->poll, UV_READABLE, on_readable);
}

void console_drain(struct console *c)
{
    size_t left = PIPE_BYTES, n;
    bool ended;

    while (left && !c->stopped && (n = read_some(c, left, &ended)))
        left -= n;
    if (c->len)
        flush(c);
}

void console_close(struct console *c, uv_close_cb closed)
{
    c->stopped = true;
    uv_close((uv_handle_t *)&c->poll, closed);
    uv_close((uv_handle_t *)&c->timer, closed);
    close(c->fd); /* uv_close() has taken it off the loop already */
    c->fd = -1;
}
