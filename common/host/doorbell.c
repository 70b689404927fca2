#include "common/host/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

typedef uint16_t domid_t; /* which the kernel's header uses and does not define */
#include <xen/evtchn.h>

const unsigned long doorbell_xen_ioctl = IOCTL_EVTCHN_NOTIFY;

static bool unblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

enum rc doorbell_prepare(const struct doorbell *d)
{
    return unblock(d->out_fd) && unblock(d->in_fd) ? RC_OK : RC_IO;
}

bool doorbell_ring(const struct doorbell *d)
{
    struct ioctl_evtchn_notify notify = {.port = d->port};
    const uint64_t one = 1;

    if (d->port)
        return ioctl(d->out_fd, IOCTL_EVTCHN_NOTIFY, &notify) == 0;
    /* Full means that it has been rung and not answered yet. */
    return write(d->out_fd, &one, sizeof one) == sizeof one || errno == EAGAIN;
}

bool doorbell_take(const struct doorbell *d)
{
    uint64_t count;
    uint32_t port;

    if (!d->port)
        return read(d->in_fd, &count, sizeof count) == sizeof count || errno == EAGAIN;
    /* A port that rang is masked until it is written back. */
    if (read(d->in_fd, &port, sizeof port) != sizeof port)
        return errno == EAGAIN;
    return write(d->in_fd, &port, sizeof port) == sizeof port;
}

enum rc doorbell_dup(const struct doorbell *d, struct doorbell *out)
{
    struct doorbell copy = {.port = d->port};

    copy.out_fd = fcntl(d->out_fd, F_DUPFD_CLOEXEC, 0);
    copy.in_fd = fcntl(d->in_fd, F_DUPFD_CLOEXEC, 0);
    if (copy.out_fd < 0 || copy.in_fd < 0) {
        enum rc rc = errno == EMFILE ? RC_FULL : RC_IO;

        doorbell_close(&copy);
        return rc;
    }
    *out = copy;
    return RC_OK;
}
