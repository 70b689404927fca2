/* The kernel of a tenant that lies to the host, for tests/xen/test_vandals.py: it takes the place
 * of tenant-runtime/ground/kernel/xen_channel.c, which it consists of, but for what becomes of the
 * nodes in xenstore, of the grants and of the domain itself.
 *
 * The tenant's name says which lie, one of lies[]; with another name it is honest.  Lies in the
 * channels' pages are told right before the control channel's nodes are written, so that roomkeyd
 * cannot have looked yet; those about the domain's life right after. */
#include "tenant-runtime/ground/kernel/xen.h"

#include "common/core/launch.h"

static void lie_write(const char *path, const char *value);
static bool lie_settle(uint64_t until);
#define xen_store_write  lie_write
#define xen_store_settle lie_settle
#include "tenant-runtime/ground/kernel/xen_channel.c"
#undef xen_store_write
#undef xen_store_settle

#define NODES      1200 /* more than xenstored gives a domain */
#define REWRITINGS 3000
#define VALUE_MAX  1800 /* a node's value has at most 2048 bytes */

/* xen/sched.h */
enum { POWEROFF = 0, REBOOT = 1, SUSPEND = 2, CRASH = 3, WATCHDOG = 4, SOFT_RESET = 5 };
#define XEN_GRANT_READ_ONLY 4u /* xen/grant_table.h, GTF_readonly */
#define XEN_MEMORY_DECREASE 1  /* XENMEM_decrease_reservation */
struct reservation {
    const uint64_t *pages;
    uint64_t count;
    uint32_t order, flags;
    uint16_t domid, pad[3];
};

static char line[1024];

static bool lies(const char *what)
{
    static const char key[] = LAUNCH_ARG_TENANT;

    if (!line[0] && xen_store_read(LAUNCH_NODE_WORDS, line, sizeof line) < 0)
        kernel_stop("no words");
    return text_begins(line, key) && text_begins(line + sizeof key - 1, what) &&
           line[sizeof key - 1 + text_length(what)] == ' ';
}

/*----- in the channels' pages, and in the grants -----*/

static struct ring_page *page_of(unsigned slot)
{
    return (struct ring_page *)(uintptr_t)channels[slot].at;
}

static void give_back(uint64_t at)
{
    const uint64_t page = at / PAGE_SIZE;
    struct reservation r = {.pages = &page, .count = 1, .domid = XEN_DOMID_SELF};

    if (xen_call(XEN_CALL_MEMORY, XEN_MEMORY_DECREASE, (uint64_t)(uintptr_t)&r, 0) != 1)
        kernel_stop("Xen does not take a page back");
}

static void revoke(uint32_t ref)
{
    atomic_store(&((struct xen_grant *)XEN_GRANTS_AT)[ref].flags, 0);
}

/* It can still be copied from. */
static void grant_reading(uint32_t ref)
{
    atomic_store(&((struct xen_grant *)XEN_GRANTS_AT)[ref].flags,
                 XEN_GRANT_ACCESS | XEN_GRANT_READ_ONLY);
}

static void lie_in_pages(void)
{
    struct ring_page *control = page_of(CONTROL), *worker = page_of(1);

    if (lies("wild-grant"))
        control->grants[1] = 0xffffffff;
    if (lies("wild-worker-grant"))
        worker->grants[3] = 0x7fffffff;
    if (lies("store-as-ring"))
        control->grants[0] = 1; /* the tool stack's: xenstore's page */
    if (lies("shared-ring"))
        worker->grants[0] = control->grants[0];
    if (lies("wild-order"))
        control->left_order = 0xffff;
    if (lies("revoked-grant"))
        revoke(control->grants[0]);
    if (lies("read-only-grant"))
        grant_reading(control->grants[0]);
    if (lies("read-only-worker-grant"))
        grant_reading(worker->grants[3]);
    if (lies("given-back-page"))
        give_back(channels[CONTROL].at + PAGE_SIZE);
}

/*----- in xenstore -----*/

static void write_numbered(const char *folder, unsigned n)
{
    char path[64];

    text_number(text_add(path, folder), n);
    xen_store_write(path, "x");
}

static void write_long(const char *path)
{
    static char value[VALUE_MAX + 1];

    for (unsigned i = 0; i < VALUE_MAX; i++)
        value[i] = '7';
    /* Not through the ring's 1024 bytes: by many short ones xenstored is no worse off. */
    value[900] = '\0';
    xen_store_write(path, value);
}

static bool is(const char *path, const char *folder, const char *name)
{
    char whole[64];

    text_add(text_add(text_add(whole, folder), "/"), name);
    return text_is(path, whole);
}

static void lie_write(const char *path, const char *value)
{
    const bool ref = is(path, LAUNCH_NODE_CONTROL, LAUNCH_NODE_REF);
    const bool port = is(path, LAUNCH_NODE_CONTROL, LAUNCH_NODE_PORT);
    const bool worker_port = is(path, LAUNCH_NODE_CHANNELS "/0", LAUNCH_NODE_PORT);

    if (ref)
        lie_in_pages();
    if (ref && lies("many-nodes"))
        for (unsigned n = 0; n < NODES; n++)
            write_numbered("data/many/", n);
    if (port && lies("garbage-port"))
        value = "0x7 and so on";
    else if (port && lies("negative-port"))
        value = "-1";
    else if (port && lies("wild-port"))
        value = "4294967295";
    else if (port && lies("store-port"))
        value = "1";
    else if (worker_port && lies("wild-worker-port"))
        value = "4000";
    else if (ref && lies("wild-ref"))
        value = "4294967295";
    else if (ref && lies("console-ref"))
        value = "0";
    else if (ref && lies("store-ref"))
        value = "1";
    if (port && lies("long-port"))
        write_long(path);
    else if (port && lies("rewritten-port"))
        for (unsigned n = 0; n < REWRITINGS; n++)
            xen_store_write(path, n % 2 ? "nonsense" : "");
    else if (!(worker_port && lies("no-worker-port")))
        xen_store_write(path, value);
    if (port && lies("port-below"))
        write_numbered(LAUNCH_NODE_CONTROL "/" LAUNCH_NODE_PORT "/", 7);
}

/*----- about its life -----*/

static void shut_down(uint32_t reason)
{
    xen_call(XEN_CALL_SCHED, XEN_SCHED_SHUTDOWN, (uint64_t)(uintptr_t)&reason, 0);
}

static bool lie_settle(uint64_t until)
{
    bool settled = xen_store_settle(until);

    if (lies("reboots"))
        shut_down(REBOOT);
    if (lies("suspends"))
        shut_down(SUSPEND);
    if (lies("crashes"))
        shut_down(CRASH);
    if (lies("watchdog"))
        shut_down(WATCHDOG);
    if (lies("soft-reset"))
        shut_down(SOFT_RESET);
    if (lies("wild-reason"))
        shut_down(200);
    if (lies("bad-exit")) {
        xen_store_write(LAUNCH_NODE_EXIT, "-0x99999999999999999999");
        xen_store_settle(until);
        shut_down(CRASH);
    }
    while (lies("babbles"))
        console_text("\x1b[2J\x07 babble babble babble babble babble \xff\xfe babble\n");
    while (lies("rings-all"))
        for (unsigned slot = 0; slot <= launch_channels(); slot++)
            if (channels[slot].at)
                xen_event_send(channels[slot].port);
    while (lies("writes-for-ever")) {
        xen_store_write("data/again", "x");
        xen_store_write(LAUNCH_NODE_CONTROL "/" LAUNCH_NODE_PORT, "nonsense");
    }
    return settled;
}
