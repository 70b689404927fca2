/* A front worker that is hostile, at roomkeyd: any message, at any time, between wakes that are
 * right; with a second worker that is honest and has a connection to a tenant of its own.
 *
 * roomkeyd never fails a CHECK, tells the honest worker nothing that it did not ask for, and the
 * honest worker's tenant runs on, unless the hostile one had its host name too: to complain of a
 * tenant is what a worker that serves it may do.
 *
 * Input: steps, each a byte for what and what that takes: 0 a message (u16 bytes), 1 a WAKE (u8
 * tenant), 2 a message about the instance that READY named last (u8 type, u32 connections),
 * 3 SYNCED, 4 the connection is lost and made again, 5 time (u16 ms), 6 a tenant dies (u8).
 *
 * Seen to find: on_complaint() that does not look at the slot. */
#include <stdio.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/wire.h"
#include "common/host/log.h"
#include "tests/unit/fleet_house.h"

#define HOSTILE 0
#define HONEST  1

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct control_instance named; /* by the last READY to the hostile one */
static uint64_t asked;
static bool reached;        /* the hostile one had to do with the honest one's tenant */
static bool dropped;        /* its connection, for what it said */
static unsigned unasked_nr; /* words to the honest one */
static bool asked_to_let_go;
static struct control_instance held; /* by the honest one */

/* Nothing here is worth waiting for a disk. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

static void hear(void *arg, unsigned worker, const struct control_msg *m, const int *fds)
{
    struct house *h = arg;
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    (void)h, (void)fds;
    CHECK(control_encode(m, buf, sizeof buf, &len) == RC_OK);
    if (worker == HOSTILE && m->type == CONTROL_READY)
        named = m->ready.id;
    if (worker == HONEST)
        asked_to_let_go |= m->type == CONTROL_RELEASE && m->release.id.generation != 0;
    if (worker == HONEST)
        unasked_nr += m->type == CONTROL_READY || m->type == CONTROL_ROUTE;
}

/* The honest one has something moving, always. */
static void pass(struct house *h, uint64_t ms)
{
    while (ms > 0) {
        uint64_t n = ms < 2000 ? ms : 2000;

        house_pass(h, n);
        ms -= n;
        if (asked_to_let_go)
            house_instance(h, HONEST, CONTROL_BUSY, &held);
        asked_to_let_go = false;
    }
}

static void say(struct house *h, const struct control_msg *m)
{
    if (dropped)
        return;
    if (fleet_worker_message(h->fleet, HOSTILE, m)) {
        fleet_worker_lost(h->fleet, HOSTILE); /* as front_server.c does */
        dropped = true;
    }
    house_settle(h);
}

static void wake(struct house *h, unsigned worker, const char *host)
{
    struct control_msg m = {.type = CONTROL_WAKE};

    m.wake.request = ++asked;
    strcpy(m.wake.hostname, host);
    reached |= worker == HOSTILE && strcmp(host, "beta.example") == 0;
    if (worker == HOSTILE)
        say(h, &m);
    else
        CHECK(fleet_worker_message(h->fleet, worker, &m) == RC_OK);
    house_settle(h);
}

static void say_raw(struct house *h, const uint8_t *p, uint16_t len)
{
    struct control_msg m;

    if (!p || control_decode(p, len, &m) || m.type == CONTROL_HELLO)
        return;
    reached |= m.type == CONTROL_WAKE && strcmp(m.wake.hostname, "beta.example") == 0;
    say(h, &m);
}

static void say_of_it(struct house *h, uint8_t type, uint32_t connections)
{
    struct control_msg m = {.type = type};

    switch (type) {
    case CONTROL_ACTIVITY:
        m.activity = (struct control_activity){named, connections, connections};
        break;
    case CONTROL_HOLDING:
        m.holding.id = named;
        m.holding.connections = connections;
        break;
    case CONTROL_RELEASED:
    case CONTROL_BUSY:
        m.instance = named;
        break;
    case CONTROL_COMPLAINT:
        m.complaint.id = named;
        m.complaint.why = (uint16_t)connections;
        break;
    default:
        return;
    }
    say(h, &m);
}

static void step(struct house *h, struct wire_in *in)
{
    struct control_msg synced = {.type = CONTROL_SYNCED};
    struct backend_instance *i;
    uint8_t what = wire_u8(in), byte;
    uint16_t n;

    switch (what % 7) {
    case 0:
        n = wire_u16(in);
        say_raw(h, wire_bytes(in, n), n);
        return;
    case 1:
        byte = wire_u8(in);
        wake(h, HOSTILE, byte % 3 == 0 ? "acme.example" : byte % 3 == 1 ? "beta.example" : "no");
        return;
    case 2:
        byte = wire_u8(in);
        say_of_it(h, byte, wire_u32(in));
        return;
    case 3:
        say(h, &synced);
        return;
    case 4:
        if (!dropped)
            fleet_worker_lost(h->fleet, HOSTILE);
        fleet_worker_hello(h->fleet, HOSTILE);
        dropped = false;
        house_settle(h);
        return;
    case 5:
        pass(h, wire_u16(in));
        return;
    default:
        i = fake_living(h->backend, "acme");
        if (i)
            fake_crash(i);
        house_settle(h);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_in in = wire_in(data, size);
    struct backend_instance *i;
    struct house *h;
    void *state;
    uint64_t id;

    log_open("fuzz", (enum log_level)0);
    CHECK(house_set_up(&state) == 0);
    h = state;
    house_image(h, "web:1", FAKE_READY, 20);
    house_tenant(h, "acme", "web:1");
    house_tenant(h, "beta", "web:1");
    h->hear = hear;
    h->hear_arg = h;
    named = (struct control_instance){0};
    asked = unasked_nr = 0;
    reached = dropped = asked_to_let_go = false;

    wake(h, HONEST, "beta.example");
    house_pass(h, 100);
    i = fake_living(h->backend, "beta");
    CHECK(i && unasked_nr == 2);
    id = i->id;
    held = (struct control_instance){id, i->generation};
    house_activity(h, HONEST, &held, 1, 100);

    for (unsigned n = 0; n < 60 && in.left && !in.bad; n++)
        step(h, &in);
    i = fake_living(h->backend, "beta");
    CHECK(unasked_nr == 2);
    CHECK(reached || (i && i->id == id));
    CHECK(house_tear_down(&state) == 0);
    return 0;
}
