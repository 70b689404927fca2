/* Whether this is Xen, its calls, the page it shares with us, and the end.
 *
 * The happy path: CPUID tells that it is Xen; the shared page is put in place, the
 * tool stack's two pages (console, xenstore) are found by their parameters.
 * Failure modes stop with a line on the console, or on the debug port when there is
 * no console yet.
 *
 * Calls are made by the processor's own instruction, not through a page that Xen
 * fills in: there is one page less that is executed and not ours, and no jump through
 * a register (XSA-466). */
#include "tenant-runtime/ground/kernel/xen.h"
#include "common/core/launch.h"

#define LEAF        0x40000000u
#define END_WAIT_NS 1000000000ull

struct xen_shared *xen_shared;
static bool present, amd, has_store;

/*----- calls -----*/

int64_t xen_call(enum xen_call_number number, uint64_t a, uint64_t b, uint64_t c)
{
    int64_t r;

    if (amd)
        __asm__ volatile("vmmcall"
                         : "=a"(r), "+D"(a), "+S"(b), "+d"(c)
                         : "a"((uint64_t)number)
                         : "memory");
    else
        __asm__ volatile("vmcall"
                         : "=a"(r), "+D"(a), "+S"(b), "+d"(c)
                         : "a"((uint64_t)number)
                         : "memory");
    return r;
}

bool xen_put(enum xen_space space, uint64_t index, uint64_t at)
{
    struct xen_memory_add add = {
        .domid = XEN_DOMID_SELF, .space = space, .index = index, .page = at / PAGE_SIZE};

    if (xen_call(XEN_CALL_MEMORY, XEN_MEMORY_ADD, (uint64_t)(uintptr_t)&add, 0) < 0)
        return false;
    memory_window(at);
    return true;
}

bool xen_present(void)
{
    return present;
}

static uint64_t parameter(enum xen_parameter index)
{
    struct xen_hvm_parameter p = {.domid = XEN_DOMID_SELF, .index = index};

    if (xen_call(XEN_CALL_HVM, XEN_HVM_GET, (uint64_t)(uintptr_t)&p, 0) < 0)
        kernel_stop("Xen does not tell where its console and xenstore are");
    return p.value;
}

/* No event ever interrupts us; and from this call Xen learns that we are 64-bit. */
static void refuse_upcalls(void)
{
    struct xen_hvm_parameter p = {.domid = XEN_DOMID_SELF, .index = XEN_PARAMETER_CALLBACK};

    if (xen_call(XEN_CALL_HVM, XEN_HVM_SET, (uint64_t)(uintptr_t)&p, 0) < 0)
        kernel_stop("Xen does not let this domain go without interrupts");
}

/* A page that the tool stack shares with us. */
static void *tool_page(enum xen_parameter index)
{
    uint64_t at = parameter(index) * PAGE_SIZE;

    if (at < XEN_OURS_END || at - MEMORY_WINDOW >= MEMORY_WINDOW_LEN)
        kernel_stop("Xen's console or xenstore is where this image does not look for it");
    memory_window(at);
    return (void *)(uintptr_t)at;
}

/*----- the start -----*/

/* arch-x86/cpuid.h: "XenVMMXenVMM". */
static bool is_xen(void)
{
    uint32_t id[4];

    return cpu_id(LEAF, 0, id) && id[1] == 0x566e6558 && id[2] == 0x65584d4d && id[3] == 0x4d4d566e;
}

/* AMD's processors, and Hygon's, have another instruction for the same. */
static bool is_amd(void)
{
    uint32_t id[4];

    return cpu_id(0, 0, id) && (id[1] == 0x68747541 /* Auth */ || id[1] == 0x6f677948 /* Hygo */);
}

static void check_hole(const struct memory_area *map, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (map[i].at < XEN_OURS_END && map[i].len > 0 &&
            (map[i].at >= XEN_SHARED_AT || map[i].len > XEN_SHARED_AT - map[i].at))
            kernel_stop("the memory map has something where this image wants Xen's pages");
}

void xen_init(const struct memory_area *map, unsigned count)
{
    if (!is_xen())
        return;
    amd = is_amd();
    check_hole(map, count);
    refuse_upcalls();
    if (!xen_put(XEN_SPACE_SHARED_INFO, 0, XEN_SHARED_AT))
        kernel_stop("Xen does not share its page with this domain");
    xen_shared = (struct xen_shared *)XEN_SHARED_AT;
    for (size_t i = 0; i < sizeof xen_shared->mask / sizeof xen_shared->mask[0]; i++)
        xen_shared->mask[i] = ~0ull;
    present = true;

    xen_console_init(tool_page(XEN_PARAMETER_CONSOLE_PAGE),
                     (uint32_t)parameter(XEN_PARAMETER_CONSOLE_PORT));
    xen_store_init(tool_page(XEN_PARAMETER_STORE_PAGE),
                   (uint32_t)parameter(XEN_PARAMETER_STORE_PORT));
    has_store = true;
}

bool xen_launch_line(char *line, size_t size)
{
    int64_t n = xen_store_read(LAUNCH_NODE_WORDS, line, size);

    if (n == XEN_STORE_FAILED)
        kernel_stop("xenstore does not tell this domain its " LAUNCH_NODE_WORDS
                    ": is xenstored running, and may the domain read it?");
    return n != XEN_STORE_ABSENT;
}

/*----- the end -----*/

static void tell_status(int status)
{
    char text[TEXT_NUMBER_MAX];

    text_number(text, (uint64_t)status);
    xen_store_write(LAUNCH_NODE_EXIT, text);
    xen_store_settle(xen_now() + END_WAIT_NS);
}

_Noreturn void xen_exit(int status)
{
    const uint32_t reason = status ? XEN_SHUTDOWN_CRASH : XEN_SHUTDOWN_POWEROFF;

    if (has_store && status)
        tell_status(status);
    if (xen_console_is_up())
        xen_console_flush();
    for (;;)
        xen_call(XEN_CALL_SCHED, XEN_SCHED_SHUTDOWN, (uint64_t)(uintptr_t)&reason, 0);
}
