#include "tenant-runtime/runtime/channel.h"

#include <stdlib.h>

#include "common/core/check.h"
#include "common/core/handover.h"
#include "common/core/launch.h"
#include "common/core/secret.h"
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/conn.h"
#include "tenant-runtime/runtime/control.h"
#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/runtime.h"

/* Room for one record that gets on, and for any frame without data. */
#define ROOM_MIN (MUX_HEAD_SIZE + RECORD_ROOM_MIN)

static struct channel *channels; /* owned */
static unsigned channel_count;
static bool stopping;

/*----- connections by id -----*/

static struct conn **bucket(struct channel *ch, uint64_t id)
{
    return &ch->conns[(id ^ id >> 32) % CHANNEL_BUCKETS];
}

static struct conn *find(struct channel *ch, uint64_t id)
{
    struct conn *c = *bucket(ch, id);

    while (c && c->id != id)
        c = c->next;
    return c;
}

void channel_wait_room(struct channel *ch, struct conn *c)
{
    if (c->waiting)
        return;
    c->waiting = true;
    c->next_waiting = NULL;
    if (!ch->waiting)
        ch->waiting_end = &ch->waiting;
    *ch->waiting_end = c;
    ch->waiting_end = &c->next_waiting;
}

static void stop_waiting(struct channel *ch, struct conn *c)
{
    struct conn **p = &ch->waiting;

    if (!c->waiting)
        return;
    while (*p != c)
        p = &(*p)->next_waiting;
    *p = c->next_waiting;
    if (!*p)
        ch->waiting_end = p;
    c->waiting = false;
}

void channel_forget(struct channel *ch, struct conn *c)
{
    struct conn **p = bucket(ch, c->id);

    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    stop_waiting(ch, c);
}

static void drop_all(struct channel *ch)
{
    for (unsigned i = 0; i < CHANNEL_BUCKETS; i++)
        while (ch->conns[i])
            conn_gone(ch->conns[i]);
    ch->reset_count = 0;
}

static void drain_all(struct channel *ch)
{
    for (unsigned i = 0; i < CHANNEL_BUCKETS; i++) {
        struct conn *next;

        for (struct conn *c = ch->conns[i]; c; c = next) {
            next = c->next;
            conn_drain(c);
        }
    }
}

/*----- out -----*/

uint32_t channel_room(const struct channel *ch)
{
    struct ring_span span;

    if (mux_reserve(&ch->ring, MUX_PAYLOAD_MAX, &span) != RC_OK)
        return 0; /* full, or a bad index, which the next poll finds */
    return span.len[0] + span.len[1];
}

enum rc channel_put(struct channel *ch, struct conn *c, uint8_t type, const void *payload,
                    uint32_t len)
{
    enum rc rc = mux_put(&ch->ring, type, c->id, payload, len);

    if (rc)
        channel_wait_room(ch, c);
    else
        ch->wrote = true;
    return rc;
}

static void put_resets(struct channel *ch)
{
    while (ch->reset_count &&
           mux_put(&ch->ring, MUX_RESET, ch->resets[ch->reset_count - 1], NULL, 0) == RC_OK) {
        ch->reset_count--;
        ch->wrote = true;
    }
}

static void put_hello(struct channel *ch)
{
    struct mux_hello hello = {MUX_VERSION, HANDOVER_VERSION, rt.generation};
    uint8_t buf[MUX_HELLO_SIZE];
    size_t n;

    CHECK(mux_hello_encode(&hello, buf, sizeof buf, &n) == RC_OK);
    if (mux_put(&ch->ring, MUX_HELLO, 0, buf, (uint32_t)n) == RC_OK)
        ch->wrote = true;
}

/* Closes the channel to a worker that broke the rules, until it is gone. */
static void leave(struct channel *ch, const char *why)
{
    rk_log(RK_ERROR, "channel %d closed until its front worker is replaced: %s", ch->index, why);
    ch->state = CHANNEL_LEFT;
    drop_all(ch);
    ring_leave(&ch->ring);
    ground->ring(ch->index);
}

void channel_refuse(struct channel *ch, uint64_t id)
{
    if (ch->reset_count == CHANNEL_RESETS) {
        /* It opens connections and reads no answers. */
        ch->flooded = true;
        return;
    }
    ch->resets[ch->reset_count++] = id;
    put_resets(ch);
}

/*----- in: each returns NULL, or what the worker did that no race explains -----*/

static const char *take_hello(struct channel *ch, const struct ring_span *payload, uint32_t len)
{
    struct mux_hello hello;
    uint8_t buf[MUX_HELLO_SIZE];

    if (len != sizeof buf || !ring_span_copy(payload, 0, buf, len) ||
        mux_hello_decode(buf, len, &hello))
        return "its HELLO is malformed";
    if (hello.mux_version != MUX_VERSION || hello.handover_version != HANDOVER_VERSION) {
        rk_log(RK_ERROR,
               "the front speaks frames %u and handover %u, this image %u and %u: build the image "
               "anew with the roomkey-cc that came with the front",
               hello.mux_version, hello.handover_version, MUX_VERSION, HANDOVER_VERSION);
        return "it speaks another version";
    }
    if (hello.generation != rt.generation)
        return "it expects another generation of this instance";
    ch->state = CHANNEL_OPEN;
    return NULL;
}

static const char *take_open(struct channel *ch, uint64_t id, const struct ring_span *payload,
                             uint32_t len)
{
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover h;
    struct conn *c;
    enum rc rc;

    if (id >> 32 == 0 || find(ch, id) || len > sizeof buf || !ring_span_copy(payload, 0, buf, len))
        return "its OPEN is malformed";
    rc = handover_decode(buf, len, &h);
    secret_wipe(buf, sizeof buf);
    /* The worker maps these bytes for as long as it lives. */
    for (int i = 0; i < 2; i++)
        secret_wipe(payload->p[i], payload->len[i]);
    if (rc)
        return "a handover is malformed";

    ch->draining = stopping;
    c = stopping ? NULL : conn_open(ch, id, &h);
    handover_wipe(&h);
    if (!c) {
        channel_refuse(ch, id);
        return NULL;
    }
    c->next = *bucket(ch, id);
    *bucket(ch, id) = c;
    return NULL;
}

static const char *take_credit(struct conn *c, const struct ring_span *payload, uint32_t len)
{
    uint32_t more;

    if (mux_u32_decode(payload, len, &more))
        return "its CREDIT is malformed";
    return c && conn_credit(c, more) ? "it gives more credit than it was sent" : NULL;
}

static const char *take(struct channel *ch, const struct mux_head *head,
                        const struct ring_span *payload)
{
    struct conn *c = head->conn ? find(ch, head->conn) : NULL;
    bool of_channel = head->type == MUX_HELLO || head->type == MUX_DRAIN;

    if (ch->state == CHANNEL_HELLO && head->type != MUX_HELLO)
        return "its first frame is not HELLO";
    if (head->type <= MUX_DRAIN && of_channel != (head->conn == 0))
        return "a frame is of no connection, or of one and should not be";

    switch (head->type) {
    case MUX_HELLO:
        return ch->state == CHANNEL_HELLO ? take_hello(ch, payload, head->len)
                                          : "it said HELLO twice";
    case MUX_OPEN:
        return take_open(ch, head->conn, payload, head->len);
    case MUX_DATA:
        return c && conn_data(c, payload, head->len) ? "DATA is past its credit or its CLOSE"
                                                     : NULL;
    case MUX_CREDIT:
        return take_credit(c, payload, head->len);
    case MUX_CLOSE:
        if (head->len != 0)
            return "its CLOSE is malformed";
        return c && conn_close(c) ? "it said CLOSE twice" : NULL;
    case MUX_RESET:
        if (head->len != 0)
            return "its RESET is malformed";
        if (c)
            conn_gone(c);
        return NULL;
    case MUX_DRAIN:
        if (head->len != 0)
            return "its DRAIN is malformed";
        ch->draining = true;
        drain_all(ch);
        return NULL;
    case MUX_READY ... MUX_SLOT:
        return "a frame belongs on the control channel";
    default:
        return NULL; /* of a newer version, which may be left out */
    }
}

/*----- the channel's life -----*/

/* The worker is gone: its connections with it, and the next one may come. */
static void reopen(struct channel *ch)
{
    drop_all(ch);
    ring_reopen(&ch->ring);
    ch->state = CHANNEL_HELLO;
    ch->draining = stopping;
    ch->flooded = false;
    put_hello(ch);
    control_slot((unsigned)ch->index);
}

static bool poll_room(struct channel *ch)
{
    unsigned n = 0;
    bool any = false;

    if (ch->reset_count)
        put_resets(ch);
    for (struct conn *c = ch->waiting; c; c = c->next_waiting)
        n++;
    while (n-- && ch->waiting && channel_room(ch) >= ROOM_MIN - MUX_HEAD_SIZE) {
        struct conn *c = ch->waiting;

        stop_waiting(ch, c);
        conn_room(c);
        any = true;
    }
    return any;
}

static bool poll(struct channel *ch)
{
    const char *why = NULL;
    struct ring_span payload;
    struct mux_head head;
    unsigned n;
    enum rc rc = RC_OK;
    uint32_t room;

    if (ring_peer(&ch->ring) == RING_GONE) {
        reopen(ch);
        return true;
    }
    if (ch->state == CHANNEL_LEFT)
        return false;
    for (n = 0; n < LIMIT_BATCH && !why; n++) {
        rc = mux_next(&ch->ring, &head, &payload);
        if (rc)
            break;
        why = take(ch, &head, &payload);
        mux_consume(&ch->ring, &head);
        ch->read = true;
    }
    if (!why && rc != RC_OK && rc != RC_AGAIN)
        why = "a frame or an index of its ring makes no sense";
    if (!why && ring_writable(&ch->ring, &payload, &room) != RC_OK)
        why = "an index of our ring makes no sense";
    if (!why && ch->flooded)
        why = "it takes no answers";
    if (why) {
        leave(ch, why);
        return true;
    }
    return poll_room(ch) || n != 0;
}

enum rc channels_open(unsigned count)
{
    channels = calloc(count, sizeof *channels);
    if (!channels)
        return RC_NOMEM;
    stopping = false;
    for (channel_count = 0; channel_count < count; channel_count++) {
        struct channel *ch = &channels[channel_count];
        struct ground_channel memory = ground->channel((int)channel_count);
        enum rc rc = ring_attach(&ch->ring, memory.memory, memory.len, RING_SERVER);

        if (rc)
            return rc;
        ch->index = (int)channel_count;
        put_hello(ch);
    }
    return RC_OK;
}

bool channels_poll(void)
{
    bool any = false;

    for (unsigned i = 0; i < channel_count; i++)
        any |= poll(&channels[i]);
    return any;
}

void channels_notify(void)
{
    for (unsigned i = 0; i < channel_count; i++) {
        struct channel *ch = &channels[i];
        bool ring = false;

        if (ch->wrote)
            ring |= ring_must_notify(&ch->ring, RING_NOTIFY_WRITE);
        if (ch->read)
            ring |= ring_must_notify(&ch->ring, RING_NOTIFY_READ);
        ch->wrote = ch->read = false;
        if (ring)
            ground->ring(ch->index);
    }
}

static bool want(struct channel *ch)
{
    bool room_wanted = ch->waiting || ch->reset_count;
    struct ring_span span;
    uint32_t n;

    if (ring_peer(&ch->ring) == RING_GONE)
        return true;
    if (ch->state == CHANNEL_LEFT)
        return false;
    ring_want(&ch->ring, (uint8_t)(RING_NOTIFY_WRITE | (room_wanted ? RING_NOTIFY_READ : 0)));
    if (ring_readable(&ch->ring, &span, &n) != RC_OK || n != 0)
        return true;
    if (ring_writable(&ch->ring, &span, &n) != RC_OK)
        return true;
    return room_wanted && n >= ROOM_MIN;
}

bool channels_want(void)
{
    bool any = false;

    for (unsigned i = 0; i < channel_count; i++)
        any |= want(&channels[i]);
    return any;
}

void channels_stop(void)
{
    stopping = true;
    for (unsigned i = 0; i < channel_count; i++) {
        channels[i].draining = true;
        drain_all(&channels[i]);
    }
}

void channels_drop(void)
{
    for (unsigned i = 0; i < channel_count; i++)
        drop_all(&channels[i]);
}

void channels_close(void)
{
    channels_drop();
    for (unsigned i = 0; i < channel_count; i++) {
        ring_leave(&channels[i].ring);
        ground->ring(channels[i].index);
    }
    free(channels);
    channels = NULL;
    channel_count = 0;
}
