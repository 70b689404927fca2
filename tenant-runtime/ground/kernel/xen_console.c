/* The console as a ring of 2 KiB in a page that xenconsoled reads.
 *
 * A writer waits for room: xenconsoled lets a chatty domain wait for up to a fifth of a
 * second.  After a second it is taken to be dead, and what finds no room is lost until it
 * moves again: a console that nobody reads stops no tenant. */
#include "tenant-runtime/ground/kernel/xen.h"

#define ROOM_WAIT_NS  1000000000ull
#define FLUSH_WAIT_NS 2000000000ull

/* xen/include/public/io/console.h */
struct interface {
    char in[1024], out[2048];
    uint32_t in_cons, in_prod;
    _Atomic uint32_t out_cons, out_prod;
};
_Static_assert(offsetof(struct interface, out_prod) == 3084, "xen/io/console.h");

static struct interface *console;
static struct xen_ports port;
static uint32_t stuck_at; /* where xenconsoled stood when we gave it up */
static bool stuck;

void xen_console_init(void *page, uint32_t p)
{
    console = page;
    xen_event_add(&port, p);
}

bool xen_console_is_up(void)
{
    return console;
}

static uint32_t unread(void)
{
    uint32_t n = console->out_prod - console->out_cons;

    return n > sizeof console->out ? sizeof console->out : n;
}

static bool has_room(void)
{
    return unread() < sizeof console->out;
}

static bool is_empty(void)
{
    return unread() == 0;
}

static bool await_room(void)
{
    if (has_room())
        return true;
    if (stuck && stuck_at == console->out_cons)
        return false;
    stuck = !xen_event_await(&port, has_room, xen_now() + ROOM_WAIT_NS);
    stuck_at = console->out_cons;
    return !stuck;
}

void xen_console_write(const char *p, size_t len)
{
    while (len && await_room()) {
        uint32_t prod = console->out_prod, n = sizeof console->out - unread();

        if (n > len)
            n = (uint32_t)len;
        for (uint32_t i = 0; i < n; i++)
            console->out[(prod + i) % sizeof console->out] = p[i];
        console->out_prod = prod + n;
        xen_event_send(port.list[0]);
        p += n;
        len -= n;
    }
}

void xen_console_flush(void)
{
    xen_event_await(&port, is_empty, xen_now() + FLUSH_WAIT_NS);
}
