#include "tls-front/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "tls-front/channel_map.h"
#include "tls-front/orch.h"
#include "tls-front/relay.h"
#include "tls-front/route.h"
#include "tls-front/worker.h"

/* Doorbells in a second with nothing new behind them: somebody wastes our time.  For each frame,
 * and each time that there is room again, one may come late: that was seen before it was answered.
 */
#define IDLE_RINGS_MAX 5000u

struct channels {
    TAILQ_HEAD(, channel) all;
    TAILQ_HEAD(, channel) dirty;
    uv_prepare_t prepare;
    uv_check_t check;
};

static void service(struct channel *ch);

/*----- telling roomkeyd -----*/

static void send_instance(struct channel *ch, enum control_type type)
{
    struct control_msg m = {.type = type, .instance = ch->id};

    orch_send(ch->w, &m);
}

static void send_activity(struct channel *ch)
{
    struct control_msg m = {.type = CONTROL_ACTIVITY};

    m.activity.id = ch->id;
    m.activity.connections = ch->connections;
    m.activity.bytes = ch->bytes;
    ch->bytes = 0;
    ch->told_connections = ch->connections;
    orch_send(ch->w, &m);
}

/*----- doorbells: rung once, before the loop sleeps -----*/

static void mark(struct channel *ch)
{
    if (ch->dirty || ch->state == CHANNEL_DEAD)
        return;
    ch->dirty = true;
    TAILQ_INSERT_TAIL(&ch->w->channels->dirty, ch, dirty_entry);
}

static void unmark(struct channel *ch)
{
    if (ch->dirty)
        TAILQ_REMOVE(&ch->w->channels->dirty, ch, dirty_entry);
    ch->dirty = false;
}

static void ring_bell(const struct channel *ch)
{
    if (!doorbell_ring(&ch->bell))
        log_seldom(LOG_WARNING, "the doorbell of tenant %s cannot be rung: %s", ch->tenant->name,
                   strerror(errno));
}

void channel_wrote(struct channel *ch)
{
    ch->wrote = true;
    mark(ch);
}

enum rc channel_put(struct channel *ch, uint8_t type, uint64_t conn, const void *payload,
                    uint32_t len)
{
    enum rc rc = mux_put(&ch->ring, type, conn, payload, len);

    if (!rc) {
        channel_wrote(ch);
    } else if (rc != RC_FULL) {
        channel_complain(ch, "an index of its ring is impossible");
        rc = RC_FULL;
    }
    return rc;
}

/*----- the end of a channel -----*/

static void on_closed(uv_handle_t *handle)
{
    struct channel *ch = handle->data;

    if (--ch->handles > 0)
        return;
    doorbell_close(&ch->bell);
    tenant_unref(ch->w, ch->tenant);
    free(ch);
}

static void retire(struct channel *ch)
{
    if (ch->tenant->channel == ch)
        ch->tenant->channel = NULL;
}

static void kill_channel(struct channel *ch)
{
    struct conn *c;

    if (ch->state == CHANNEL_DEAD)
        return;
    ch->state = CHANNEL_DEAD;
    retire(ch);
    unmark(ch);
    while ((c = TAILQ_FIRST(&ch->conns)))
        relay_lost(c);
    ring_leave(&ch->ring);
    ring_bell(ch);
    munmap(ch->mem, ch->mem_len);
    TAILQ_REMOVE(&ch->w->channels->all, ch, entry);
    ch->handles = 2;
    uv_close((uv_handle_t *)&ch->poll, on_closed);
    uv_close((uv_handle_t *)&ch->again, on_closed);
}

void channel_complain(struct channel *ch, const char *why)
{
    if (ch->broken || ch->state == CHANNEL_DEAD)
        return;
    ch->broken = why;
    mark(ch);
}

static void complain(struct channel *ch)
{
    struct control_msg m = {.type = CONTROL_COMPLAINT};

    log_error("tenant %s broke the channel's rules: %s; its %u connections are reset",
              ch->tenant->name, ch->broken, ch->connections);
    m.complaint.id = ch->id;
    m.complaint.why = RC_MALFORMED;
    strncpy(m.complaint.text, ch->broken, sizeof m.complaint.text - 1);
    orch_send(ch->w, &m);
    kill_channel(ch);
}

static void flush(struct worker *w)
{
    struct channel *ch;

    while ((ch = TAILQ_FIRST(&w->channels->dirty))) {
        bool ring = false;

        unmark(ch);
        if (ch->broken) {
            complain(ch);
            continue;
        }
        if (ch->wrote)
            ring |= ring_must_notify(&ch->ring, RING_NOTIFY_WRITE);
        if (ch->read)
            ring |= ring_must_notify(&ch->ring, RING_NOTIFY_READ);
        ch->wrote = ch->read = false;
        if (ring)
            ring_bell(ch);
    }
}

static void on_prepare(uv_prepare_t *handle)
{
    flush(handle->data);
}

static void on_check(uv_check_t *handle)
{
    flush(handle->data);
}

/*----- doorbells that ring here -----*/

static bool room_for_blocked(struct channel *ch)
{
    struct ring_span span;
    uint32_t n;

    if (ring_writable(&ch->ring, &span, &n) != RC_OK) {
        channel_complain(ch, "an index of its ring is impossible");
        return false;
    }
    return !TAILQ_EMPTY(&ch->blocked) && n >= ch->ring.tx_size / 4;
}

/* Those that find no room again are behind `last`. */
static void resume_blocked(struct channel *ch)
{
    struct conn *c, *last = TAILQ_LAST(&ch->blocked, conn_list);
    bool done = !last;

    ch->blocked_s = 0;
    while (!done && !ch->broken) {
        c = TAILQ_FIRST(&ch->blocked);
        done = c == last;
        TAILQ_REMOVE(&ch->blocked, c, queued);
        c->blocked = false;
        relay_resume(c);
    }
}

static void on_again(uv_idle_t *again)
{
    uv_idle_stop(again);
    service(again->data);
}

static void look_again(struct channel *ch)
{
    uv_idle_start(&ch->again, on_again);
}

static void on_bell(uv_poll_t *poll, int status, int events)
{
    struct channel *ch = poll->data;

    (void)events;
    if (status < 0)
        channel_complain(ch, "its doorbell is broken");
    else
        service(ch);
}

static void service(struct channel *ch)
{
    struct ring_span span;
    uint32_t n;
    bool room;

    /* More frames: come back here when the others had their turn. */
    if (relay_frames(ch)) {
        look_again(ch);
        mark(ch);
        return;
    }
    room = room_for_blocked(ch);
    if (room) {
        ch->news++;
        resume_blocked(ch);
    }
    if (ch->read)
        mark(ch);
    else if (!room && ++ch->idle_rings > IDLE_RINGS_MAX + ch->news)
        channel_complain(ch, "it rings without end and has nothing to say");
    if (ch->broken)
        return;

    if (!doorbell_take(&ch->bell)) {
        channel_complain(ch, "its doorbell is broken");
        return;
    }
    ring_want(&ch->ring,
              TAILQ_EMPTY(&ch->blocked) ? RING_NOTIFY_WRITE : RING_NOTIFY_WRITE | RING_NOTIFY_READ);
    if (ring_readable(&ch->ring, &span, &n) != RC_OK || n > 0 || room_for_blocked(ch)) {
        look_again(ch); /* it came in between */
    } else if (ring_peer(&ch->ring) != RING_CONNECTED) {
        if (ch->state == CHANNEL_ACTIVE)
            channel_complain(ch, "it left its channel");
        else
            kill_channel(ch);
    }
}

/*----- connections -----*/

void channel_join(struct channel *ch, struct conn *c)
{
    c->channel = ch;
    TAILQ_INSERT_TAIL(&ch->conns, c, on_channel);
    if (ch->connections++ == 0)
        send_activity(ch);
}

void channel_leave(struct channel *ch, struct conn *c)
{
    CHECK(c->channel == ch);
    if (c->blocked)
        TAILQ_REMOVE(&ch->blocked, c, queued);
    c->blocked = false;
    TAILQ_REMOVE(&ch->conns, c, on_channel);
    c->channel = NULL;
    if (--ch->connections > 0 || ch->state == CHANNEL_DEAD)
        return;
    send_activity(ch);
    if (ch->state == CHANNEL_RETIRED) {
        ch->state = CHANNEL_RELEASED;
        send_instance(ch, CONTROL_RELEASED);
    }
}

void channel_block(struct channel *ch, struct conn *c)
{
    if (c->blocked)
        return;
    c->blocked = true;
    TAILQ_INSERT_TAIL(&ch->blocked, c, queued);
    /* Wanted now, and looked at again: the room may have come already. */
    ring_want(&ch->ring, RING_NOTIFY_READ);
    if (room_for_blocked(ch))
        look_again(ch);
}

/*----- what roomkeyd says -----*/

static struct channel *find(struct worker *w, const struct control_instance *id)
{
    struct channel *ch;

    TAILQ_FOREACH(ch, &w->channels->all, entry)
    if (ch->id.instance == id->instance && ch->id.generation == id->generation)
        return ch;
    return NULL;
}

enum rc channel_ready(struct worker *w, struct tenant *t, const struct control_ready *m, int *fds)
{
    struct channel *ch = find(w, &m->id);
    enum rc rc;

    if (ch) { /* a release was taken back, or another name of the same tenant asked */
        ch->state = CHANNEL_ACTIVE;
        t->channel = ch;
        return RC_OK;
    }
    if (m->bytes == 0)
        return RC_NOT_FOUND;
    ch = calloc(1, sizeof *ch);
    if (!ch)
        return RC_NOMEM;
    ch->w = w;
    ch->id = m->id;
    ch->index = m->channel;
    TAILQ_INIT(&ch->conns);
    TAILQ_INIT(&ch->blocked);
    rc = channel_map(ch, m, fds);
    if (rc) {
        free(ch);
        return rc;
    }
    ch->tenant = tenant_ref(t);
    t->channel = ch;
    TAILQ_INSERT_TAIL(&w->channels->all, ch, entry);
    channel_wrote(ch);
    if (uv_poll_start(&ch->poll, UV_READABLE, on_bell) != 0) {
        kill_channel(ch);
        return RC_NOMEM;
    }
    look_again(ch); /* its HELLO is there already, or we ask to be rung */
    return RC_OK;
}

void channel_release(struct worker *w, const struct control_instance *id, bool force)
{
    struct channel *ch = find(w, id);
    struct control_msg m = {.type = CONTROL_RELEASED, .instance = *id};

    if (!ch) {
        orch_send(w, &m);
        return;
    }
    if (!force && (ch->bytes > 0 || ch->connections != ch->told_connections)) {
        send_instance(ch, CONTROL_BUSY);
        return;
    }
    retire(ch);
    if (ch->connections == 0) {
        ch->state = CHANNEL_RELEASED;
        send_instance(ch, CONTROL_RELEASED);
        return;
    }
    ch->state = CHANNEL_RETIRED;
    /* No room for it means that the tenant is at work: its connections end when
     * they end, and roomkeyd has a deadline. */
    if (channel_put(ch, MUX_DRAIN, 0, NULL, 0))
        log_warning("tenant %s: its ring is full, it is not asked to end idle connections",
                    ch->tenant->name);
}

void channel_gone(struct worker *w, const struct control_instance *id)
{
    struct channel *ch = find(w, id);

    if (ch)
        kill_channel(ch);
}

void channels_hold(struct worker *w)
{
    struct channel *ch;

    TAILQ_FOREACH(ch, &w->channels->all, entry)
    {
        struct control_msg m = {.type = CONTROL_HOLDING};

        m.holding.id = ch->id;
        m.holding.tenant = ch->tenant->id;
        m.holding.channel = ch->index;
        m.holding.connections = ch->connections;
        ch->told_connections = ch->connections;
        orch_send(w, &m);
    }
}

void channels_second(struct worker *w)
{
    struct channel *ch;
    struct conn *c, *next;

    TAILQ_FOREACH(ch, &w->channels->all, entry)
    {
        for (c = TAILQ_FIRST(&ch->conns); c; c = next) {
            next = TAILQ_NEXT(c, on_channel);
            relay_second(c);
        }
        ch->idle_rings = ch->news = 0;
        if (TAILQ_EMPTY(&ch->blocked))
            ch->blocked_s = 0;
        else if (++ch->blocked_s > w->options->stall)
            channel_complain(ch, "it takes nothing from its full ring");
        if (ch->bytes > 0 || ch->connections != ch->told_connections)
            send_activity(ch);
    }
}

/*----- all of them -----*/

enum rc channels_init(struct worker *w)
{
    struct channels *cs = calloc(1, sizeof *cs);

    if (!cs)
        return RC_NOMEM;
    w->channels = cs;
    TAILQ_INIT(&cs->all);
    TAILQ_INIT(&cs->dirty);
    uv_prepare_init(&w->loop, &cs->prepare);
    uv_check_init(&w->loop, &cs->check);
    cs->prepare.data = cs->check.data = w;
    uv_prepare_start(&cs->prepare, on_prepare);
    uv_check_start(&cs->check, on_check);
    return RC_OK;
}

void channels_close(struct worker *w)
{
    while (!TAILQ_EMPTY(&w->channels->all))
        kill_channel(TAILQ_FIRST(&w->channels->all));
    uv_close((uv_handle_t *)&w->channels->prepare, NULL);
    uv_close((uv_handle_t *)&w->channels->check, NULL);
}

void channels_dispose(struct worker *w)
{
    CHECK(TAILQ_EMPTY(&w->channels->all));
    free(w->channels);
    w->channels = NULL;
}
