/* A hostile tenant on its control channel: any bytes as frames, any indices and
 * flags in the shared page.  The orchestrator's end must never read past the ring,
 * fail a CHECK, pass on a text that is no clean line, or report twice that it is
 * broken.
 *
 * Input: steps.  0 frame (type, u8 length, bytes), 1 raw bytes into the ring,
 * 2 an index, 3 a byte of the page's flags, 4 let the loop turn, 5 a question,
 * 6 STOP. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/launch.h"
#include "common/core/wire.h"
#include "orchestrator/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned breaks;

static void clean(const char *text)
{
    for (; *text; text++)
        CHECK((unsigned char)*text >= ' ' && *text != 0x7f);
}

static void on_ready(void *arg, const struct mux_ready *ready)
{
    (void)arg;
    CHECK(memchr(ready->name, 0, sizeof ready->name));
    CHECK(!breaks);
}

static void on_failed(void *arg, const char *text)
{
    (void)arg;
    clean(text);
    CHECK(!breaks);
}

static void on_log(void *arg, int level, const char *text)
{
    (void)arg;
    CHECK(level >= MUX_LOG_ERROR && level <= MUX_LOG_DEBUG);
    clean(text);
    CHECK(!breaks);
}

static void on_health(void *arg, const struct mux_health *health)
{
    (void)arg;
    CHECK(health->healthy <= 1);
    CHECK(!breaks);
}

static void on_slot(void *arg, uint32_t channel)
{
    (void)arg;
    (void)channel;
    CHECK(!breaks);
}

static void on_broken(void *arg, const char *why)
{
    (void)arg;
    CHECK(why && !breaks);
    breaks++;
}

static const struct link_events events = {on_ready,  on_failed, on_log,
                                          on_health, on_slot,   on_broken};

static void put_raw(struct ring *r, const uint8_t *p, uint32_t n)
{
    struct ring_span span;
    uint32_t room;

    if (ring_writable(r, &span, &room) || room < n)
        return;
    CHECK(ring_span_fill(&span, 0, p, n));
    ring_publish(r, n);
}

static void step(struct wire_in *in, struct link *l, struct ring *r, int bell, uv_loop_t *loop)
{
    uint8_t what = wire_u8(in), type = wire_u8(in), len = wire_u8(in);
    const uint8_t *p;

    switch (what % 7) {
    case 0:
    case 1:
        p = wire_bytes(in, len);
        if (!p)
            return;
        if (what % 7 == 1)
            put_raw(r, p, len);
        else if (mux_put(r, type, 0, p, len))
            return;
        eventfd_write(bell, 1);
        return;
    case 2:
        atomic_store(type & 1 ? &r->page->right.prod : &r->page->left.cons, wire_u32(in));
        eventfd_write(bell, 1);
        return;
    case 3:
        atomic_store(type & 1 ? &r->page->srv_live : &r->page->cli_notify, len);
        return;
    case 4:
        for (unsigned n = 0; n < 4; n++)
            uv_run(loop, UV_RUN_NOWAIT);
        return;
    case 5:
        link_health(l, type + 1u);
        return;
    default:
        link_stop(l, len);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_in in = wire_in(data, size);
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct backend_channel ch = {.len = ring_bytes(LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER)};
    struct ring tenant;
    struct link *l;
    uv_loop_t loop;
    void *memory;

    breaks = 0;
    ch.memory_fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(ch.memory_fd >= 0 && ftruncate(ch.memory_fd, (off_t)ch.len) == 0);
    memory = mmap(NULL, ch.len, PROT_READ | PROT_WRITE, MAP_SHARED, ch.memory_fd, 0);
    CHECK(memory != MAP_FAILED);
    ring_format(memory, LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER);
    CHECK(ring_attach(&tenant, memory, ch.len, RING_SERVER) == RC_OK);
    CHECK(bell >= 0);
    ch.bell.in_fd = fcntl(bell, F_DUPFD_CLOEXEC, 0);
    ch.bell.out_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(uv_loop_init(&loop) == 0);
    CHECK(link_open(&loop, &ch, &events, NULL, &l) == RC_OK);

    while (in.left > 0 && !in.bad)
        step(&in, l, &tenant, bell, &loop);
    for (unsigned n = 0; n < 4; n++)
        uv_run(&loop, UV_RUN_NOWAIT);
    link_look(l);

    link_close(l);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0);
    munmap(memory, ch.len);
    close(bell);
    return 0;
}
