/* System calls: common/core/image_calls.h, answered, with the descriptors of
 * common/core/launch.h.
 *
 * Every address comes from the app and is checked against what the app itself may
 * touch (EFAULT), so that it cannot have the kernel write where it may not. */
#include <errno.h>

#include "common/core/image_calls.h"
#include "common/core/launch.h"
#include "tenant-runtime/ground/kernel/kernel.h"

#define NS_PER_S         1000000000ull
#define IOV_MAX          1024
#define LINUX_PROT_READ  1u
#define LINUX_PROT_WRITE 2u
#define MAP_SHARED_BIT   0x01u
#define MAP_FIXED_BIT    0x10u
#define MAP_ANON_BIT     0x20u
#define ADVISE_DONTNEED  4
#define ADVISE_FREE      8
#define CLOCK_LAST       7 /* CLOCK_BOOTTIME */
#define POLL_IN          0x001
#define SIGNAL_SET       8 /* bytes */

struct vector {
    uint64_t base, len;
};

struct duration {
    int64_t s, ns;
};

struct poll {
    int32_t fd;
    int16_t events, got;
};

static bool may_read(uint64_t p, uint64_t len)
{
    return memory_allows(p, len, false);
}

static bool may_write(uint64_t p, uint64_t len)
{
    return memory_allows(p, len, true);
}

/*----- console and doorbells -----*/

static int64_t call_read(const uint64_t *arg)
{
    uint64_t *rung = (uint64_t *)(uintptr_t)arg[1];

    if (arg[0] == 0)
        return 0;
    if (arg[0] != LAUNCH_FD_DOORBELL || !xen_present())
        return -EBADF;
    if (arg[2] < sizeof *rung)
        return -EINVAL;
    if (!may_write(arg[1], sizeof *rung))
        return -EFAULT;
    if (!xen_channel_rung())
        return -EAGAIN;
    *rung = 1;
    return sizeof *rung;
}

/* Descriptors from the control channel's on come in pairs: memory, doorbell. */
static int index_of(uint64_t fd)
{
    return (int)(fd - LAUNCH_FD_CONTROL_MEMORY) / 2 - 1;
}

static int64_t ring(const uint64_t *arg)
{
    if (arg[0] > LAUNCH_FD_CHANNEL_DOORBELL(LAUNCH_CHANNELS_MAX) ||
        arg[0] < LAUNCH_FD_CONTROL_DOORBELL || arg[0] % 2 == 0 || !xen_present())
        return -EBADF;
    if (arg[2] != sizeof(uint64_t))
        return -EINVAL;
    return xen_channel_ring(index_of(arg[0])) ? (int64_t)arg[2] : -EBADF;
}

static int64_t call_write(const uint64_t *arg)
{
    if (arg[0] != 1 && arg[0] != 2)
        return ring(arg);
    if (!may_read(arg[1], arg[2]))
        return -EFAULT;
    console_write((const char *)(uintptr_t)arg[1], arg[2]);
    return (int64_t)arg[2];
}

static int64_t call_writev(const uint64_t *arg)
{
    const struct vector *v = (const struct vector *)(uintptr_t)arg[1];
    int64_t total = 0;

    if (arg[2] > IOV_MAX)
        return -EINVAL;
    if (!may_read(arg[1], arg[2] * sizeof *v))
        return -EFAULT;
    for (uint64_t i = 0; i < arg[2]; i++) {
        int64_t n = call_write((const uint64_t[]){arg[0], v[i].base, v[i].len});

        if (n < 0)
            return n;
        total += n;
    }
    return total;
}

/*----- memory -----*/

static enum memory_rights rights(uint64_t prot)
{
    if (prot & LINUX_PROT_WRITE)
        return MEMORY_READ | MEMORY_WRITE;
    return prot & LINUX_PROT_READ ? MEMORY_READ : MEMORY_NONE;
}

/* The memory of a channel, wherever it is: it has one place, however often it is mapped. */
static int64_t map_channel(const uint64_t *arg)
{
    if (!xen_present())
        return -ENOSYS; /* which is how the app learns that there are no channels */
    if (arg[4] > LAUNCH_FD_CHANNEL_MEMORY(LAUNCH_CHANNELS_MAX) ||
        arg[4] < LAUNCH_FD_CONTROL_MEMORY || arg[4] % 2 || arg[3] & MAP_ANON_BIT)
        return -EBADF;
    if (arg[2] != (LINUX_PROT_READ | LINUX_PROT_WRITE) || arg[3] & MAP_FIXED_BIT || arg[5] != 0)
        return -EINVAL;
    return xen_channel_map(index_of(arg[4]), arg[1]);
}

static int64_t call_mmap(const uint64_t *arg)
{
    uint64_t at;

    if (arg[1] == 0)
        return -EINVAL;
    if (arg[3] & MAP_SHARED_BIT)
        return map_channel(arg);
    if (!(arg[3] & MAP_ANON_BIT))
        return -EBADF; /* there is no file */
    if (arg[3] & MAP_FIXED_BIT)
        return memory_map_at(arg[0], arg[1], rights(arg[2])) ? (int64_t)arg[0] : -ENOMEM;
    at = memory_map(arg[1], rights(arg[2]));
    return at ? (int64_t)at : -ENOMEM;
}

static int64_t call_mprotect(const uint64_t *arg)
{
    return memory_protect(arg[0], arg[1], rights(arg[2])) ? 0 : -ENOMEM;
}

static int64_t call_munmap(const uint64_t *arg)
{
    if (xen_present() && xen_channel_is_at(arg[0], arg[1]))
        return 0; /* it stays where it is */
    return memory_unmap(arg[0], arg[1]) ? 0 : -EINVAL;
}

static int64_t call_brk(const uint64_t *arg)
{
    return (int64_t)memory_brk(arg[0]);
}

static int64_t call_madvise(const uint64_t *arg)
{
    if (arg[2] != ADVISE_DONTNEED && arg[2] != ADVISE_FREE)
        return -EINVAL;
    if (arg[0] % PAGE_SIZE || !may_write(arg[0], arg[1]))
        return -ENOMEM;
    memory_zero((void *)(uintptr_t)arg[0], arg[1]);
    return 0;
}

/*----- time and entropy -----*/

static int64_t call_clock_gettime(const uint64_t *arg)
{
    struct duration *out = (struct duration *)(uintptr_t)arg[1];
    uint64_t now;

    if (arg[0] > CLOCK_LAST || arg[0] == 2 || arg[0] == 3) /* those count processor time */
        return -EINVAL;
    if (!may_write(arg[1], sizeof *out))
        return -EFAULT;
    now = arg[0] == 0 || arg[0] == 5 ? clock_wall_ns() : clock_now_ns(); /* 5: coarse */
    *out = (struct duration){(int64_t)(now / NS_PER_S), (int64_t)(now % NS_PER_S)};
    return 0;
}

static void sleep(uint64_t ns)
{
    uint64_t from = clock_now_ns();

    if (xen_present()) {
        xen_sleep(ns);
        return;
    }
    while (clock_now_ns() - from < ns)
        __asm__ volatile("pause");
}

static int64_t await_doorbell(uint64_t at, uint64_t ns)
{
    struct poll *poll = (struct poll *)(uintptr_t)at;

    if (!may_write(at, sizeof *poll))
        return -EFAULT;
    if (poll->fd != LAUNCH_FD_DOORBELL || poll->events != POLL_IN || !xen_present())
        return -EINVAL;
    poll->got = xen_channel_wait(ns) ? POLL_IN : 0;
    return poll->got ? 1 : 0;
}

/* There is nothing to be waited for but time and the doorbell. */
static int64_t call_ppoll(const uint64_t *arg)
{
    const struct duration *timeout = (const struct duration *)(uintptr_t)arg[2];
    uint64_t ns = UINT64_MAX;

    if (arg[1] > 1)
        return -EINVAL;
    if (!timeout && arg[1] == 0)
        kernel_stop("the app waits for ever, and for nothing");
    if (timeout) {
        if (!may_read(arg[2], sizeof *timeout))
            return -EFAULT;
        if (timeout->s < 0 || timeout->ns < 0 || timeout->ns >= (int64_t)NS_PER_S)
            return -EINVAL;
        if ((uint64_t)timeout->s < UINT64_MAX / NS_PER_S)
            ns = (uint64_t)timeout->s * NS_PER_S + (uint64_t)timeout->ns;
    }
    if (arg[1] == 1)
        return await_doorbell(arg[0], ns);
    sleep(ns);
    return 0;
}

static int64_t call_getrandom(const uint64_t *arg)
{
    if (!may_write(arg[0], arg[1]))
        return -EFAULT;
    entropy_fill((void *)(uintptr_t)arg[0], arg[1]);
    return (int64_t)arg[1];
}

/*----- the program -----*/

static int64_t call_arch_prctl(const uint64_t *arg)
{
    if (arg[1] >> 47)
        return -EPERM; /* not canonical: the processor would refuse it, in the kernel */
    cpu_set_thread_pointer(arg[1]);
    return 0;
}

static int64_t call_set_tid_address(const uint64_t *arg)
{
    (void)arg;
    return 1;
}

static int64_t call_rt_sigprocmask(const uint64_t *arg)
{
    if (arg[2] && !may_write(arg[2], SIGNAL_SET))
        return -EFAULT;
    if (arg[2])
        memory_zero((void *)(uintptr_t)arg[2], SIGNAL_SET);
    return 0;
}

static int64_t call_exit(const uint64_t *arg)
{
    kernel_exit((int)(arg[0] & 0xff));
}

static int64_t call_exit_group(const uint64_t *arg)
{
    kernel_exit((int)(arg[0] & 0xff));
}

static void keep_rules(const struct call *call)
{
#define X(name, index, mask, value, why)                                             \
    if (call->number == IMAGE_CALL_##name && (call->arg[index] & (mask)) != (value)) \
        kernel_stop("the app broke a rule of the call " #name ": " why);
    IMAGE_CALL_RULE_MAP(X)
#undef X
}

int64_t kernel_call(const struct call *call)
{
    keep_rules(call);
    switch (call->number) {
#define X(name, number, why) \
    case number:             \
        return call_##name(call->arg);
        IMAGE_CALL_MAP(X)
#undef X
#define X(name, number, error, why) \
    case number:                    \
        return -(error);
        IMAGE_CALL_REFUSED_MAP(X)
#undef X
    default:
        console_text("roomkey: call ");
        console_hex(call->number);
        console_text("\n");
        kernel_stop("the app made a call that is not in the image's list");
    }
}
