/* The grant table, version 1: what domain 0 may map of our memory.
 *
 * Its pages are Xen's, and each is put in place when the first reference in it is given
 * out.  References are never taken back: a channel is there for as long as its domain.
 * Failure mode: no more grants (stops with what to do). */
#include "tenant-runtime/ground/kernel/xen.h"

#define PER_PAGE (PAGE_SIZE / sizeof(struct xen_grant))

static uint32_t given; /* references, the first page's reserved ones among them */
static uint32_t pages_here;

uint32_t xen_grant(uint64_t at)
{
    struct xen_grant *grant;

    if (given == 0)
        given = XEN_GRANTS_RESERVED;
    if (given / PER_PAGE >= pages_here) {
        if (pages_here == XEN_GRANT_PAGES ||
            !xen_put(XEN_SPACE_GRANT_TABLE, pages_here, XEN_GRANTS_AT + pages_here * PAGE_SIZE))
            kernel_stop("Xen gives this domain no more grants: fewer workers (channels), or a "
                        "higher max_grant_frames");
        pages_here++;
    }
    grant = (struct xen_grant *)XEN_GRANTS_AT + given;
    grant->peer = 0;
    grant->page = (uint32_t)(at / PAGE_SIZE);
    atomic_store(&grant->flags, XEN_GRANT_ACCESS); /* last: from now on it counts */
    return given++;
}
