#include "tests/unit/fake_front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/core/check.h"
#include "common/core/fiber.h"
#include "common/core/launch.h"
#include "common/core/wire.h"
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/runtime/channel.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/record_fixture.h"

#define LEFT_ORDER  17
#define RIGHT_ORDER 18
#define CLIENTS_MAX 64

struct front_said front_said;
unsigned front_rings[1 + FRONT_CHANNELS];
struct ring front_ring[FRONT_CHANNELS], front_control;

static void *memory[1 + FRONT_CHANNELS];
static size_t memory_len[1 + FRONT_CHANNELS];
static bool attached[FRONT_CHANNELS], stalled[FRONT_CHANNELS], greeted[FRONT_CHANNELS];
static struct front_client *clients[CLIENTS_MAX];
static uint32_t serial;
static uint64_t clock_ns;

/*----- the clock (linked with --wrap=clock_gettime) -----*/

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    uint64_t ns = clock_ns + (id == CLOCK_REALTIME ? 1000000000000000000u : 0);

    ts->tv_sec = (time_t)(ns / 1000000000u);
    ts->tv_nsec = (long)(ns % 1000000000u);
    return 0;
}

/*----- the ground -----*/

static enum rc fake_open(unsigned n)
{
    CHECK(n == FRONT_CHANNELS);
    return RC_OK;
}

static struct ground_channel fake_channel(int index)
{
    return (struct ground_channel){memory[1 + index], memory_len[1 + index]};
}

static void fake_ring(int index)
{
    front_rings[1 + index]++;
}

static void fake_wait(uint64_t deadline_ns)
{
    (void)deadline_ns;
    CHECK(false && "a test waits for nothing");
}

__attribute__((noreturn)) static void fake_exit(int status)
{
    exit(status);
}

static const struct ground fake = {"fake",    fake_open, fake_channel, fake_ring,
                                   fake_wait, fake_exit, false};
const struct ground *ground = &fake;

/*----- start and end -----*/

static void channel_new(int i, unsigned left, unsigned right)
{
    memory_len[i] = ring_bytes(left, right);
    memory[i] = aligned_alloc(RING_PAGE_SIZE, memory_len[i]);
    CHECK(memory[i]);
    memset(memory[i], 0, memory_len[i]);
    ring_format(memory[i], left, right);
}

bool front_start(void)
{
    static char image[] = "image", tenant[] = "roomkey.tenant=acme",
                generation[] = "roomkey.generation=7", channels[] = "roomkey.channels=2",
                kib[] = "roomkey.memory=16384";
    char *argv[] = {image, tenant, generation, channels, kib, NULL};

    memset(&front_said, 0, sizeof front_said);
    memset(front_rings, 0, sizeof front_rings);
    memset(attached, 0, sizeof attached);
    memset(stalled, 0, sizeof stalled);
    serial = 0;
    clock_ns = 1000000000u;
    channel_new(0, LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER);
    for (int i = 0; i < FRONT_CHANNELS; i++)
        channel_new(1 + i, LEFT_ORDER, RIGHT_ORDER);
    CHECK(ring_attach(&front_control, memory[0], memory_len[0], RING_CLIENT) == RC_OK);
    CHECK(runtime_launch(5, argv) == RC_OK);
    CHECK(runtime_open() == RC_OK);
    bool started = runtime_start() == RC_OK;
    front_pump();
    return started;
}

static void client_free(struct front_client *c)
{
    record_dispose(&c->record);
    free(c->got);
    free(c->raw);
    free(c->out);
    free(c);
}

void front_end(void)
{
    runtime_stop();
    CHECK(rt.connections == 0 && rt.in_flight == 0 && rt.input_bytes == 0);
    fiber_pool_free();
    for (int i = 0; i <= FRONT_CHANNELS; i++)
        free(memory[i]);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (clients[i]) {
            client_free(clients[i]);
            clients[i] = NULL;
        }
}

void front_attach_silent(unsigned i)
{
    CHECK(ring_attach(&front_ring[i], memory[1 + i], memory_len[1 + i], RING_CLIENT) == RC_OK);
    attached[i] = true;
    greeted[i] = false;
}

void front_hello(unsigned i, unsigned mux, unsigned handover, uint64_t generation)
{
    struct mux_hello hello = {(uint16_t)mux, (uint16_t)handover, generation};
    uint8_t buf[MUX_HELLO_SIZE];
    size_t n;

    CHECK(mux_hello_encode(&hello, buf, sizeof buf, &n) == RC_OK);
    front_put(i, MUX_HELLO, 0, buf, (uint32_t)n);
    front_pump();
}

void front_attach(unsigned i)
{
    front_attach_silent(i);
    front_hello(i, MUX_VERSION, HANDOVER_VERSION, 7);
}

void front_stall(unsigned i, bool is_stalled)
{
    stalled[i] = is_stalled;
}

void front_control_again(void)
{
    ring_leave(&front_control);
    front_pump();
    CHECK(ring_attach(&front_control, memory[0], memory_len[0], RING_CLIENT) == RC_OK);
    front_pump();
}

void front_kill_worker(unsigned i)
{
    ring_leave(&front_ring[i]);
    attached[i] = false;
    for (int k = 0; k < CLIENTS_MAX; k++)
        if (clients[k] && clients[k]->channel == i) {
            client_free(clients[k]);
            clients[k] = NULL;
        }
    front_pump();
}

void front_put(unsigned channel, uint8_t type, uint64_t conn, const void *payload, uint32_t len)
{
    while (mux_put(&front_ring[channel], type, conn, payload, len) != RC_OK)
        CHECK(runtime_step());
}

/*----- the control channel -----*/

static void said_text(const struct ring_span *payload, uint32_t from, uint32_t len)
{
    char line[MUX_TEXT_MAX + 2];

    CHECK(ring_span_copy(payload, from, line, len));
    memcpy(line + len, "\n", 2);
    strncat(front_said.text, line, sizeof front_said.text - strlen(front_said.text) - 1);
}

static bool control_drain(void)
{
    struct ring_span payload;
    struct mux_head head;
    uint8_t buf[256];
    bool any = false;

    while (mux_next(&front_control, &head, &payload) == RC_OK) {
        any = true;
        switch (head.type) {
        case MUX_READY:
            front_said.ready++;
            break;
        case MUX_FAILED:
            front_said.failed++;
            said_text(&payload, 0, head.len);
            break;
        case MUX_LOG:
            front_said.lines++;
            said_text(&payload, 1, head.len - 1);
            break;
        case MUX_HEALTH:
        case MUX_BUSY:
            *(head.type == MUX_BUSY ? &front_said.busy : &front_said.health) += 1;
            CHECK(ring_span_copy(&payload, 0, buf, head.len));
            CHECK(mux_health_decode(buf, head.len, &front_said.last_health) == RC_OK);
            break;
        case MUX_SLOT:
            front_said.slot++;
            CHECK(ring_span_copy(&payload, 0, &front_said.last_slot, 4));
            break;
        default:
            CHECK(false && "no frame of a control channel");
        }
        mux_consume(&front_control, &head);
    }
    return any;
}

static void control_put(uint8_t type, uint64_t value, uint32_t len)
{
    uint8_t buf[8];
    struct wire_out out = wire_out(buf, sizeof buf);

    wire_put_u64(&out, value);
    CHECK(mux_put(&front_control, type, 0, buf, len) == RC_OK);
    front_pump();
}

void front_health(uint64_t token)
{
    control_put(MUX_HEALTH, token, 8);
}

void front_stop(uint32_t ms)
{
    control_put(MUX_STOP, ms, 4);
}

/*----- clients -----*/

static void append(void *buf, size_t *len, const void *data, size_t n)
{
    uint8_t **p = buf;

    *p = realloc(*p, *len + n + 1);
    CHECK(*p);
    if (n)
        memcpy(*p + *len, data, n);
    *len += n;
    (*p)[*len] = 0;
}

struct front_client *front_open(unsigned channel, uint16_t suite, void (*edit)(struct handover *))
{
    struct front_client *c = calloc(1, sizeof *c);
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover_side swap;
    struct handover h;
    size_t n;
    int slot = 0;

    while (clients[slot])
        CHECK(++slot < CLIENTS_MAX);
    CHECK(c);
    clients[slot] = c;
    fixture_handover(suite, &h);
    strcpy(h.sni, FRONT_SNI);
    strcpy(h.alpn, "http/1.1");
    strcpy(h.client_addr, "192.0.2.7");
    h.client_port = 4711;
    if (edit)
        edit(&h);
    CHECK(handover_encode(&h, buf, sizeof buf, &n) == RC_OK);
    c->channel = channel;
    c->id = (uint64_t)++serial << 32 | (unsigned)slot;
    c->credit = MUX_CREDIT_INITIAL;
    append(&c->got, &c->got_len, NULL, 0);
    swap = h.in;
    h.in = h.out;
    h.out = swap;
    CHECK(record_init(&c->record, &h) == RC_OK);
    front_put(channel, MUX_OPEN, c->id, buf, (uint32_t)n);
    return c;
}

/* Sends what credit allows, then CLOSE when that is due. */
static bool client_send(struct front_client *c)
{
    size_t n = c->out_len < c->credit ? c->out_len : c->credit;
    bool any = false;

    while (n) {
        uint32_t cut = n > 8192 ? 8192 : (uint32_t)n;

        if (mux_put(&front_ring[c->channel], MUX_DATA, c->id, c->out, cut) != RC_OK)
            return any;
        memmove(c->out, c->out + cut, c->out_len - cut);
        c->out_len -= cut;
        c->credit -= cut;
        n -= cut;
        any = true;
    }
    if (c->close_due && c->out_len == 0 &&
        mux_put(&front_ring[c->channel], MUX_CLOSE, c->id, NULL, 0) == RC_OK) {
        c->close_due = false;
        any = true;
    }
    return any;
}

static void client_open(struct front_client *c)
{
    size_t at = 0, used, len;
    uint8_t *data;
    enum rc rc;

    while ((rc = record_read(&c->record, c->raw + at, c->raw_len - at, &used, &data, &len)) ==
           RC_OK) {
        append(&c->got, &c->got_len, data, len);
        at += used;
    }
    at += used;
    memmove(c->raw, c->raw + at, c->raw_len - at);
    c->raw_len -= at;
    if (rc == RC_CLOSED)
        c->notified = true;
    else if (rc != RC_AGAIN)
        c->read_rc = rc;
}

static struct front_client *client_of(uint64_t id)
{
    struct front_client *c = clients[id % CLIENTS_MAX];

    return c && c->id == id ? c : NULL;
}

static bool worker_drain(unsigned i)
{
    struct ring_span payload;
    struct mux_head head;
    bool any = false;

    while (mux_next(&front_ring[i], &head, &payload) == RC_OK) {
        struct front_client *c = client_of(head.conn);
        uint8_t buf[MUX_PAYLOAD_MAX];
        uint32_t credit;

        CHECK(ring_span_copy(&payload, 0, buf, head.len));
        mux_consume(&front_ring[i], &head);
        any = true;
        CHECK(greeted[i] == (head.type != MUX_HELLO)); /* first, and once */
        if (head.type == MUX_HELLO) {
            struct mux_hello hello;

            CHECK(mux_hello_decode(buf, head.len, &hello) == RC_OK && hello.generation == 7);
            CHECK(hello.mux_version == MUX_VERSION && hello.handover_version == HANDOVER_VERSION);
            greeted[i] = true;
            continue;
        }
        CHECK(c);
        CHECK(!c->reset && (!c->left || head.type == MUX_RESET)); /* which ours may have crossed */
        CHECK(!c->closed || head.type == MUX_RESET || head.type == MUX_CREDIT);
        switch (head.type) {
        case MUX_DATA:
            append(&c->raw, &c->raw_len, buf, head.len);
            client_open(c);
            c->owed += head.len;
            CHECK(c->owed <= MUX_CREDIT_INITIAL);
            break;
        case MUX_CREDIT:
            memcpy(&credit, buf, 4);
            c->credit += credit;
            CHECK(c->credit <= MUX_CREDIT_INITIAL);
            break;
        case MUX_CLOSE:
            c->closed = true;
            break;
        case MUX_RESET:
            c->reset = true;
            break;
        default:
            CHECK(false && "no frame for a worker");
        }
    }
    return any;
}

static bool clients_step(void)
{
    bool any = false;

    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct front_client *c = clients[i];

        if (!c || !attached[c->channel] || c->reset || c->left)
            continue;
        any |= client_send(c);
        if (c->owed && !c->no_credit && !c->closed) {
            front_put(c->channel, MUX_CREDIT, c->id, &c->owed, 4);
            c->owed = 0;
            any = true;
        }
    }
    return any;
}

void front_pump(void)
{
    bool any;

    do {
        any = clients_step();
        while (runtime_step())
            any = true;
        any |= control_drain();
        for (unsigned i = 0; i < FRONT_CHANNELS; i++)
            any |= attached[i] && !stalled[i] && worker_drain(i);
    } while (any);
}

void front_tick(uint64_t ms)
{
    clock_ns += ms * 1000000u;
}

void front_sleep(uint64_t ms)
{
    front_tick(ms);
    front_pump();
}

void front_send(struct front_client *c, const void *data, size_t len)
{
    static uint8_t buf[4 * RECORD_WIRE_MAX];
    const uint8_t *p = data ? data : buf;
    size_t used, written;
    enum rc rc;

    do {
        rc =
            record_write(&c->record, clock_ns / 1000000u, p, len, &used, buf, sizeof buf, &written);
        p += used;
        len -= used;
        append(&c->out, &c->out_len, buf, written);
    } while (rc == RC_FULL);
}

void front_send_text(struct front_client *c, const char *text)
{
    front_send(c, text, strlen(text));
    front_pump();
}

void front_send_raw(struct front_client *c, const void *data, size_t len)
{
    append(&c->out, &c->out_len, data, len);
    front_pump();
}

void front_close(struct front_client *c, bool notify)
{
    if (notify) {
        record_close(&c->record);
        front_send(c, NULL, 0);
    }
    c->close_due = true;
    front_pump();
}

void front_reset(struct front_client *c)
{
    front_put(c->channel, MUX_RESET, c->id, NULL, 0);
    c->left = true;
    front_pump();
}

char *front_take(struct front_client *c)
{
    char *got = c->got;

    c->got = NULL;
    c->got_len = 0;
    append(&c->got, &c->got_len, NULL, 0);
    return got;
}
