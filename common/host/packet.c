#include "common/host/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/secret.h"

/* A peer that floods us must not keep the loop from everyone else. */
#define MESSAGES_PER_WAKE 32

_Static_assert(PACKET_FDS_MAX % 2 == 0, "packet_read() has room for no more than it is given");

struct packet_queued {
    struct packet_queued *next;
    size_t len, nfds;
    int fds[PACKET_FDS_MAX]; /* owned */
    uint8_t buf[];
};

static void close_fds(const int *fds, size_t nfds)
{
    for (size_t i = 0; i < nfds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/*----- on a bare socket -----*/

enum rc packet_write(int fd, const void *buf, size_t len, const int *fds, size_t nfds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    CHECK(len > 0 && len <= PACKET_SIZE_MAX && nfds <= PACKET_FDS_MAX);
    if (nfds > 0) {
        struct cmsghdr *c;

        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    /* Who sends no descriptor may have no call that could (tls-front/sandbox.c). */
    do {
        n = nfds > 0 ? sendmsg(fd, &msg, MSG_NOSIGNAL) : send(fd, buf, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len)
        return RC_OK;
    /* ETOOMANYREFS: descriptors in flight pile up because the peer does not read. */
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS))
        return RC_AGAIN;
    return n < 0 && (errno == EPIPE || errno == ECONNRESET) ? RC_CLOSED : RC_IO;
}

enum rc packet_read(int fd, void *buf, size_t size, size_t *len, int *fds, size_t *nfds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    size_t got = 0;
    ssize_t n;

    do {
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? RC_AGAIN : errno == ECONNRESET ? RC_CLOSED : RC_IO;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        CHECK(got + k <= PACKET_FDS_MAX); /* the kernel filled no more than the space */
        memcpy(fds + got, CMSG_DATA(c), k * sizeof(int));
        got += k;
    }
    if (n == 0 || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        close_fds(fds, got);
        return n == 0 ? RC_CLOSED : RC_MALFORMED;
    }
    *len = (size_t)n;
    *nfds = got;
    return RC_OK;
}

/*----- on a loop -----*/

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct packet *p)
{
    int events = UV_READABLE | (p->first ? UV_WRITABLE : 0);

    CHECK(uv_poll_start(&p->poll, events, on_poll) == 0);
}

static void free_first(struct packet *p)
{
    struct packet_queued *q = p->first;

    p->first = q->next;
    if (!p->first)
        p->last = &p->first;
    p->queued--;
    close_fds(q->fds, q->nfds);
    secret_wipe(q->buf, q->len); /* some messages hold one */
    free(q);
}

enum rc packet_open(struct packet *p, uv_loop_t *loop, int fd, const struct packet_ops *ops,
                    void *data)
{
    *p = (struct packet){.data = data, .ops = ops, .fd = fd, .last = &p->first};
    /* uv_poll_init() makes the descriptor non-blocking. */
    if (uv_poll_init(loop, &p->poll, fd) != 0) {
        close(fd);
        return RC_IO;
    }
    watch(p);
    return RC_OK;
}

static void lost(struct packet *p, enum rc why)
{
    if (p->lost || p->closing)
        return;
    p->lost = true;
    uv_poll_stop(&p->poll);
    p->ops->on_lost(p, why); /* p may be closing now: last */
}

static enum rc enqueue(struct packet *p, const void *buf, size_t len, const int *fds, size_t nfds)
{
    struct packet_queued *q;

    if (p->queued == PACKET_QUEUE_MAX)
        return RC_FULL;
    q = malloc(sizeof *q + len);
    if (!q)
        return RC_NOMEM;
    *q = (struct packet_queued){.len = len};
    memcpy(q->buf, buf, len);
    for (; q->nfds < nfds; q->nfds++) {
        q->fds[q->nfds] = fcntl(fds[q->nfds], F_DUPFD_CLOEXEC, 0);
        if (q->fds[q->nfds] < 0) {
            close_fds(q->fds, q->nfds);
            free(q);
            return RC_IO;
        }
    }
    *p->last = q;
    p->last = &q->next;
    p->queued++;
    watch(p);
    return RC_OK;
}

enum rc packet_send(struct packet *p, const void *buf, size_t len, const int *fds, size_t nfds)
{
    enum rc rc = RC_AGAIN;

    if (p->closing || p->lost)
        return RC_CLOSED;
    if (!p->first)
        rc = packet_write(p->fd, buf, len, fds, nfds);
    /* A dead peer is told by on_poll, when what it sent before has been read. */
    return rc == RC_AGAIN ? enqueue(p, buf, len, fds, nfds) : rc;
}

static bool flush(struct packet *p)
{
    while (p->first) {
        struct packet_queued *q = p->first;
        enum rc rc = packet_write(p->fd, q->buf, q->len, q->fds, q->nfds);

        if (rc == RC_AGAIN)
            break;
        if (rc) {
            lost(p, rc);
            return false;
        }
        free_first(p);
    }
    watch(p);
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct packet *p = CONTAINER_OF(poll, struct packet, poll);
    uint8_t buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;
    enum rc rc;

    if (status < 0) {
        lost(p, RC_IO);
        return;
    }
    for (int i = 0; i < MESSAGES_PER_WAKE && events & UV_READABLE; i++) {
        rc = packet_read(p->fd, buf, sizeof buf, &len, fds, &nfds);
        if (rc == RC_AGAIN)
            break;
        if (rc) {
            lost(p, rc);
            return;
        }
        p->ops->on_message(p, buf, len, fds, nfds);
        secret_wipe(buf, len);
        close_fds(fds, nfds);
        if (p->closing)
            return;
    }
    if (events & UV_WRITABLE)
        flush(p);
}

static void on_close(uv_handle_t *handle)
{
    struct packet *p = CONTAINER_OF(handle, struct packet, poll);

    p->ops->on_closed(p); /* p may be freed: last */
}

void packet_close(struct packet *p)
{
    if (p->closing)
        return;
    p->closing = true;
    while (p->first)
        free_first(p);
    uv_close((uv_handle_t *)&p->poll, on_close);
    close(p->fd); /* libuv is done with it */
    p->fd = -1;
}
