#include "tls-front/relay.h"

#include <string.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "common/host/clock.h"
#include "tls-front/handshake.h"
#include "tls-front/opening.h"
#include "tls-front/worker.h"

/* Frames taken from one channel before another has its turn. */
#define BATCH 64
/* Less room than this is not worth a frame: wait for the doorbell. */
#define ROOM_MIN 1024u
/* Credit goes back in portions, so that it is not a frame for each record. */
#define CREDIT_PORTION (MUX_CREDIT_INITIAL / 4)
#define FIRST_CHUNK    8192u
/* Frames that may cross the end of a connection on their way here: its whole credit in the smallest
 * records that there are, and what else it had to say. */
#define CROSSING_EACH (MUX_CREDIT_INITIAL / 16)
#define CROSSING_MAX  (256 * CROSSING_EACH)

/*----- to the tenant: the handover -----*/

static bool is_open(const struct conn *c)
{
    return !c->opening || !c->opening->handshake;
}

static enum rc put_handover(struct conn *c)
{
    struct opening *o = c->opening;
    uint8_t buf[HANDOVER_SIZE_MAX];
    struct handover h = {0};
    size_t len;
    enum rc rc = handshake_export(o->handshake, &h);

    if (!rc) {
        h.woken = o->woken;
        memcpy(h.sni, o->hello.name, sizeof o->hello.name);
        memcpy(h.client_addr, c->addr, sizeof h.client_addr);
        h.client_port = c->port;
        h.times = o->times;
        h.times.handover_us = (uint32_t)(clock_us() - o->first_us);
        rc = handover_encode(&h, buf, sizeof buf, &len);
    }
    if (!rc)
        rc = channel_put(c->channel, MUX_OPEN, c->id, buf, (uint32_t)len);
    if (!rc) {
        OPENED(c, handovers);
        COUNT(c->w, resumed_total) += h.resumed;
    }
    secret_wipe(buf, sizeof buf);
    handover_wipe(&h);
    return rc;
}

/* What the client sent behind its Finished; it always fits in the first credit. */
static enum rc put_first_bytes(struct conn *c)
{
    struct opening *o = c->opening;
    size_t at = 0;
    enum rc rc = RC_OK;

    _Static_assert(HELLO_RAW_MAX <= MUX_CREDIT_INITIAL, "it fits");
    while (at < o->len && !rc) {
        size_t n = o->len - at < FIRST_CHUNK ? o->len - at : FIRST_CHUNK;

        rc = channel_put(c->channel, MUX_DATA, c->id, o->in + at, (uint32_t)n);
        if (!rc) {
            at += n;
            c->credit -= (uint32_t)n;
            c->channel->bytes += n;
        }
    }
    o->len -= at;
    memmove(o->in, o->in + at, o->len);
    return rc;
}

static enum rc put_opening(struct conn *c)
{
    enum rc rc;

    if (!is_open(c)) {
        rc = put_handover(c);
        if (rc)
            return rc;
        handshake_free(c->opening->handshake); /* the keys are the tenant's now */
        c->opening->handshake = NULL;
    }
    rc = put_first_bytes(c);
    if (!rc)
        opening_free(c);
    return rc;
}

void relay_begin(struct conn *c, struct channel *ch)
{
    sm_move(&c->sm, CONN_RELAY);
    c->credit = c->window = MUX_CREDIT_INITIAL;
    channel_join(ch, c);
    relay_resume(c);
}

/*----- to the tenant: from the socket -----*/

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    uint32_t want = c->credit < MUX_PAYLOAD_MAX ? c->credit : MUX_PAYLOAD_MAX;
    struct ring_span span;
    enum rc rc;
    int run;

    (void)suggested;
    *buf = uv_buf_init(NULL, 0); /* on_bytes() gets UV_ENOBUFS */
    if (want == 0)
        return;
    rc = mux_reserve(&c->channel->ring, want, &span);
    if (rc && rc != RC_FULL)
        channel_complain(c->channel, "an index of its ring is impossible");
    if (rc)
        return;
    if (span.len[0] + span.len[1] < (want < ROOM_MIN ? want : ROOM_MIN))
        return;
    run = span.len[0] == 0;
    *buf = uv_buf_init((char *)span.p[run], span.len[run]);
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;

    (void)buf;
    if (n > 0) {
        mux_commit(&c->channel->ring, MUX_DATA, c->id, (uint32_t)n);
        channel_wrote(c->channel);
        c->credit -= (uint32_t)n;
        c->channel->bytes += (uint64_t)n;
        COUNT(c->w, bytes_in_total) += (uint64_t)n;
        if (c->credit == 0)
            conn_stop(c);
    } else if (n == UV_ENOBUFS) {
        conn_stop(c);
        if (c->credit > 0)
            channel_block(c->channel, c);
    } else if (n == UV_EOF) {
        conn_stop(c);
        c->eof = true;
        if (conn_was_reset(c))
            conn_lost(c, CONN_RST);
        else
            relay_resume(c);
    } else if (n < 0) {
        conn_lost(c, CONN_RST);
    }
}

/*----- to the tenant: everything that is owed, in order -----*/

static enum rc put_credit(struct conn *c)
{
    uint8_t buf[MUX_U32_SIZE];
    enum rc rc;

    mux_u32_encode(c->owed, buf);
    rc = channel_put(c->channel, MUX_CREDIT, c->id, buf, sizeof buf);
    if (!rc) {
        c->window += c->owed;
        c->owed = 0;
    }
    return rc;
}

static void close_if_over(struct conn *c)
{
    if (c->close_sent && c->close_got && c->fin_sent) {
        ENDED(c, closed);
        conn_close(c, CONN_FIN);
    }
}

void relay_resume(struct conn *c)
{
    struct channel *ch = c->channel;
    enum rc rc = RC_OK;

    if (c->reset) {
        if (channel_put(ch, MUX_RESET, c->id, NULL, 0)) {
            channel_block(ch, c);
            return;
        }
        channel_leave(ch, c);
        conn_settle(c); /* c may be freed: last */
        return;
    }
    if (c->opening)
        rc = put_opening(c);
    if (rc && rc != RC_FULL) {
        conn_close(c, CONN_RST); /* its keys cannot be exported */
        return;
    }
    if (!rc && c->owed >= CREDIT_PORTION)
        rc = put_credit(c);
    if (!rc && c->eof && !c->close_sent) {
        rc = channel_put(ch, MUX_CLOSE, c->id, NULL, 0);
        c->close_sent = !rc;
    }
    if (rc) {
        channel_block(ch, c);
        return;
    }
    if (!c->eof && c->credit > 0)
        conn_read(c, on_room, on_bytes);
    close_if_over(c);
}

void relay_end(struct conn *c)
{
    struct channel *ch = c->channel;

    if (!ch)
        return;
    if (ch->crossing < CROSSING_MAX)
        ch->crossing += CROSSING_EACH;
    /* A connection that the tenant never heard of, or whose both ends it knows,
     * just leaves. */
    if (!is_open(c) || (c->close_sent && c->close_got)) {
        channel_leave(ch, c);
        return;
    }
    c->reset = true;
    if (channel_put(ch, MUX_RESET, c->id, NULL, 0))
        channel_block(ch, c);
    else
        channel_leave(ch, c);
}

/*----- from the tenant -----*/

void relay_taken(struct conn *c, uint32_t n)
{
    uint32_t out = MUX_CREDIT_INITIAL - c->window;

    /* The first bytes may be of the handshake, and nobody's credit. */
    c->owed = c->owed + n < out ? c->owed + n : out;
    if (c->owed >= CREDIT_PORTION && !c->blocked && c->channel)
        if (put_credit(c))
            channel_block(c->channel, c);
}

void relay_flushed(struct conn *c)
{
    close_if_over(c);
}

void relay_second(struct conn *c)
{
    if (c->sm.state == CONN_RELAY && conn_was_reset(c))
        conn_lost(c, CONN_RST);
}

/* Its answer may be whole, and the client only slow to take it. */
void relay_lost(struct conn *c)
{
    channel_leave(c->channel, c);
    if (c->sm.state == CONN_CLOSED)
        conn_settle(c);
    else if (c->close_got)
        conn_finish(c);
    else {
        OPENED(c, wake_failed); /* it was still to be handed over */
        ENDED(c, tenant_lost);
        conn_close(c, CONN_RST);
    }
}

/* Each returns NULL, or what is wrong with the frame. */

static const char *take_hello(struct channel *ch, const struct mux_head *head,
                              const struct ring_span *payload)
{
    uint8_t buf[MUX_HELLO_SIZE];
    struct mux_hello m;

    if (ch->greeted || head->conn != 0)
        return "HELLO came twice";
    if (head->len != sizeof buf || !ring_span_copy(payload, 0, buf, sizeof buf) ||
        mux_hello_decode(buf, sizeof buf, &m))
        return "its HELLO is malformed";
    if (m.mux_version != MUX_VERSION || m.handover_version != HANDOVER_VERSION)
        return "its image speaks another version of the channel: build it again";
    if (m.generation != ch->id.generation)
        return "it is of another generation";
    ch->greeted = true;
    return NULL;
}

static const char *take_data(struct conn *c, const struct mux_head *head,
                             const struct ring_span *payload)
{
    uv_buf_t bufs[2] = {uv_buf_init((char *)payload->p[0], payload->len[0]),
                        uv_buf_init((char *)payload->p[1], payload->len[1])};
    enum rc rc;

    if (c->close_got)
        return "DATA came after CLOSE";
    if (head->len == 0)
        return "its DATA is empty";
    if (head->len > c->window)
        return "DATA came without credit";
    c->window -= head->len;
    c->channel->bytes += head->len;
    rc = conn_write(c, bufs, payload->len[1] ? 2 : 1);
    if (rc)
        conn_unwritten(c, rc);
    return NULL;
}

static const char *take_credit(struct conn *c, const struct mux_head *head,
                               const struct ring_span *payload)
{
    uint32_t n;

    if (mux_u32_decode(payload, head->len, &n) || n == 0)
        return "its CREDIT is malformed";
    if (n > MUX_CREDIT_INITIAL - c->credit)
        return "it gives back more credit than was used";
    c->credit += n;
    if (!c->blocked)
        relay_resume(c);
    return NULL;
}

static const char *take_close(struct conn *c, const struct mux_head *head)
{
    if (head->len != 0 || c->close_got)
        return "its CLOSE is malformed or the second";
    c->close_got = true;
    conn_fin(c);
    return NULL;
}

static const char *take_reset(struct conn *c, const struct mux_head *head)
{
    if (head->len != 0)
        return "its RESET is malformed";
    relay_lost(c);
    return NULL;
}

/* What it sent before it heard that the connection is over; more than that is a flood. */
static const char *take_crossing(struct channel *ch)
{
    if (ch->crossing == 0)
        return "it goes on and on about connections that it does not have";
    ch->crossing--;
    return NULL;
}

static const char *take(struct channel *ch, const struct mux_head *head,
                        const struct ring_span *payload)
{
    struct conn *c;

    if (head->type == MUX_HELLO)
        return take_hello(ch, head, payload);
    if (!ch->greeted)
        return "its first frame is not HELLO";
    if (head->type < MUX_DATA || head->type > MUX_RESET)
        return "a frame is of a type that only others send, or nobody";
    if (head->conn >> 32 == 0)
        return "a frame is of no connection";
    c = conn_find(ch, head->conn);
    if (!c || !is_open(c) || (c->reset && head->type != MUX_RESET))
        return take_crossing(ch);
    if (head->type == MUX_RESET)
        return take_reset(c, head);
    switch (head->type) {
    case MUX_DATA:
        return take_data(c, head, payload);
    case MUX_CREDIT:
        return take_credit(c, head, payload);
    default:
        return take_close(c, head);
    }
}

bool relay_frames(struct channel *ch)
{
    for (int i = 0; i < BATCH && !ch->broken; i++) {
        struct mux_head head;
        struct ring_span payload;
        const char *why;
        enum rc rc = mux_next(&ch->ring, &head, &payload);

        if (rc == RC_AGAIN)
            return false;
        why = rc ? "its ring or a frame's head is malformed" : take(ch, &head, &payload);
        if (why) {
            channel_complain(ch, why);
            return false;
        }
        mux_consume(&ch->ring, &head);
        ch->read = true;
        ch->news++;
    }
    return !ch->broken;
}
