#include "tests/unit/worker_house.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/handover.h"
#include "common/core/mux.h"

/*----- the parent -----*/

static void on_message(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    (void)p, (void)buf, (void)len, (void)fds, (void)nfds;
}

static void on_lost(struct packet *p, enum rc why)
{
    (void)p, (void)why;
}

static void on_closed(struct packet *p)
{
    (void)p;
}

int house_worker(struct worker *w, const struct options *options)
{
    static const struct packet_ops ops = {on_message, on_lost, on_closed};
    int ends[2];

    memset(w, 0, sizeof *w);
    w->options = options;
    CHECK(uv_loop_init(&w->loop) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    CHECK(packet_open(&w->parent, &w->loop, ends[1], &ops, w) == RC_OK);
    return ends[0];
}

/*----- a tenant -----*/

void house_tenant_make(struct house_tenant *t, const unsigned orders[2], int fds[3])
{
    t->len = ring_bytes(orders[0], orders[1]);
    fds[0] = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fds[0] >= 0 && ftruncate(fds[0], (off_t)t->len) == 0);
    t->memory = mmap(NULL, t->len, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    CHECK(t->memory != MAP_FAILED);
    ring_format(t->memory, orders[0], orders[1]);
    CHECK(ring_attach(&t->ring, t->memory, t->len, RING_SERVER) == RC_OK);
    fds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->bell = fcntl(fds[2], F_DUPFD_CLOEXEC, 0);
    CHECK(fds[1] >= 0 && fds[2] >= 0 && t->bell >= 0);
}

void house_tenant_free(struct house_tenant *t)
{
    if (t->memory) {
        munmap(t->memory, t->len);
        close(t->bell);
    }
    memset(t, 0, sizeof *t);
}

void house_tenant_ring(const struct house_tenant *t)
{
    eventfd_write(t->bell, 1);
}

enum rc house_tenant_hello(struct house_tenant *t)
{
    const struct mux_hello hello = {MUX_VERSION, HANDOVER_VERSION, 1};
    uint8_t buf[MUX_HELLO_SIZE];
    size_t len;

    CHECK(mux_hello_encode(&hello, buf, sizeof buf, &len) == RC_OK);
    return mux_put(&t->ring, MUX_HELLO, 0, buf, (uint32_t)len);
}
