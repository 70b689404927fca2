/* The kernel's way to Xen, shared by the xen*.c files alone: the rest of the kernel
 * knows what kernel.h says of Xen.
 *
 * What is Xen's is named after its public headers, xen/include/public/…, of which
 * only that is here which this kernel uses: version 1 of the grant table, two-level
 * event channels, 64-bit layouts.  Times of Xen are nanoseconds since it booted. */
#ifndef KERNEL_XEN_H
#define KERNEL_XEN_H

#include <stdatomic.h>

#include "tenant-runtime/ground/kernel/kernel.h"

/*----- what Xen defines -----*/

#define XEN_DOMID_SELF 0x7ff0u

enum xen_call_number {
    XEN_CALL_MEMORY = 12,
    XEN_CALL_SCHED = 29,
    XEN_CALL_EVENT = 32,
    XEN_CALL_HVM = 34,
};

/* memory.h */
#define XEN_MEMORY_ADD 7 /* XENMEM_add_to_physmap */
enum xen_space { XEN_SPACE_SHARED_INFO = 0, XEN_SPACE_GRANT_TABLE = 1 };
struct xen_memory_add {
    uint16_t domid, size;
    uint32_t space; /* enum xen_space */
    uint64_t index, page;
};
_Static_assert(sizeof(struct xen_memory_add) == 24, "xen/memory.h");

/* sched.h */
#define XEN_SCHED_SHUTDOWN    2
#define XEN_SCHED_POLL        3
#define XEN_SHUTDOWN_POWEROFF 0u
#define XEN_SHUTDOWN_CRASH    3u
#define XEN_PORTS_MAX         128 /* that can be slept on together */
struct xen_poll {
    const uint32_t *ports;
    uint32_t count, pad;
    uint64_t until; /* 0: for ever */
};
_Static_assert(sizeof(struct xen_poll) == 24, "xen/sched.h");

/* event_channel.h */
#define XEN_EVENT_SEND 4
#define XEN_EVENT_OPEN 6 /* EVTCHNOP_alloc_unbound */
struct xen_event_open {
    uint16_t domid, peer;
    uint32_t port;
};
_Static_assert(sizeof(struct xen_event_open) == 8, "xen/event_channel.h");

/* hvm/hvm_op.h, hvm/params.h */
#define XEN_HVM_SET 0
#define XEN_HVM_GET 1
enum xen_parameter {
    XEN_PARAMETER_CALLBACK = 0,
    XEN_PARAMETER_STORE_PAGE = 1,
    XEN_PARAMETER_STORE_PORT = 2,
    XEN_PARAMETER_CONSOLE_PAGE = 17,
    XEN_PARAMETER_CONSOLE_PORT = 18,
};
struct xen_hvm_parameter {
    uint16_t domid, pad;
    uint32_t index;
    uint64_t value;
};
_Static_assert(sizeof(struct xen_hvm_parameter) == 16, "xen/hvm/hvm_op.h");

/* xen.h */
struct xen_time {
    uint32_t version, pad;
    uint64_t tsc, ns;
    uint32_t multiplier;
    int8_t shift;
    uint8_t flags, pad2[2];
};
struct xen_vcpu {
    uint8_t upcall_pending, pad[7];
    uint64_t pending_words, arch[2];
    struct xen_time time;
};
struct xen_shared {
    struct xen_vcpu vcpu[32];
    _Atomic uint64_t pending[64];
    uint64_t mask[64];
    uint32_t wall_version, wall_s, wall_ns, wall_s_high;
};
_Static_assert(offsetof(struct xen_vcpu, time) == 32 && sizeof(struct xen_vcpu) == 64, "xen/xen.h");
_Static_assert(offsetof(struct xen_shared, pending) == 2048, "xen/xen.h");
_Static_assert(offsetof(struct xen_shared, mask) == 2560, "xen/xen.h");
_Static_assert(offsetof(struct xen_shared, wall_version) == 3072, "xen/xen.h");

/* grant_table.h */
#define XEN_GRANTS_RESERVED 8 /* the tool stack's */
#define XEN_GRANT_ACCESS    1u
struct xen_grant {
    _Atomic uint16_t flags;
    uint16_t peer;
    uint32_t page;
};
_Static_assert(sizeof(struct xen_grant) == 8, "xen/grant_table.h");

/*----- where Xen's pages are -----*/

/* What the tool stack shares with us lies at the end of this window, right below
 * 4 GiB; in its middle, where a domain has neither memory nor a device, we put what Xen
 * shares with us. */
#define XEN_SHARED_AT   (MEMORY_WINDOW + MEMORY_WINDOW_LEN / 2)
#define XEN_GRANTS_AT   (XEN_SHARED_AT + PAGE_SIZE)
#define XEN_GRANT_PAGES 16u
#define XEN_OURS_END    (XEN_GRANTS_AT + XEN_GRANT_PAGES * PAGE_SIZE)

/*----- xen.c -----*/

extern struct xen_shared *xen_shared;

/* A hypercall; 0 or more, or minus an errno. */
int64_t xen_call(enum xen_call_number number, uint64_t a, uint64_t b, uint64_t c);
/* Has Xen put a page of its own at `at`, and maps it; false when there is none. */
bool xen_put(enum xen_space space, uint64_t index, uint64_t at);

/*----- xen_clock.c -----*/

uint64_t xen_now(void);

/*----- xen_event.c -----*/

/* Ports that are slept on together. */
struct xen_ports {
    uint32_t list[XEN_PORTS_MAX];
    uint32_t count;
    uint64_t bits[XEN_PORTS_MAX / 64];
};

/* A port that domain 0 may bind to one of its own. */
uint32_t xen_event_open(void);
void xen_event_add(struct xen_ports *set, uint32_t port);
void xen_event_send(uint32_t port);
/* Whether one of them was rung; and takes that. */
bool xen_event_pending(const struct xen_ports *set);
bool xen_event_take(const struct xen_ports *set);
/* Sleeps until one of them is rung, or until a time of Xen (UINT64_MAX: none); may return
 * early. */
void xen_event_wait(const struct xen_ports *set, uint64_t until);
/* Sleeps until something is there, which its bringer rings for; false: not in time. */
bool xen_event_await(const struct xen_ports *set, bool (*there)(void), uint64_t until);

/*----- xen_console.c -----*/

void xen_console_init(void *page, uint32_t port);
/* Waits for what was written to have been read, for two seconds at most. */
void xen_console_flush(void);

/*----- xen_store.c: xenstore, in paths relative to the domain's own directory -----*/

void xen_store_init(void *page, uint32_t port);
/* The length of a node's value, which is ended with a NUL; or why not. */
enum { XEN_STORE_ABSENT = -1, XEN_STORE_FAILED = -2 };
int64_t xen_store_read(const char *path, char *out, size_t size);
/* Asks for a node to be written, and does not wait: asked for first is done first. */
void xen_store_write(const char *path, const char *value);
/* Waits for what was asked for, until a time of Xen: whether all of it was done. */
bool xen_store_settle(uint64_t until);

/*----- xen_grant.c -----*/

/* Lets domain 0 map a page of ours, for good: the reference it needs. */
uint32_t xen_grant(uint64_t at);

#endif
