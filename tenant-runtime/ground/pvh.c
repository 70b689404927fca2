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

/* open() said that there are none. */
static struct ground_channel pvh_channel(int index)
{
    CHECK(index < GROUND_CONTROL);
    return (struct ground_channel){0};
}

static void pvh_ring(int index)
{
    CHECK(index < GROUND_CONTROL);
}

static void pvh_wait(uint64_t deadline_ns)
{
    (void)deadline_ns;
    CHECK(ground != &ground_pvh);
}

static __attribute__((noreturn)) void pvh_exit(int status)
{
    _exit(status);
}

const struct ground ground_pvh = {
    .name = "pvh",
    .open = pvh_open,
    .channel = pvh_channel,
    .ring = pvh_ring,
    .wait = pvh_wait,
    .exit = pvh_exit,
};
