#include "orchestrator/backend/sandbox/sandbox_channels.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/ring.h"
#include "common/host/fd.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static enum rc from_errno(void)
{
    switch (errno) {
    case ENOMEM:
        return RC_NOMEM;
    case EMFILE:
    case ENFILE:
        return RC_FULL;
    case ESRCH:
    case EBADF:
        return RC_NOT_FOUND;
    case EPERM:
        return RC_DENIED;
    default:
        return RC_IO;
    }
}

static void init(struct sandbox_channels *c, unsigned n)
{
    c->doorbell_fd = -1;
    c->n = n;
    for (unsigned i = 0; i <= n; i++)
        c->at[i] = (struct sandbox_channel){.memory_fd = -1, .client_fd = -1};
}

static enum rc make_one(struct sandbox_channel *ch, unsigned left, unsigned right)
{
    void *page;

    ch->len = ring_bytes(left, right);
    ch->client_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ch->memory_fd = memfd_create("roomkey-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ch->client_fd < 0 || ch->memory_fd < 0 || ftruncate(ch->memory_fd, (off_t)ch->len) ||
        fcntl(ch->memory_fd, F_ADD_SEALS, SEALS))
        return from_errno();
    /* ring_format() writes the first page only. */
    page = mmap(NULL, RING_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ch->memory_fd, 0);
    if (page == MAP_FAILED)
        return from_errno();
    ring_format(page, left, right);
    munmap(page, RING_PAGE_SIZE);
    return RC_OK;
}

enum rc sandbox_channels_make(struct sandbox_channels *c, unsigned n)
{
    enum rc rc;

    CHECK(n <= LAUNCH_CHANNELS_MAX);
    init(c, n);
    c->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = c->doorbell_fd < 0 ? from_errno()
                            : make_one(&c->at[0], LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER);
    for (unsigned i = 1; !rc && i <= n; i++)
        rc = make_one(&c->at[i], LAUNCH_LEFT_ORDER, LAUNCH_RIGHT_ORDER);
    if (rc)
        sandbox_channels_dispose(c);
    return rc;
}

static int take_fd(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
}

static enum rc take_one(struct sandbox_channel *ch, int pidfd, int memory, int doorbell)
{
    struct stat st;
    int seals;

    ch->memory_fd = take_fd(pidfd, memory);
    ch->client_fd = take_fd(pidfd, doorbell);
    if (ch->memory_fd < 0 || ch->client_fd < 0)
        return from_errno();
    /* A file that could shrink would be a SIGBUS in whoever maps it. */
    seals = fcntl(ch->memory_fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(ch->memory_fd, &st) ||
        st.st_size < (off_t)RING_PAGE_SIZE)
        return RC_MALFORMED;
    ch->len = (size_t)st.st_size;
    return RC_OK;
}

enum rc sandbox_channels_take(struct sandbox_channels *c, unsigned n, int pidfd)
{
    enum rc rc;

    CHECK(n <= LAUNCH_CHANNELS_MAX);
    init(c, n);
    c->doorbell_fd = take_fd(pidfd, LAUNCH_FD_DOORBELL);
    rc = c->doorbell_fd < 0
             ? from_errno()
             : take_one(&c->at[0], pidfd, LAUNCH_FD_CONTROL_MEMORY, LAUNCH_FD_CONTROL_DOORBELL);
    for (unsigned i = 0; !rc && i < n; i++)
        rc = take_one(&c->at[1 + i], pidfd, LAUNCH_FD_CHANNEL_MEMORY(i),
                      LAUNCH_FD_CHANNEL_DOORBELL(i));
    if (rc)
        sandbox_channels_dispose(c);
    return rc;
}

uint64_t sandbox_channels_bytes(const struct sandbox_channels *c)
{
    uint64_t n = 0;

    for (unsigned i = 0; i <= c->n; i++)
        n += c->at[i].len;
    return n;
}

void sandbox_channels_dispose(struct sandbox_channels *c)
{
    fd_close(&c->doorbell_fd);
    for (unsigned i = 0; i <= c->n; i++) {
        fd_close(&c->at[i].memory_fd);
        fd_close(&c->at[i].client_fd);
    }
}
