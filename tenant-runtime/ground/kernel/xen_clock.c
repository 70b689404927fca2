/* Xen's clock: nanoseconds since Xen booted, from the processor's time stamp counter
 * and what Xen last said of it; and the wall clock that domain 0 has set.
 *
 * Xen makes a version odd while it writes; what was read under an odd one, or under
 * two different ones, is read again. */
#include "tenant-runtime/ground/kernel/xen.h"

#define NS_PER_S 1000000000ull

static uint32_t version_begin(const volatile uint32_t *version)
{
    uint32_t v;

    while ((v = __atomic_load_n(version, __ATOMIC_ACQUIRE)) & 1)
        __asm__ volatile("pause");
    return v;
}

static bool version_changed(const volatile uint32_t *version, uint32_t v)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(version, __ATOMIC_RELAXED) != v;
}

static uint64_t duration(const struct xen_time *t, uint64_t ticks)
{
    ticks = t->shift < 0 ? ticks >> -t->shift : ticks << t->shift;
    return (uint64_t)((unsigned __int128)ticks * t->multiplier >> 32);
}

uint64_t xen_clock_at(uint64_t tsc)
{
    const struct xen_time *shared = &xen_shared->vcpu[0].time;
    struct xen_time t;
    uint32_t version;
    int64_t since;

    do {
        version = version_begin(&shared->version);
        t = *(const volatile struct xen_time *)shared;
    } while (version_changed(&shared->version, version));
    /* Either may be the later one.  A domain's counter begins at 0 when it is made, and what
     * Xen said before that is of a count below 0: of the counts only the difference has a sign. */
    since = (int64_t)(tsc - t.tsc);
    return since >= 0 ? t.ns + duration(&t, (uint64_t)since)
                      : t.ns - duration(&t, -(uint64_t)since);
}

uint64_t xen_now(void)
{
    return xen_clock_at(cpu_tsc());
}

uint64_t xen_clock_began(void)
{
    const volatile struct xen_shared *shared = xen_shared;
    uint64_t s, ns;
    uint32_t version;

    do {
        version = version_begin(&shared->wall_version);
        s = (uint64_t)shared->wall_s_high << 32 | shared->wall_s;
        ns = shared->wall_ns;
    } while (version_changed(&shared->wall_version, version));
    return s * NS_PER_S + ns;
}
