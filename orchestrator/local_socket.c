#include "orchestrator/local_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/container_of.h"
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
    log_warning("%s: a peer was turned away: %s", s->what, why);
    close(fd);
}

static void on_taken(struct acceptor *a, int fd)
{
    struct local_socket *s = CONTAINER_OF(a, struct local_socket, acceptor);

    if (!is_trusted(fd))
        turn_away(s, fd, "it is another user's");
    else if (!s->on_peer(s, fd))
        turn_away(s, fd, "too many are there");
}

static void on_closed(struct acceptor *a)
{
    struct local_socket *s = CONTAINER_OF(a, struct local_socket, acceptor);

    s->on_closed(s); /* must be last */
}

static enum rc cannot(struct refusal *no, const char *what, const char *path, enum rc rc,
                      const char *why)
{
    refusal_what(no, rc, "cannot make the %s %s", what, path);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "give roomkeyd a short --run folder that it may write to");
}

enum rc local_socket_open(struct local_socket *s, uv_loop_t *loop, const char *run_dir,
                          const char *name, struct refusal *no)
{
    int fd, n = snprintf(s->path, sizeof s->path, "%s/%s", run_dir, name);
    enum rc rc;

    if (n < 0 || (size_t)n >= sizeof s->path)
        return cannot(no, s->what, run_dir, RC_TOO_LARGE, "the name of a Unix socket is bounded");
    fd = make(s->path);
    if (fd < 0)
        return cannot(no, s->what, s->path, RC_IO, strerror(errno));
    s->acceptor = (struct acceptor){.what = s->what, .on_taken = on_taken, .on_closed = on_closed};
    rc = acceptor_open(&s->acceptor, loop, fd);
    if (rc) {
        unlink(s->path);
        return cannot(no, s->what, s->path, rc, "it cannot be watched");
    }
    return RC_OK;
}

void local_socket_begin(struct local_socket *s)
{
    acceptor_begin(&s->acceptor);
}

void local_socket_hold(struct local_socket *s)
{
    acceptor_hold(&s->acceptor);
}

void local_socket_close(struct local_socket *s)
{
    acceptor_close(&s->acceptor);
    unlink(s->path);
}
