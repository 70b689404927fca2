/* The channels of an instance: vchans whose server is this domain, and whose client is
 * domain 0.  schema/wire/ring.md has their layout, common/core/launch.h their nodes.
 *
 * The happy path: the app maps a channel, which is made at that moment: memory, grants, a
 * port, the two nodes.  The control channel, mapped last, also waits for xenstored to have
 * taken all of it, and says on the console what became of the memory.
 * Failure modes: no memory (0, and the app says so); anything of Xen (stops). */
#include <errno.h>

#include "common/core/launch.h"
#include "common/core/ring.h"
#include "tenant-runtime/ground/kernel/xen.h"

#define CONTROL         0 /* the worker's channel i is 1 + i */
#define PUBLISH_WAIT_NS 30000000000ull

static struct {
    uint64_t at; /* 0: not made yet */
    uint32_t port;
} channels[1 + LAUNCH_CHANNELS_MAX];
static struct xen_ports doorbell;

/*----- how large -----*/

static unsigned smaller(unsigned order, unsigned by)
{
    return order < RING_ORDER_MIN + by ? RING_ORDER_MIN : order - by;
}

static uint64_t bytes(unsigned left, unsigned right)
{
    return RING_PAGE_SIZE + (1ull << left) + (1ull << right);
}

static uint64_t bytes_of_all(unsigned by)
{
    return bytes(LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER) +
           launch_channels() *
               bytes(smaller(LAUNCH_LEFT_ORDER, by), smaller(LAUNCH_RIGHT_ORDER, by));
}

/* By how much the workers' orders are less, for all channels to take at most an eighth of the
 * memory, or as little as there is. */
static unsigned shrink(void)
{
    unsigned by = 0;

    while (bytes_of_all(by) > memory_given() / 8 &&
           smaller(LAUNCH_RIGHT_ORDER, by) > RING_ORDER_MIN)
        by++;
    return by;
}

static unsigned left_order(unsigned slot)
{
    return slot == CONTROL ? LAUNCH_CONTROL_ORDER : smaller(LAUNCH_LEFT_ORDER, shrink());
}

static unsigned right_order(unsigned slot)
{
    return slot == CONTROL ? LAUNCH_CONTROL_ORDER : smaller(LAUNCH_RIGHT_ORDER, shrink());
}

static uint64_t length(unsigned slot)
{
    return bytes(left_order(slot), right_order(slot));
}

/*----- how they are made -----*/

/* What ring_format() does, which is the app's, and the grants of both rings. */
static void format(unsigned slot)
{
    uint64_t at = channels[slot].at, n = length(slot) / PAGE_SIZE;
    struct ring_page *page = (struct ring_page *)(uintptr_t)at;

    page->left_order = (uint16_t)left_order(slot);
    page->right_order = (uint16_t)right_order(slot);
    for (uint64_t i = 1; i < n; i++)
        page->grants[i - 1] = xen_grant(at + i * PAGE_SIZE);
    page->cli_live = RING_WAITING;
    page->srv_live = RING_CONNECTED;
    page->cli_notify = RING_NOTIFY_WRITE;
    page->srv_notify = RING_NOTIFY_WRITE;
}

static void publish_number(const char *folder, const char *name, uint64_t number)
{
    char path[64], value[TEXT_NUMBER_MAX];

    text_add(text_add(text_add(path, folder), "/"), name);
    text_number(value, number);
    xen_store_write(path, value);
}

static void publish(unsigned slot)
{
    char folder[sizeof LAUNCH_NODE_CHANNELS + TEXT_NUMBER_MAX];

    if (slot == CONTROL)
        text_add(folder, LAUNCH_NODE_CONTROL);
    else
        text_number(text_add(folder, LAUNCH_NODE_CHANNELS "/"), slot - 1);
    publish_number(folder, LAUNCH_NODE_REF, xen_grant(channels[slot].at));
    publish_number(folder, LAUNCH_NODE_PORT, channels[slot].port);
}

static void show_memory(void)
{
    console_text("roomkey: xen: ");
    console_number(memory_given() / 1024);
    console_text(" KiB given, image ");
    console_number((uint64_t)(image_end - image_start) / 1024);
    console_text(" KiB, channels ");
    console_number(bytes_of_all(shrink()) / 1024);
    console_text(" KiB, free ");
    console_number(memory_free() / 1024);
    console_text(" KiB\n");
}

static bool make(unsigned slot)
{
    channels[slot].at = memory_map_for_good(length(slot));
    if (!channels[slot].at)
        return false;
    channels[slot].port = xen_event_open();
    xen_event_add(&doorbell, channels[slot].port);
    format(slot);
    publish(slot);
    if (slot == CONTROL) {
        if (!xen_store_settle(xen_now() + PUBLISH_WAIT_NS))
            kernel_stop("xenstore does not take the channels' nodes, below " LAUNCH_NODE_CHANNELS);
        show_memory();
    }
    return true;
}

/*----- what the app does with them -----*/

int64_t xen_channel_map(int index, uint64_t len)
{
    unsigned slot = (unsigned)(1 + index);

    if (slot > launch_channels())
        return -EBADF;
    if (len > length(slot))
        return -EINVAL;
    if (!channels[slot].at && !make(slot))
        return -ENOMEM;
    return (int64_t)channels[slot].at;
}

bool xen_channel_is_at(uint64_t at, uint64_t len)
{
    for (unsigned slot = 0; slot <= launch_channels(); slot++)
        if (channels[slot].at && at >= channels[slot].at && at - channels[slot].at < length(slot) &&
            len <= length(slot) - (at - channels[slot].at))
            return true;
    return false;
}

bool xen_channel_ring(int index)
{
    unsigned slot = (unsigned)(1 + index);

    if (slot > launch_channels() || !channels[slot].at)
        return false;
    xen_event_send(channels[slot].port);
    return true;
}

bool xen_channel_rung(void)
{
    return xen_event_take(&doorbell);
}

static bool wait(const struct xen_ports *ports, uint64_t ns)
{
    uint64_t now = xen_now(), until = ns < UINT64_MAX - now ? now + ns : UINT64_MAX;

    while (!xen_event_pending(ports)) {
        if (until != UINT64_MAX && xen_now() >= until)
            return false;
        xen_event_wait(ports, until);
    }
    return true;
}

bool xen_channel_wait(uint64_t ns)
{
    return wait(&doorbell, ns);
}

void xen_sleep(uint64_t ns)
{
    static const struct xen_ports none;

    wait(&none, ns);
}
