/* A third domain that tries to get at another one's channel: a kernel of its own, which needs
 * nobody's leave for a hypercall.
 *
 * Its command line is words `map=DOMID:REF`, `port=DOMID:PORT` and `frame=DOMID:FRAME`; one line
 * each on Xen's console (port 0xe9) says what Xen answered:
 *
 *   stranger: map 5:12 -1         the reference as a mapping, and
 *   stranger: copy 5:12 -1        as the source of a copy: a GNTST_ status
 *   stranger: port 5:7 -22        the event channel as the other end of one of ours: an errno
 *   stranger: frame 5:256 -1      the page by its frame number, as only a privileged domain may
 *
 * Before that it does the same with a grant and a port of its own, `self`, which must be 0: what is
 * refused is then not its own mistake.  The last line is `stranger: over`; then it powers off.
 * Runs as it is entered: 32 bit, no paging, so addresses are physical. */
#include <stddef.h>
#include <stdint.h>

#define __XEN_TOOLS__ 1
#include <xen/xen.h>

#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/sched.h>

#define PAGE __attribute__((aligned(4096)))
#define GAP  0x4000000u /* 64 MiB: above our memory */
#define REF  8u         /* the first that Xen leaves to us */

/* PHYS32_ENTRY (xen/elfnote.h), and what stands there. */
__asm__(".pushsection .note.Xen,\"a\",@note\n"
        ".long 4, 4, 18\n"
        ".asciz \"Xen\"\n"
        ".long entry\n"
        ".popsection\n"
        ".globl entry\n"
        "entry:\n"
        "mov $stack_top, %esp\n"
        "push %ebx\n"
        "call run\n"
        "1: hlt\n"
        "jmp 1b\n"
        ".pushsection .bss\n"
        ".align 16\n"
        ".skip 16384\n"
        "stack_top:\n"
        ".popsection\n");

static PAGE uint8_t hypercalls[4096], shown[4096], taken[4096];
static PAGE grant_entry_v1_t grants[4096 / sizeof(grant_entry_v1_t)];

static long hypercall(uint32_t nr, uintptr_t a, uintptr_t b, uintptr_t c)
{
    long r;

    __asm__ volatile("call *%%eax"
                     : "=a"(r), "+b"(a), "+c"(b), "+d"(c)
                     : "0"(hypercalls + 32 * nr)
                     : "esi", "edi", "memory");
    return r;
}

static void cpuid(uint32_t leaf, uint32_t out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "0"(leaf), "2"(0));
}

/*----- words -----*/

static void say(const char *s)
{
    for (; *s; s++)
        __asm__ volatile("outb %0, %1" ::"a"(*s), "Nd"((uint16_t)0xe9));
}

static void say_number(long n)
{
    char text[16], *p = text + sizeof text;
    unsigned long left = n < 0 ? 0ul - (unsigned long)n : (unsigned long)n;

    *--p = '\0';
    do
        *--p = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        *--p = '-';
    say(p);
}

static void tell(const char *what, uint32_t domid, uint32_t number, long answer)
{
    say("stranger: ");
    say(what);
    say(" ");
    say_number((long)domid);
    say(":");
    say_number((long)number);
    say(" ");
    say_number(answer);
    say("\n");
}

static uint32_t number(const char **s)
{
    uint32_t n = 0;

    while (**s >= '0' && **s <= '9')
        n = n * 10 + (uint32_t)(*(*s)++ - '0');
    return n;
}

/* Whether `s` goes on with `word`; then it is behind it. */
static int take(const char **s, const char *word)
{
    const char *p = *s;

    while (*word)
        if (*p++ != *word++)
            return 0;
    *s = p;
    return 1;
}

/*----- attempts -----*/

static void *volatile seen; /* where a mapping would be */

static long map(domid_t domid, grant_ref_t ref)
{
    static uintptr_t at = GAP;
    struct gnttab_map_grant_ref op = {
        .host_addr = at, .flags = GNTMAP_host_map, .ref = ref, .dom = domid};
    long r = hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uintptr_t)&op, 1);

    seen = (void *)at;
    at += 4096;
    return r ? r : op.status;
}

static long copy(domid_t domid, grant_ref_t ref)
{
    struct gnttab_copy op = {.source = {.domid = domid},
                             .dest = {.domid = DOMID_SELF},
                             .len = 4096,
                             .flags = GNTCOPY_source_gref};
    long r;

    op.source.u.ref = ref;
    op.dest.u.gmfn = (uintptr_t)taken >> 12;
    r = hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uintptr_t)&op, 1);
    return r ? r : op.status;
}

static long bind(domid_t domid, evtchn_port_t port)
{
    struct evtchn_bind_interdomain op = {.remote_dom = domid, .remote_port = port};

    return hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, (uintptr_t)&op, 0);
}

static long frame(domid_t domid, uint32_t nr)
{
    xen_ulong_t from = nr;
    xen_pfn_t to = (GAP + (16u << 20)) >> 12;
    int error = 0;
    struct xen_add_to_physmap_batch op = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_foreign, .size = 1};
    long r;

    op.u.foreign_domid = domid;
    set_xen_guest_handle(op.idxs, &from);
    set_xen_guest_handle(op.gpfns, &to);
    set_xen_guest_handle(op.errs, &error);
    r = hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap_batch, (uintptr_t)&op, 0);
    return r ? r : error;
}

/* Our own grant and port: each call is well made. */
static void try_own(domid_t self)
{
    struct xen_add_to_physmap table = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table, .gpfn = (uintptr_t)grants >> 12};
    struct evtchn_alloc_unbound port = {.dom = DOMID_SELF, .remote_dom = self};
    long r = hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, (uintptr_t)&table, 0);

    grants[REF].domid = self;
    grants[REF].frame = (uintptr_t)shown >> 12;
    __asm__ volatile("" ::: "memory");
    grants[REF].flags = GTF_permit_access;
    shown[0] = 0x5a;

    r = r ? r : map(self, REF);
    tell("map self", self, REF, r == 0 && *(volatile uint8_t *)seen != 0x5a ? 1 : r);
    r = copy(self, REF);
    tell("copy self", self, REF, r == 0 && taken[0] != 0x5a ? 1 : r);
    r = hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, (uintptr_t)&port, 0);
    tell("port self", self, port.port, r ? r : bind(self, port.port));
}

void run(const struct hvm_start_info *info);
void run(const struct hvm_start_info *info)
{
    const char *words = (const char *)(uintptr_t)info->cmdline_paddr;
    struct sched_shutdown off = {.reason = SHUTDOWN_poweroff};
    uint32_t r[4], base = 0x40000000;

    cpuid(base + 2, r);
    __asm__ volatile("wrmsr" ::"c"(r[1]), "a"(hypercalls), "d"(0));
    cpuid(base + 4, r);
    if (!(r[0] & XEN_HVM_CPUID_DOMID_PRESENT))
        say("stranger: who am I?\n");
    try_own((domid_t)r[2]);

    while (*words) {
        uint32_t domid, nr;
        int what = take(&words, "map=")     ? 1
                   : take(&words, "port=")  ? 2
                   : take(&words, "frame=") ? 3
                                            : 0;

        if (!what) {
            words++;
            continue;
        }
        domid = number(&words);
        take(&words, ":");
        nr = number(&words);
        if (what == 1) {
            tell("map", domid, nr, map((domid_t)domid, nr));
            tell("copy", domid, nr, copy((domid_t)domid, nr));
        } else if (what == 2) {
            tell("port", domid, nr, bind((domid_t)domid, nr));
        } else {
            tell("frame", domid, nr, frame((domid_t)domid, nr));
        }
    }
    say("stranger: over\n");
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, (uintptr_t)&off, 0);
}
