#include "orchestrator/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/core/check.h"
#include "common/core/wire.h"
#include "orchestrator/text.h"

#define SECOND_MS       1000
#define FRAMES_A_TURN   32   /* then others have their turn */
#define FRAMES_A_SECOND 8192 /* then it is not listened to until the second is over */
#define FRAMES_AT_END   1024 /* more than a control ring holds */
/* Doorbells in a second with nothing new behind them: an honest one rings when it has been asked
 * to, which is once for what it wrote; that may have been read before its doorbell is answered. */
#define IDLE_RINGS_MAX 5000

struct link {
    uv_poll_t poll;   /* of the doorbell; `data` is the link */
    uv_idle_t again;  /* active: there may be more, come back in the next turn */
    uv_timer_t pause; /* active: it has said all that is heard in this second */
    unsigned open;    /* of these three handles */
    struct ring ring;
    void *memory; /* owned mapping */
    size_t len;
    struct doorbell bell; /* owned */
    const struct link_events *events;
    void *arg;
    bool broken;        /* nothing is read any more */
    bool closed;        /* the callbacks are over; the handle is closing */
    uint64_t second_ms; /* of the loop: when the counts of this second began */
    unsigned frames, idle_rings;
    bool health, stop; /* to be put when there is room */
    uint64_t token;
    uint32_t deadline_ms;
};

static void on_doorbell(uv_poll_t *poll, int status, int what);
static void on_again(uv_idle_t *again);
static void on_pause_over(uv_timer_t *pause);

static void release(struct link *l)
{
    if (l->memory)
        munmap(l->memory, l->len);
    doorbell_close(&l->bell);
    free(l);
}

static void on_closed(uv_handle_t *h)
{
    struct link *l = h->data;

    if (--l->open == 0)
        release(l);
}

static void close_handle(struct link *l, uv_handle_t *h)
{
    h->data = l;
    l->open++;
    uv_close(h, on_closed);
}

enum rc link_open(uv_loop_t *loop, struct backend_channel *channel,
                  const struct link_events *events, void *arg, struct link **out)
{
    struct link *l = calloc(1, sizeof *l);
    void *memory;
    enum rc rc;

    if (!l) {
        backend_channel_close(channel);
        return RC_NOMEM;
    }
    l->events = events;
    l->arg = arg;
    l->len = channel->len;
    l->bell = channel->bell;
    channel->bell = DOORBELL_NONE;
    rc = doorbell_prepare(&l->bell);
    if (rc)
        goto out;
    memory = mmap(NULL, l->len, PROT_READ | PROT_WRITE, MAP_SHARED, channel->memory_fd, 0);
    if (memory == MAP_FAILED) {
        rc = errno == ENOMEM ? RC_NOMEM : RC_UNMAPPED; /* the first is of our own mappings */
        goto out;
    }
    l->memory = memory;
    rc = ring_attach(&l->ring, memory, l->len, RING_CLIENT);
    if (rc)
        goto out;
    rc = RC_IO;
    if (uv_poll_init(loop, &l->poll, l->bell.in_fd))
        goto out;
    uv_idle_init(loop, &l->again);
    uv_timer_init(loop, &l->pause);
    l->poll.data = l->again.data = l->pause.data = l;
    uv_poll_start(&l->poll, UV_READABLE, on_doorbell);
    backend_channel_close(channel);

    /* What was said before we listened (adoption) is read in the first turn; and
     * the instance hears that its orchestrator is there. */
    ring_want(&l->ring, RING_NOTIFY_WRITE);
    uv_idle_start(&l->again, on_again);
    link_ring(l);
    *out = l;
    return RC_OK;

out:
    backend_channel_close(channel);
    release(l);
    return rc;
}

void link_close(struct link *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    close_handle(l, (uv_handle_t *)&l->poll);
    close_handle(l, (uv_handle_t *)&l->again);
    close_handle(l, (uv_handle_t *)&l->pause);
}

void link_ring(struct link *l)
{
    doorbell_ring(&l->bell); /* when it cannot be, its end is noticed by other ways */
}

/* Last statement of its caller: the owner may close the link in here. */
static void broken(struct link *l, const char *why)
{
    if (l->closed)
        return;
    l->broken = true;
    uv_poll_stop(&l->poll);
    uv_idle_stop(&l->again);
    uv_timer_stop(&l->pause);
    l->events->on_broken(l->arg, why);
}

/*----- out -----*/

static enum rc put(struct link *l, uint8_t type, const void *payload, uint32_t len)
{
    enum rc rc = mux_put(&l->ring, type, 0, payload, len);

    if (rc == RC_FULL) {
        /* Look again after asking, else a reader in between would not ring. */
        ring_want(&l->ring, RING_NOTIFY_READ);
        rc = mux_put(&l->ring, type, 0, payload, len);
    }
    if (rc == RC_OK && ring_must_notify(&l->ring, RING_NOTIFY_WRITE))
        link_ring(l);
    /* A bad index: reading reports it, in a turn of its own. */
    if (rc == RC_MALFORMED && !l->broken)
        uv_idle_start(&l->again, on_again);
    return rc;
}

static void flush(struct link *l)
{
    uint8_t buf[8];

    if (l->health) {
        struct wire_out out = wire_out(buf, sizeof buf);

        wire_put_u64(&out, l->token);
        CHECK(!out.bad);
        if (put(l, MUX_HEALTH, buf, sizeof buf))
            return;
        l->health = false;
    }
    if (l->stop) {
        mux_u32_encode(l->deadline_ms, buf);
        if (put(l, MUX_STOP, buf, MUX_U32_SIZE))
            return;
        l->stop = false;
    }
}

void link_health(struct link *l, uint64_t token)
{
    l->health = true;
    l->token = token;
    flush(l);
}

void link_stop(struct link *l, uint32_t deadline_ms)
{
    l->stop = true;
    l->deadline_ms = deadline_ms;
    flush(l);
}

/*----- in -----*/

/* What is wrong with a frame, or NULL; its callback is the last statement. */
static const char *take(struct link *l, uint8_t type, const uint8_t *p, size_t len)
{
    char text[MUX_TEXT_MAX + 1];
    struct wire_in in = wire_in(p, len);
    struct mux_ready ready;
    struct mux_health health;
    uint32_t channel;
    int level;

    switch (type) {
    case MUX_READY:
        if (mux_ready_decode(p, len, &ready))
            return "a READY that makes no sense";
        l->events->on_ready(l->arg, &ready);
        return NULL;
    case MUX_FAILED:
        text_clean(text, sizeof text, p, len);
        l->events->on_failed(l->arg, text);
        return NULL;
    case MUX_LOG:
        if (len < 1)
            return "a LOG without a level";
        level = p[0];
        if (level != MUX_LOG_ERROR && level != MUX_LOG_WARNING && level != MUX_LOG_INFO)
            level = MUX_LOG_DEBUG;
        text_clean(text, sizeof text, p + 1, len - 1);
        l->events->on_log(l->arg, level, text);
        return NULL;
    case MUX_HEALTH:
    case MUX_BUSY:
        if (mux_health_decode(p, len, &health) || (type == MUX_BUSY) != (health.token == 0))
            return "a health answer that makes no sense";
        l->events->on_health(l->arg, &health);
        return NULL;
    case MUX_SLOT:
        channel = wire_u32(&in);
        if (wire_end(&in))
            return "a SLOT that makes no sense";
        l->events->on_slot(l->arg, channel);
        return NULL;
    default:
        return NULL; /* of a newer runtime: not for us */
    }
}

/* One frame.  RC_AGAIN: there is none. */
static enum rc read_frame(struct link *l, const char **why)
{
    uint8_t copy[MUX_TEXT_MAX + 1];
    struct mux_head head;
    struct ring_span span;
    enum rc rc;

    rc = mux_next(&l->ring, &head, &span);
    if (rc == RC_MALFORMED)
        *why = "ring indices or a frame head that make no sense";
    if (rc)
        return rc;
    *why = "a frame that is longer than any control frame";
    if (head.len > sizeof copy)
        return RC_TOO_LARGE;
    CHECK(ring_span_copy(&span, 0, copy, head.len));
    mux_consume(&l->ring, &head);
    if (ring_must_notify(&l->ring, RING_NOTIFY_READ))
        link_ring(l);
    *why = take(l, head.type, copy, head.len);
    return *why ? RC_MALFORMED : RC_OK;
}

/* It gets its turns again when the second is over: a flood costs it its own time, and us no more
 * than what is heard in one. */
static void pause_it(struct link *l)
{
    uint64_t gone = uv_now(l->poll.loop) - l->second_ms;

    uv_poll_stop(&l->poll);
    uv_idle_stop(&l->again);
    uv_timer_start(&l->pause, on_pause_over, gone < SECOND_MS ? SECOND_MS - gone : 1, 0);
}

/* What is wrong with the indices of the ring that it reads. */
static bool index_is_bad(const struct link *l)
{
    struct ring_span span;
    uint32_t n;

    return ring_writable(&l->ring, &span, &n) != RC_OK;
}

/* Up to `most` frames; how many there were. */
static unsigned read_frames(struct link *l, unsigned most)
{
    const char *why = NULL;
    unsigned n;
    enum rc rc;

    if (index_is_bad(l)) {
        broken(l, "an index of its ring makes no sense");
        return 0;
    }
    for (n = 0; n < most; n++) {
        rc = read_frame(l, &why);
        if (l->closed)
            return n;
        if (rc == RC_AGAIN) {
            ring_want(&l->ring, RING_NOTIFY_WRITE);
            rc = read_frame(l, &why);
            if (l->closed)
                return n;
        }
        if (rc == RC_AGAIN) {
            if (ring_peer(&l->ring) == RING_CONNECTED)
                flush(l);
            return n;
        }
        if (rc) {
            broken(l, why);
            return n;
        }
    }
    uv_idle_start(&l->again, on_again);
    flush(l);
    return n;
}

/* One turn; how many frames it had. */
static unsigned take_turn(struct link *l)
{
    uint64_t now = uv_now(l->poll.loop);
    unsigned n;

    if (now - l->second_ms >= SECOND_MS) {
        l->second_ms = now;
        l->frames = l->idle_rings = 0;
    }
    n = read_frames(l, FRAMES_A_TURN);
    l->frames += n;
    if (l->frames >= FRAMES_A_SECOND && !l->closed && !l->broken)
        pause_it(l);
    return n;
}

static void on_doorbell(uv_poll_t *poll, int status, int what)
{
    struct link *l = poll->data;

    (void)what;
    if (status < 0 || !doorbell_take(&l->bell)) {
        broken(l, "the doorbell failed");
        return;
    }
    if (take_turn(l) == 0 && !l->closed && !l->broken &&
        ++l->idle_rings > IDLE_RINGS_MAX + l->frames)
        broken(l, "it rings without end and has nothing to say");
}

static void on_again(uv_idle_t *again)
{
    uv_idle_stop(again);
    take_turn(again->data);
}

static void on_pause_over(uv_timer_t *pause)
{
    struct link *l = pause->data;

    uv_poll_start(&l->poll, UV_READABLE, on_doorbell);
    take_turn(l);
}

void link_look(struct link *l)
{
    if (!l->closed && !l->broken)
        read_frames(l, FRAMES_AT_END);
}
