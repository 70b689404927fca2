/* A worker, and an orchestrator, that are hostile: any frames, any bytes, any
 * indices and flags in the shared pages, between connections that are good.
 *
 * Input: steps of one byte for what, and what that takes.  The runtime must never
 * read past a ring, fail a CHECK, or keep anything of it (front_end checks). */
#include <string.h>

#include "common/core/wire.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/fake_front.h"
#include "tests/unit/record_fixture.h"

#define CONNS 4
#define GET   "GET /big HTTP/1.1\r\nHost: " FRONT_SNI "\r\n\r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void serve(struct rk_request *req)
{
    static const char block[5000];

    if (rk_begin(req, 200, NULL, -1))
        return;
    for (int i = 0; i < 60; i++)
        if (rk_write(req, block, sizeof block))
            return;
    (void)rk_sleep(req, 100);
}

ROOMKEY_APP("fuzz", "1", .on_request = serve);

static struct record clients[CONNS];
static uint64_t ids[CONNS], serial;

static void open_conn(unsigned i)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover_side side;
    struct handover h;
    size_t n;

    fixture_handover(i % 2 ? 0x1301 : 0xc02b, &h);
    strcpy(h.sni, FRONT_SNI);
    if (handover_encode(&h, buf, sizeof buf, &n))
        __builtin_trap();
    side = h.in;
    h.in = h.out;
    h.out = side;
    record_dispose(&clients[i]);
    if (record_init(&clients[i], &h))
        __builtin_trap();
    ids[i] = ++serial << 32 | i;
    (void)!mux_put(&front_ring[0], MUX_OPEN, ids[i], buf, (uint32_t)n);
}

static void send_request(unsigned i)
{
    uint8_t buf[1000];
    size_t used, written;

    if (ids[i] && record_write(&clients[i], 0, GET, sizeof GET - 1, &used, buf, sizeof buf,
                               &written) == RC_OK)
        (void)!mux_put(&front_ring[0], MUX_DATA, ids[i], buf, (uint32_t)written);
}

/* Bytes where the next frame would be, with no care for room. */
static void scribble(struct ring *r, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        r->tx[(r->tx_prod + i) % r->tx_size] = p[i];
    r->tx_prod += n;
    atomic_store(r == &front_control || r->side == RING_CLIENT ? &r->page->left.prod
                                                               : &r->page->right.prod,
                 r->tx_prod);
}

static void step(struct wire_in *in)
{
    uint8_t what = wire_u8(in);
    struct ring *r = what & 0x80 ? &front_control : &front_ring[0];
    const uint8_t *p;
    uint8_t type;
    uint32_t n;

    switch (what & 15) {
    case 0: /* a frame */
        type = wire_u8(in);
        n = wire_u8(in);
        p = wire_bytes(in, n);
        if (p)
            (void)!mux_put(r, type, what & 16 ? ids[what >> 5 & 3] : 0, p, n);
        break;
    case 1:
        n = wire_u8(in);
        p = wire_bytes(in, n);
        if (p)
            scribble(r, p, n);
        break;
    case 2:
        atomic_store(&r->page->left.prod, wire_u32(in));
        break;
    case 3:
        atomic_store(&r->page->right.cons, wire_u32(in));
        break;
    case 4:
        atomic_store(&r->page->cli_live, wire_u8(in));
        break;
    case 5:
        atomic_store(&r->page->cli_notify, wire_u8(in));
        atomic_store(&r->page->srv_notify, wire_u8(in));
        break;
    case 6: /* what is the server's to write */
        atomic_store(&r->page->left.cons, wire_u32(in));
        atomic_store(&r->page->right.prod, wire_u32(in));
        break;
    case 7:
        r->page->left_order = wire_u16(in);
        r->page->right_order = wire_u16(in);
        break;
    case 8:
        open_conn(what >> 5 & 3);
        break;
    case 9:
        send_request(what >> 5 & 3);
        break;
    case 10: /* the reader gets on */
        atomic_store(&r->page->right.cons, atomic_load(&r->page->right.prod));
        break;
    case 11: /* gone, and the next one comes */
        ring_leave(&front_ring[0]);
        (void)runtime_step();
        front_ring[0].tx_prod = front_ring[0].rx_cons = 0;
        atomic_store(&front_ring[0].page->cli_live, RING_CONNECTED);
        break;
    case 12: {
        struct mux_hello hello = {MUX_VERSION, HANDOVER_VERSION, 7};
        uint8_t buf[MUX_HELLO_SIZE];
        size_t len;

        if (mux_hello_encode(&hello, buf, sizeof buf, &len) == RC_OK)
            (void)!mux_put(&front_ring[0], MUX_HELLO, 0, buf, (uint32_t)len);
        break;
    }
    case 13:
        front_tick(wire_u16(in));
        break;
    default:
        for (int i = 0; i < 8 && runtime_step(); i++)
            ;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_in in = wire_in(data, size);

    serial = 0;
    memset(ids, 0, sizeof ids);
    front_start();
    front_attach(0);
    while (in.left && !in.bad) {
        step(&in);
        for (int i = 0; i < 4 && runtime_step(); i++)
            ;
    }
    front_end();
    for (int i = 0; i < CONNS; i++)
        record_dispose(&clients[i]);
    return 0;
}
