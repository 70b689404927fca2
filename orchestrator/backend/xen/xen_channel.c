#include "orchestrator/backend/xen/xen_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* What the kernel's headers use and do not define. */
typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/evtchn.h>
#include <xen/gntdev.h>

#include "common/host/fd.h"

#define GNTDEV "/dev/xen/gntdev"
#define EVTCHN "/dev/xen/evtchn"

/* xen/grant_table.h, GNTTAB_NR_RESERVED_ENTRIES: console, xenstore, and such. */
#define RESERVED 8

static enum rc open_device(const char *path, int flags, int *fd)
{
    *fd = open(path, O_RDWR | O_CLOEXEC | flags);
    if (*fd >= 0)
        return RC_OK;
    return errno == EMFILE || errno == ENFILE ? RC_FULL : RC_IO;
}

/*----- memory -----*/

/* On a descriptor of its own: the kernel maps what is inserted first at offset 0. */
static enum rc insert(uint32_t domid, const struct xen_grants *g, int *fd)
{
    size_t size = offsetof(struct ioctl_gntdev_map_grant_ref, refs) +
                  g->nr * sizeof(struct ioctl_gntdev_grant_ref);
    struct ioctl_gntdev_map_grant_ref *map = calloc(1, size > sizeof *map ? size : sizeof *map);
    enum rc rc;

    if (!map)
        return RC_NOMEM;
    map->count = g->nr;
    for (unsigned n = 0; n < g->nr; n++)
        map->refs[n] = (struct ioctl_gntdev_grant_ref){.domid = domid, .ref = g->ref[n]};
    rc = open_device(GNTDEV, 0, fd);
    if (!rc && (ioctl(*fd, IOCTL_GNTDEV_MAP_GRANT_REF, map) || map->index)) {
        rc = RC_IO;
        fd_close(fd);
    }
    free(map);
    return rc;
}

/* GNTCOPY_source_gref and GNTST_okay of xen/grant_table.h, which needs all of Xen's headers. */
#define FROM_GRANT 1u
#define GRANTED    0

/* What is copied needs none of the mappings that dom0 has so many of; and unlike a mapping, it is
 * told why it cannot be had.  RC_IO: that is not granted. */
static enum rc copy_grants(uint32_t domid, const uint32_t *ref, unsigned nr, void *copy,
                           uint16_t len)
{
    struct gntdev_grant_copy_segment *all = calloc(nr, sizeof *all);
    struct ioctl_gntdev_grant_copy op = {.count = nr, .segments = all};
    enum rc rc;
    int fd;

    if (!all)
        return RC_NOMEM;
    for (unsigned n = 0; n < nr; n++) {
        all[n].source.foreign.ref = ref[n];
        all[n].source.foreign.domid = (domid_t)domid;
        all[n].dest.virt = copy;
        all[n].len = len;
        all[n].flags = FROM_GRANT;
    }
    rc = open_device(GNTDEV, 0, &fd);
    if (!rc && ioctl(fd, IOCTL_GNTDEV_GRANT_COPY, &op))
        rc = errno == ENOMEM ? RC_NOMEM : RC_IO;
    for (unsigned n = 0; n < nr && !rc; n++)
        if (all[n].status != GRANTED)
            rc = RC_IO;
    fd_close(&fd);
    free(all);
    return rc;
}

static bool maps(uint32_t domid, const struct xen_grants *g, int access)
{
    void *memory;
    int fd;

    if (insert(domid, g, &fd))
        return false;
    memory = mmap(NULL, g->bytes, access, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED)
        munmap(memory, g->bytes);
    close(fd);
    return memory != MAP_FAILED;
}

/* What is granted for reading alone can be copied from, too; but that could be mapped for reading,
 * and this host has mappings then.  Unless it has come to have them meanwhile. */
bool xen_channel_lacks_mappings(uint32_t domid, const struct xen_grants *g)
{
    const int both = PROT_READ | PROT_WRITE;
    char some[4];

    if (copy_grants(domid, g->ref, g->nr, some, sizeof some))
        return false;
    return maps(domid, g, both) || !maps(domid, g, PROT_READ) || maps(domid, g, both);
}

enum rc xen_channel_grants(const void *copy, uint32_t ring_ref, struct xen_grants *out)
{
    uint16_t left, right;

    memcpy(&left, (const char *)copy + offsetof(struct ring_page, left_order), sizeof left);
    memcpy(&right, (const char *)copy + offsetof(struct ring_page, right_order), sizeof right);
    if (left < RING_ORDER_MIN || left > LAUNCH_LEFT_ORDER || right < RING_ORDER_MIN ||
        right > LAUNCH_RIGHT_ORDER)
        return RC_MALFORMED;
    out->bytes = ring_bytes(left, right);
    out->nr = (unsigned)(out->bytes / RING_PAGE_SIZE);
    out->ref[0] = ring_ref;
    memcpy(out->ref + 1, (const char *)copy + offsetof(struct ring_page, grants),
           (out->nr - 1) * sizeof out->ref[0]);
    return RC_OK;
}

static int order(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

bool xen_channels_apart(const struct xen_grants *all, unsigned n)
{
    uint32_t ref[XEN_CHANNELS * (1 + XEN_GRANTS_MAX)];
    size_t nr = 0;

    for (unsigned i = 0; i < n; i++) {
        memcpy(ref + nr, all[i].ref, all[i].nr * sizeof ref[0]);
        nr += all[i].nr;
    }
    qsort(ref, nr, sizeof ref[0], order);
    for (size_t i = 1; i < nr; i++)
        if (ref[i - 1] == ref[i])
            return false;
    return nr == 0 || ref[0] >= RESERVED;
}

enum rc xen_channels_look(uint32_t domid, const struct xen_vchan *vchans, unsigned n,
                          struct xen_grants *out)
{
    char copy[RING_PAGE_SIZE];
    enum rc rc;

    for (unsigned i = 0; i < n; i++) {
        rc = copy_grants(domid, &vchans[i].ring_ref, 1, copy, sizeof copy);
        if (!rc)
            rc = xen_channel_grants(copy, vchans[i].ring_ref, &out[i]);
        if (rc)
            return rc;
    }
    return xen_channels_apart(out, n) ? RC_OK : RC_MALFORMED;
}

enum rc xen_channel_memory(uint32_t domid, const struct xen_grants *g, int *fd)
{
    return insert(domid, g, fd);
}

/*----- doorbell -----*/

enum rc xen_bell_bind(struct xen_bell *b, uint32_t domid, uint32_t port)
{
    struct ioctl_evtchn_restrict_domid only = {.domid = (domid_t)domid};
    struct ioctl_evtchn_bind_interdomain bind = {.remote_domain = domid, .remote_port = port};
    enum rc rc = open_device(EVTCHN, O_NONBLOCK, &b->fd);
    int local;

    if (rc)
        return rc;
    /* Whoever gets it can neither bind another domain's nor anybody's VIRQ. */
    if (ioctl(b->fd, IOCTL_EVTCHN_RESTRICT_DOMID, &only)) {
        fd_close(&b->fd);
        return RC_IO;
    }
    local = ioctl(b->fd, IOCTL_EVTCHN_BIND_INTERDOMAIN, &bind);
    if (local <= 0) {
        /* Not open to us: bound already, or none of the tenant's. */
        rc = local < 0 && errno == EINVAL ? RC_BUSY : RC_IO;
        fd_close(&b->fd);
        return rc;
    }
    b->port = (uint32_t)local;
    return RC_OK;
}

enum rc xen_bell_give(const struct xen_bell *b, struct doorbell *out)
{
    const struct doorbell all = {.out_fd = b->fd, .in_fd = b->fd, .port = b->port};
    const uint32_t port = b->port;

    /* Its last client may have died between taking a ring and saying so. */
    if (write(b->fd, &port, sizeof port) != sizeof port)
        return RC_IO;
    return doorbell_dup(&all, out);
}
