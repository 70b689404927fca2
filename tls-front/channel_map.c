#include "tls-front/channel_map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/core/handover.h"
#include "tls-front/worker.h"

/* Sealed against shrinking, or its owner could make us fault on a read.  Granted
 * memory stays for as long as it is mapped, whatever becomes of its domain. */
static enum rc map(struct channel *ch, int fd, const struct control_ready *m)
{
    struct stat st;
    int seals;

    if (m->bytes < RING_PAGE_SIZE || m->bytes > ring_bytes(RING_ORDER_MAX, RING_ORDER_MAX))
        return RC_MALFORMED;
    if (m->port == 0) {
        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) != 0 ||
            st.st_size != (off_t)m->bytes)
            return RC_MALFORMED;
    }
    ch->mem_len = m->bytes;
    ch->mem = mmap(NULL, ch->mem_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ch->mem != MAP_FAILED)
        return RC_OK;
    /* Granted, Xen says no to what the tenant has named; but too many mappings are our own. */
    return m->port && errno != ENOMEM ? RC_UNMAPPED : RC_NOMEM;
}

static enum rc attach(struct channel *ch)
{
    struct mux_hello hello = {MUX_VERSION, HANDOVER_VERSION, ch->id.generation};
    uint8_t buf[MUX_HELLO_SIZE];
    size_t n;
    enum rc rc = ring_attach(&ch->ring, ch->mem, ch->mem_len, RING_CLIENT);

    if (!rc && ring_peer(&ch->ring) != RING_CONNECTED)
        rc = RC_CLOSED;
    if (!rc)
        rc = mux_hello_encode(&hello, buf, sizeof buf, &n);
    if (!rc)
        rc = mux_put(&ch->ring, MUX_HELLO, 0, buf, (uint32_t)n);
    return rc;
}

enum rc channel_map(struct channel *ch, const struct control_ready *m, int *fds)
{
    struct doorbell bell = {.out_fd = fds[1], .in_fd = fds[2], .port = m->port};
    enum rc rc = map(ch, fds[0], m);

    if (rc)
        return rc;
    rc = attach(ch);
    if (!rc)
        rc = doorbell_prepare(&bell);
    if (!rc && uv_poll_init(&ch->w->loop, &ch->poll, bell.in_fd) != 0)
        rc = RC_NOMEM;
    if (rc) {
        munmap(ch->mem, ch->mem_len);
        return rc;
    }
    uv_idle_init(&ch->w->loop, &ch->again);
    ch->poll.data = ch->again.data = ch;
    ch->bell = bell;
    fds[1] = fds[2] = -1;
    return RC_OK;
}
