#include "tenant-runtime/runtime/control.h"

#include <stdio.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/wire.h"
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/lease.h"
#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tenant-runtime/runtime/timer.h"

static struct {
    struct ring ring;
    bool open, wrote, read;
    enum rc verdict;
    uint64_t stop_ns;

    /* What is owed when the ring has no room. */
    bool owes_ready, owes_health, owes_busy;
    uint64_t owes_slots; /* a bit a channel; LAUNCH_CHANNELS_MAX of them */
    uint32_t lines_lost;

    uint32_t boot_us;
    uint64_t health_token;
    bool told_busy; /* the last HEALTH or BUSY said that leases are held */
} control;

enum rc control_open(void)
{
    struct ground_channel memory = ground->channel(GROUND_CONTROL);
    enum rc rc;

    memset(&control, 0, sizeof control);
    control.verdict = RC_AGAIN;
    control.stop_ns = TIMER_NEVER;
    rc = ring_attach(&control.ring, memory.memory, memory.len, RING_SERVER);
    if (rc)
        return rc;
    control.open = true;
    return RC_OK;
}

bool control_is_open(void)
{
    return control.open;
}

/*----- out -----*/

static bool put(uint8_t type, const void *payload, size_t len)
{
    if (mux_put(&control.ring, type, 0, payload, (uint32_t)len) != RC_OK)
        return false;
    control.wrote = true;
    return true;
}

static bool put_ready(void)
{
    struct mux_ready ready = {.boot_us = control.boot_us};
    uint8_t buf[256];
    size_t n;

    snprintf(ready.name, sizeof ready.name, "%s", rk_name());
    snprintf(ready.version, sizeof ready.version, "%s", rk_version());
    CHECK(mux_ready_encode(&ready, buf, sizeof buf, &n) == RC_OK);
    return put(MUX_READY, buf, n);
}

static bool put_health(uint8_t type, uint64_t token)
{
    struct mux_health health = {
        .token = token,
        .healthy = !rk_app.on_health || rk_app.on_health(),
        .connections = rt.connections,
        .in_flight = rt.in_flight,
        .leases = lease_count(),
        .busy_ms = lease_left_ms(),
    };
    uint8_t buf[64];
    size_t n;

    CHECK(mux_health_encode(&health, buf, sizeof buf, &n) == RC_OK);
    if (!put(type, buf, n))
        return false;
    control.told_busy = health.leases != 0;
    return true;
}

static bool put_line(enum mux_log level, const char *text)
{
    uint8_t buf[1 + MUX_TEXT_MAX];
    size_t n = strlen(text);

    if (n > MUX_TEXT_MAX)
        n = MUX_TEXT_MAX;
    buf[0] = (uint8_t)level;
    memcpy(buf + 1, text, n);
    return put(MUX_LOG, buf, 1 + n);
}

/* Sends what is owed, in order of weight; true when something went out. */
static bool flush(void)
{
    bool before = control.wrote;
    char text[64];

    control.wrote = false;
    if (control.owes_ready && put_ready())
        control.owes_ready = false;
    if (control.owes_health && put_health(MUX_HEALTH, control.health_token))
        control.owes_health = false;
    if (control.owes_busy && put_health(MUX_BUSY, 0))
        control.owes_busy = false;
    for (uint8_t i = 0; control.owes_slots >> i; i++) {
        uint8_t slot[MUX_U32_SIZE];

        mux_u32_encode(i, slot);
        if (control.owes_slots >> i & 1 && put(MUX_SLOT, slot, sizeof slot))
            control.owes_slots &= ~(UINT64_C(1) << i);
        if (i == 63)
            break;
    }
    if (control.lines_lost) {
        snprintf(text, sizeof text, "%u lines of this log were lost", (unsigned)control.lines_lost);
        if (put_line(MUX_LOG_WARNING, text))
            control.lines_lost = 0;
    }
    if (control.wrote)
        return true;
    control.wrote = before;
    return false;
}

static bool owes(void)
{
    return control.owes_ready || control.owes_health || control.owes_busy || control.owes_slots ||
           control.lines_lost;
}

void control_ready(uint32_t boot_us)
{
    control.boot_us = boot_us;
    control.owes_ready = true;
    flush();
}

void control_failed(const char *why)
{
    size_t n = strlen(why);

    (void)put(MUX_FAILED, why, n < MUX_TEXT_MAX ? n : MUX_TEXT_MAX);
}

void control_log(enum mux_log level, const char *text)
{
    if (control.lines_lost || !put_line(level, text))
        control.lines_lost++;
}

void control_slot(unsigned index)
{
    control.owes_slots |= UINT64_C(1) << index;
}

void control_busy_changed(void)
{
    if (control.open && control.told_busy)
        control.owes_busy = true;
}

/*----- in -----*/

static bool take(const struct mux_head *head, const struct ring_span *payload)
{
    uint8_t token[8] = {0};
    struct wire_in in = wire_in(token, sizeof token);
    uint32_t ms;

    if (head->conn != 0)
        return false;
    switch (head->type) {
    case MUX_HEALTH:
        if (head->len != sizeof token || !ring_span_copy(payload, 0, token, sizeof token))
            return false;
        control.health_token = wire_u64(&in);
        control.owes_health = true;
        return true;
    case MUX_STOP:
        if (mux_u32_decode(payload, head->len, &ms))
            return false;
        control.stop_ns = rk_now_ns() + ms * TIMER_MS;
        return true;
    default:
        /* What a newer version knows may be left out; all that we know is ours to
         * send, or a worker's. */
        return head->type > MUX_SLOT || (head->type > MUX_DRAIN && head->type < MUX_READY);
    }
}

bool control_poll(void)
{
    struct ring_span payload;
    struct mux_head head;
    bool any = false;
    enum rc rc;

    if (!control.open || control.verdict != RC_AGAIN)
        return false;
    if (ring_peer(&control.ring) == RING_GONE) {
        /* Tenants go on while the orchestrator is away; it may attach again, and
         * what it had not read is lost with the old indices. */
        ring_reopen(&control.ring);
        control.owes_ready = control.boot_us != 0;
        any = true;
    }
    while ((rc = mux_next(&control.ring, &head, &payload)) == RC_OK) {
        bool good = take(&head, &payload);

        mux_consume(&control.ring, &head);
        control.read = any = true;
        if (!good) {
            rc = RC_MALFORMED;
            break;
        }
    }
    if (rc != RC_AGAIN) {
        control.verdict = RC_MALFORMED;
        return true;
    }
    return flush() || any;
}

void control_notify(void)
{
    bool ring = false;

    if (!control.open)
        return;
    if (control.wrote)
        ring |= ring_must_notify(&control.ring, RING_NOTIFY_WRITE);
    if (control.read)
        ring |= ring_must_notify(&control.ring, RING_NOTIFY_READ);
    control.wrote = control.read = false;
    if (ring)
        ground->ring(GROUND_CONTROL);
}

bool control_want(void)
{
    struct ring_span span;
    uint32_t n;

    if (ring_peer(&control.ring) == RING_GONE)
        return true;
    ring_want(&control.ring, (uint8_t)(RING_NOTIFY_WRITE | (owes() ? RING_NOTIFY_READ : 0)));
    if (ring_readable(&control.ring, &span, &n) != RC_OK || n != 0)
        return true;
    if (ring_writable(&control.ring, &span, &n) != RC_OK) {
        control.verdict = RC_MALFORMED;
        return true;
    }
    return owes() && n >= MUX_HEAD_SIZE + 256;
}

void control_close(void)
{
    if (!control.open)
        return;
    ring_leave(&control.ring);
    ground->ring(GROUND_CONTROL);
    control.open = false;
}

enum rc control_verdict(void)
{
    return control.verdict;
}

uint64_t control_stop_ns(void)
{
    return control.stop_ns;
}
