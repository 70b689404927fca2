/* Event channels: ports that are rung, looked at, and slept on.
 *
 * Every port is masked for good, so that nothing ever interrupts the kernel; a bit of
 * the shared page says what is pending, and sleeping is a poll in the hypervisor,
 * which takes no processor.  No wake-up is lost: the poll returns at once when a bit is
 * set, and whoever takes a bit looks at what it stands for afterwards. */
#include "tenant-runtime/ground/kernel/xen.h"

uint32_t xen_event_open(void)
{
    struct xen_event_open open = {.domid = XEN_DOMID_SELF, .peer = 0};

    if (xen_call(XEN_CALL_EVENT, XEN_EVENT_OPEN, (uint64_t)(uintptr_t)&open, 0) < 0)
        kernel_stop("Xen gives this domain no more event channels");
    return open.port;
}

void xen_event_send(uint32_t port)
{
    /* A peer that is not there any more hears nothing: no error. */
    xen_call(XEN_CALL_EVENT, XEN_EVENT_SEND, (uint64_t)(uintptr_t)&port, 0);
}

void xen_event_add(struct xen_ports *set, uint32_t port)
{
    if (port >= XEN_PORTS_MAX || set->count == XEN_PORTS_MAX)
        kernel_stop("Xen gave this domain an event channel of too high a number");
    set->list[set->count++] = port;
    set->bits[port / 64] |= 1ull << port % 64;
}

bool xen_event_pending(const struct xen_ports *set)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < XEN_PORTS_MAX / 64; i++)
        any |= xen_shared->pending[i] & set->bits[i];
    return any;
}

bool xen_event_take(const struct xen_ports *set)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < XEN_PORTS_MAX / 64; i++)
        if (set->bits[i])
            any |= atomic_fetch_and(&xen_shared->pending[i], ~set->bits[i]) & set->bits[i];
    return any;
}

void xen_event_wait(const struct xen_ports *set, uint64_t until)
{
    struct xen_poll poll = {
        .ports = set->list, .count = set->count, .until = until == UINT64_MAX ? 0 : until};

    if (xen_call(XEN_CALL_SCHED, XEN_SCHED_POLL, (uint64_t)(uintptr_t)&poll, 0) < 0)
        kernel_stop("Xen does not let this domain wait");
}

bool xen_event_await(const struct xen_ports *set, bool (*there)(void), uint64_t until)
{
    for (;;) {
        xen_event_take(set);
        if (there())
            return true;
        if (xen_now() >= until)
            return false;
        xen_event_wait(set, until);
    }
}
