#include "orchestrator/local_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"

static int make(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before;
    int r;

    if (fd < 0)
        return -1;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    unlink(path);
    before = umask(0177);
    r = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(before);
    if (r == 0 && listen(fd, 64) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Whether the peer was root or our own user when it connected. */
static bool is_trusted(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           (cred.uid == 0 || cred.uid == geteuid());
}

static void turn_away(const struct local_socket *s, int fd, const char *why)
{
    log_warning("%s socket: a peer was turned away: %s", s->what, why);
    close(fd);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct local_socket *s = poll->data;
    int fd;

    (void)events;
    if (status < 0)
        return;
    fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            log_warning("%s socket: accept: %s", s->what, strerror(errno));
    } else if (!is_trusted(fd)) {
        turn_away(s, fd, "it is another user's");
    } else if (!s->on_peer(s, fd)) {
        turn_away(s, fd, "too many are there");
    }
}

static enum rc cannot(struct refusal *no, const char *what, const char *path, enum rc rc,
                      const char *why)
{
    refusal_what(no, rc, "cannot make the %s's socket %s", what, path);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "give roomkeyd a short --run folder that it may write to");
}

enum rc local_socket_open(struct local_socket *s, uv_loop_t *loop, const char *run_dir,
                          const char *name, struct refusal *no)
{
    int r, n = snprintf(s->path, sizeof s->path, "%s/%s", run_dir, name);

    if (n < 0 || (size_t)n >= sizeof s->path)
        return cannot(no, s->what, run_dir, RC_TOO_LARGE, "the name of a Unix socket is bounded");
    s->fd = make(s->path);
    if (s->fd < 0)
        return cannot(no, s->what, s->path, RC_IO, strerror(errno));
    r = uv_poll_init(loop, &s->poll, s->fd);
    if (r) {
        close(s->fd);
        unlink(s->path);
        return cannot(no, s->what, s->path, RC_IO, uv_strerror(r));
    }
    s->poll.data = s;
    return RC_OK;
}

void local_socket_begin(struct local_socket *s)
{
    CHECK(uv_poll_start(&s->poll, UV_READABLE, on_connection) == 0);
}

void local_socket_hold(struct local_socket *s)
{
    uv_poll_stop(&s->poll);
}

static void on_closed(uv_handle_t *h)
{
    struct local_socket *s = h->data;

    s->on_closed(s); /* must be last */
}

void local_socket_close(struct local_socket *s)
{
    uv_close((uv_handle_t *)&s->poll, on_closed);
    close(s->fd);
    unlink(s->path);
}
