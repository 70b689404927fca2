#include "tenant-runtime/runtime/lease.h"

#include "common/core/container_of.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/control.h"
#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/timer.h"

static struct lease {
    uint32_t id; /* 0: free */
    struct timer timer;
} leases[LIMIT_LEASES];
static uint32_t last_id;
static unsigned count;

static void end(struct lease *l)
{
    timer_stop(&l->timer);
    l->id = 0;
    count--;
    control_busy_changed();
}

static void on_deadline(struct timer *t)
{
    end(CONTAINER_OF(t, struct lease, timer));
}

uint32_t lease_take(uint64_t ms)
{
    uint64_t now = rk_now_ns();
    struct lease *l = leases;

    if (count == LIMIT_LEASES)
        return 0;
    while (l->id)
        l++;
    if (++last_id == 0)
        last_id = 1;
    l->id = last_id;
    l->timer.fire = on_deadline;
    if (ms > (TIMER_NEVER - 1 - now) / TIMER_MS)
        ms = (TIMER_NEVER - 1 - now) / TIMER_MS;
    timer_set(&l->timer, now + ms * TIMER_MS);
    count++;
    control_busy_changed();
    return l->id;
}

void lease_end(uint32_t id)
{
    for (struct lease *l = leases; id && l < leases + LIMIT_LEASES; l++) {
        if (l->id == id) {
            end(l);
            return;
        }
    }
}

unsigned lease_count(void)
{
    return count;
}

uint64_t lease_left_ms(void)
{
    uint64_t now = rk_now_ns(), last = 0;

    for (struct lease *l = leases; l < leases + LIMIT_LEASES; l++)
        if (l->id && l->timer.at_ns > last)
            last = l->timer.at_ns;
    /* Rounded up: what is held is never 0. */
    return count == 0 ? 0 : last > now ? (last - now + TIMER_MS - 1) / TIMER_MS : 1;
}
