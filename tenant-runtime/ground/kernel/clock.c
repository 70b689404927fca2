/* Time, which begins at the kernel's first instruction: by Xen's clock, which also has
 * the time of day, or by the processor's time stamp counter alone.
 *
 * The counter's rate is what the processor says (CPUID 0x15, exact), what the hypervisor
 * says (0x40000010, to 1 kHz), what the processor's base clock is (0x16, to
 * 1 MHz), or what the PIT, where there is one, measures in 5 ms (to about 0.1 %):
 * the first of these that there is.  Without any it is taken for 1 GHz and the
 * console says so: durations are then wrong by a constant factor. */
#include "tenant-runtime/ground/kernel/kernel.h"

#define NS_PER_S    1000000000ull
#define PIT_HZ      1193182u
#define PIT_TICKS   (PIT_HZ / 200) /* 5 ms */
#define PIT_COUNTER 0x40
#define PIT_MODE    0x43
#define PIT_READS   100000 /* a read takes about 1 us */

static uint64_t start;       /* of Xen's clock, or of the counter */
static uint64_t ns_per_tick; /* in units of 2^-32 ns */

static uint64_t rate_by_cpuid(void)
{
    uint32_t id[4];

    if (cpu_id(0x15, 0, id) && id[0] && id[1] && id[2])
        return (uint64_t)id[2] * id[1] / id[0];
    if (cpu_id(0x40000010, 0, id) && id[0])
        return id[0] * 1000ull;
    if (cpu_id(0x16, 0, id) && (id[0] & 0xffff))
        return (id[0] & 0xffff) * 1000000ull;
    return 0;
}

static uint32_t pit_read(void)
{
    uint32_t low;

    cpu_out8(PIT_MODE, 0x00); /* holds counter 0 still, to be read in two bytes */
    low = cpu_in8(PIT_COUNTER);
    return (uint32_t)cpu_in8(PIT_COUNTER) << 8 | low;
}

static uint64_t rate_by_pit(void)
{
    uint64_t from;
    uint32_t first, gone;

    cpu_out8(PIT_MODE, 0x34); /* counter 0, both bytes, counts down from 65536 again and again */
    cpu_out8(PIT_COUNTER, 0);
    cpu_out8(PIT_COUNTER, 0);
    first = pit_read();
    from = cpu_tsc();
    for (unsigned i = 0; i < PIT_READS; i++) {
        gone = (first - pit_read()) & 0xffff;
        if (gone >= PIT_TICKS)
            return (cpu_tsc() - from) * PIT_HZ / gone;
    }
    return 0; /* there is none, or it stands still */
}

static void init_counter(uint64_t entered)
{
    uint64_t hz = rate_by_cpuid();

    if (!hz)
        hz = rate_by_pit();
    if (hz < 1000000) {
        console_text("roomkey: clock: nothing tells the rate of time: durations are guesses\n");
        hz = NS_PER_S;
    }
    ns_per_tick = (NS_PER_S << 32) / hz;
    start = entered;
}

void clock_init(uint64_t entered)
{
    if (xen_present())
        start = xen_clock_at(entered);
    else
        init_counter(entered);
}

uint64_t clock_now_ns(void)
{
    static uint64_t last;
    uint64_t now, tsc = cpu_tsc();

    if (xen_present())
        now = xen_clock_at(tsc) - start;
    else
        now = (uint64_t)((unsigned __int128)(tsc - start) * ns_per_tick >> 32);
    if ((int64_t)(now - last) > 0) /* or a clock has gone back: it stands still then */
        last = now;
    return last;
}

uint64_t clock_wall_ns(void)
{
    return xen_present() ? xen_clock_began() + xen_clock_at(cpu_tsc()) : clock_now_ns();
}
