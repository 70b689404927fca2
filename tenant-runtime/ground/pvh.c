/* The ground `pvh`, as the app's side sees it: a virtual machine of any VMM that
 * boots by PVH, with a console and a clock but no channel.  What is below its C
 * library is ground/kernel/.
 *
 * A ground with channels (xen) is another file beside this one, and answers
 * open() by calls of its own to the kernel. */
#include <unistd.h>

#include "common/core/check.h"
#include "tenant-runtime/ground/ground.h"

static enum rc pvh_open(unsigned n)
{
    (void)n;
    return RC_UNSUPPORTED;
}

static struct ground_channel pvh_channel(int index)
{
    (void)index;
    CHECK(!"a channel was opened");
    return (struct ground_channel){0};
}

static void pvh_ring(int index)
{
    (void)index;
    CHECK(!"a channel was opened");
}

static void pvh_wait(uint64_t deadline_ns)
{
    (void)deadline_ns;
    CHECK(!"a channel was opened");
}

const struct ground ground_pvh = {
    .name = "pvh",
    .open = pvh_open,
    .channel = pvh_channel,
    .ring = pvh_ring,
    .wait = pvh_wait,
    .exit = _exit,
};
