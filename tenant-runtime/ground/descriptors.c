/* The grounds as an app sees them: one world, the descriptors of common/core/launch.h.
 * Linux has them from the sandbox, Xen from ground/kernel/, and pvh has none.
 *
 * The happy path: open() maps each channel's memory; ring() writes to a peer's
 * doorbell; wait() sleeps in ppoll on ours and takes what was rung.
 * Failure modes: a descriptor that is not there or is no memory (RC_IO), memory
 * that is not laid out as a channel (RC_MALFORMED), no room for it (RC_NOMEM), a
 * ground without channels (RC_UNSUPPORTED).
 * Only calls of common/core/image_calls.h are made: there is no fstat, so a
 * channel's length is learnt from its own first page. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/launch.h"
#include "common/core/ring.h"
#include "tenant-runtime/ground/ground.h"

#define NS_PER_S 1000000000u

/* The control channel, then the workers'. */
static struct ground_channel channels[1 + LAUNCH_CHANNELS_MAX];
static unsigned channels_open;

static int memory_fd(int index)
{
    return index == GROUND_CONTROL ? LAUNCH_FD_CONTROL_MEMORY : LAUNCH_FD_CHANNEL_MEMORY(index);
}

static int doorbell_fd(int index)
{
    return index == GROUND_CONTROL ? LAUNCH_FD_CONTROL_DOORBELL : LAUNCH_FD_CHANNEL_DOORBELL(index);
}

static enum rc map(int fd, size_t len, void **out)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED)
        return errno == ENOMEM ? RC_NOMEM : errno == ENOSYS ? RC_UNSUPPORTED : RC_IO;
    *out = p;
    return RC_OK;
}

static enum rc map_channel(int index)
{
    struct ground_channel *c = &channels[1 + index];
    const struct ring_page *page;
    void *p;
    uint16_t left, right;
    enum rc rc;

    rc = map(memory_fd(index), RING_PAGE_SIZE, &p);
    if (rc)
        return rc;
    page = p;
    left = page->left_order;
    right = page->right_order;
    munmap(p, RING_PAGE_SIZE);
    if (left < RING_ORDER_MIN || left > RING_ORDER_MAX || right < RING_ORDER_MIN ||
        right > RING_ORDER_MAX)
        return RC_MALFORMED;

    c->len = ring_bytes(left, right);
    return map(memory_fd(index), c->len, &c->memory);
}

static enum rc open_channels(unsigned n)
{
    sigset_t all;
    enum rc rc;

    if (n > LAUNCH_CHANNELS_MAX)
        return RC_INVAL;
    /* The console's reader may be gone for a while: that is no reason to die. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);

    for (int i = 0; i < (int)n; i++) {
        rc = map_channel(i);
        if (rc)
            return rc;
    }
    /* Last: on Xen a channel is made by being mapped, and who sees this one looks for the
     * others. */
    rc = map_channel(GROUND_CONTROL);
    if (rc)
        return rc;
    channels_open = n;
    return RC_OK;
}

static struct ground_channel channel(int index)
{
    CHECK(index >= GROUND_CONTROL && index < (int)channels_open);
    return channels[1 + index];
}

static void ring(int index)
{
    const uint64_t one = 1;

    CHECK(index >= GROUND_CONTROL && index < (int)channels_open);
    /* A full counter means that it was rung already. */
    if (write(doorbell_fd(index), &one, sizeof one) < 0)
        CHECK(errno == EAGAIN);
}

static void wait_for_doorbell(uint64_t deadline_ns)
{
    struct pollfd doorbell = {.fd = LAUNCH_FD_DOORBELL, .events = POLLIN};
    struct timespec now, left, *timeout = NULL;
    uint64_t rung;
    int ready;

    if (deadline_ns != UINT64_MAX) {
        uint64_t now_ns, left_ns;

        clock_gettime(CLOCK_MONOTONIC, &now);
        now_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
        left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        left.tv_sec = (time_t)(left_ns / NS_PER_S);
        left.tv_nsec = (long)(left_ns % NS_PER_S);
        timeout = &left;
    }
    ready = ppoll(&doorbell, 1, timeout, NULL);
    CHECK(ready >= 0 || errno == EINTR);
    if (ready == 1) {
        ssize_t n = read(LAUNCH_FD_DOORBELL, &rung, sizeof rung);

        CHECK(doorbell.revents == POLLIN); /* or there is none, and this would spin */
        CHECK(n == sizeof rung || errno == EAGAIN);
    }
}

static __attribute__((noreturn)) void finish(int status)
{
    _exit(status);
}

#define GROUND(text, from_entry)                                                    \
    {                                                                               \
        .name = (text), .clock_from_entry = (from_entry), .open = open_channels,    \
        .channel = channel, .ring = ring, .wait = wait_for_doorbell, .exit = finish \
    }
const struct ground ground_linux = GROUND("linux", false);
const struct ground ground_pvh = GROUND("pvh", true);
const struct ground ground_xen = GROUND("xen", true);
