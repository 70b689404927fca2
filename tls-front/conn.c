#include "tls-front/conn.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "tls-front/channel.h"
#include "tls-front/handshake.h"
#include "tls-front/opening.h"
#include "tls-front/rate.h"
#include "tls-front/relay.h"
#include "tls-front/route.h"
#include "tls-front/share.h"
#include "tls-front/wake.h"
#include "tls-front/worker.h"

#define TABLE_MIN 64u
/* What made us sign is not ended to make room before it has had this long, nor a wait for a tenant:
 * under a load that is honest all would be ended half-way. */
#define HANDSHAKE_GRACE_MS 1000u

struct conns {
    struct conn **at; /* owned; NULL where free */
    uint32_t size, count;
    uint32_t *free, frees; /* indices below size with no connection */
    uint32_t serial;
    struct conn_list opening; /* those in the gauge `handshakes`, oldest first */
    struct conn_list parting; /* those that get the front's own last words, oldest first */
};

static const struct sm_state states[CONN_STATE_NR] = {
    [CONN_HELLO] = {"HELLO", SM_BIT(CONN_ROUTE) | SM_BIT(CONN_ANSWER) | SM_BIT(CONN_CLOSED)},
    [CONN_ROUTE] = {"ROUTE", SM_BIT(CONN_HANDSHAKE) | SM_BIT(CONN_ANSWER) | SM_BIT(CONN_CLOSED)},
    [CONN_HANDSHAKE] = {"HANDSHAKE",
                        SM_BIT(CONN_WAKING) | SM_BIT(CONN_ANSWER) | SM_BIT(CONN_CLOSED)},
    [CONN_WAKING] = {"WAKING", SM_BIT(CONN_RELAY) | SM_BIT(CONN_ANSWER) | SM_BIT(CONN_CLOSED)},
    [CONN_RELAY] = {"RELAY", SM_BIT(CONN_ANSWER) | SM_BIT(CONN_CLOSED)},
    [CONN_ANSWER] = {"ANSWER", SM_BIT(CONN_CLOSED)},
    [CONN_CLOSED] = {"CLOSED", 0},
};

/*----- the table -----*/

enum rc conns_init(struct worker *w)
{
    w->conns = calloc(1, sizeof *w->conns);
    if (!w->conns)
        return RC_NOMEM;
    TAILQ_INIT(&w->conns->opening);
    TAILQ_INIT(&w->conns->parting);
    return RC_OK;
}

void conns_dispose(struct worker *w)
{
    CHECK(w->conns->count == 0);
    free(w->conns->at);
    free(w->conns->free);
    free(w->conns);
    w->conns = NULL;
}

uint32_t conns_count(const struct worker *w)
{
    return w->conns->count;
}

static bool grow(struct conns *t)
{
    uint32_t size = t->size ? 2 * t->size : TABLE_MIN;
    struct conn **at = realloc(t->at, size * sizeof(*at));
    uint32_t *list;

    if (!at)
        return false;
    t->at = at;
    list = realloc(t->free, size * sizeof(*list));
    if (!list)
        return false;
    t->free = list;
    for (uint32_t i = size; i-- > t->size;) {
        t->at[i] = NULL;
        t->free[t->frees++] = i;
    }
    t->size = size;
    return true;
}

static bool insert(struct conns *t, struct conn *c)
{
    uint32_t index;

    if (t->frees == 0 && !grow(t))
        return false;
    index = t->free[--t->frees];
    if (++t->serial == 0) /* the one value that the wire forbids */
        t->serial = 1;
    c->id = (uint64_t)t->serial << 32 | index;
    t->at[index] = c;
    t->count++;
    return true;
}

struct conn *conn_find(struct channel *ch, uint64_t id)
{
    struct conns *t = ch->w->conns;
    uint32_t index = (uint32_t)id;
    struct conn *c = index < t->size ? t->at[index] : NULL;

    return c && c->id == id && c->channel == ch ? c : NULL;
}

void conns_close(struct worker *w)
{
    for (uint32_t i = 0; i < w->conns->size; i++)
        if (w->conns->at[i])
            conn_close(w->conns->at[i], CONN_RST);
}

/*----- accepting -----*/

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;

    c->handles--;
    conn_settle(c); /* c may be freed: last */
}

static void peer_name(struct conn *c, struct sockaddr_storage *addr)
{
    int len = sizeof *addr;

    memset(addr, 0, sizeof *addr);
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)addr, &len) != 0)
        return; /* it has gone already: reading will tell */
    if (addr->ss_family == AF_INET6) {
        uv_ip6_name((struct sockaddr_in6 *)addr, c->addr, sizeof c->addr);
        c->port = ntohs(((struct sockaddr_in6 *)addr)->sin6_port);
    } else {
        uv_ip4_name((struct sockaddr_in *)addr, c->addr, sizeof c->addr);
        c->port = ntohs(((struct sockaddr_in *)addr)->sin_port);
    }
}

/* Nobody keeps others out by coming and saying nothing: the oldest of those makes room, else the
 * oldest that does not go on with its handshake, else the oldest that waits for roomkeyd: for its
 * route, or for its tenant to come up. */
static bool make_room(struct worker *w, const struct conn *newcomer)
{
    struct conn *c, *slow = NULL, *waiting = NULL;

    TAILQ_FOREACH(c, &w->conns->opening, opened)
    {
        if (c->sm.state == CONN_HELLO) /* at the latest the newcomer */
            break;
        if (uv_now(&w->loop) - c->since_ms < HANDSHAKE_GRACE_MS)
            continue;
        /* Who waits for our own signature is not slow. */
        if (!slow && c->sm.state == CONN_HANDSHAKE && !handshake_unsigned(c->opening->handshake))
            slow = c;
        if (!waiting && (c->sm.state == CONN_ROUTE || c->sm.state == CONN_WAKING))
            waiting = c;
    }
    if (c == newcomer)
        c = slow;
    if (c) {
        OPENED(c, refused_limit);
        conn_close(c, CONN_RST);
    } else if (waiting) {
        opening_give_up(waiting);
    }
    return c || waiting;
}

/* So do those that were told all that there is to tell: they only have to end. */
static void end_oldest_answer(struct worker *w)
{
    if (!TAILQ_EMPTY(&w->conns->parting))
        conn_close(TAILQ_FIRST(&w->conns->parting), CONN_FIN);
}

/* Whether it may become one of --max-connections is seen when it is known whose it is. */
static bool within_limits(struct conn *c, const struct sockaddr_storage *addr)
{
    struct worker *w = c->w;
    uint64_t most = w->options->max_connections, handshakes = w->options->max_handshakes;

    if (!rate_allow(w->rates, addr)) {
        OPENED(c, refused_rate);
        return false;
    }
    /* The closed ones of which their tenants are not told yet are not without end. */
    if (w->conns->count > 2 * (most + handshakes) || worker_is_last_file(w, &c->tcp) ||
        (COUNT(w, handshakes) > handshakes && !make_room(w, c))) {
        OPENED(c, refused_limit);
        return false;
    }
    if (COUNT(w, connections) > most + handshakes)
        end_oldest_answer(w);
    return true;
}

/* One more, in HELLO, without its socket; NULL without memory for it. */
static struct conn *add(struct worker *w)
{
    struct conn *c = calloc(1, sizeof *c);

    if (!c || !insert(w->conns, c)) {
        free(c);
        return NULL;
    }
    c->w = w;
    sm_init(&c->sm, states, "connection", c->id, CONN_HELLO);
    CHECK(uv_tcp_init(&w->loop, &c->tcp) == 0);
    CHECK(uv_timer_init(&w->loop, &c->timer) == 0);
    c->tcp.data = c->timer.data = c;
    c->handles = 2;
    COUNT(w, accepted_total)++;
    COUNT(w, connections)++;
    COUNT(w, handshakes)++;
    TAILQ_INSERT_TAIL(&w->conns->opening, c, opened);
    return c;
}

void conn_on_taken(struct acceptor *a, int fd)
{
    struct sockaddr_storage addr;
    struct conn *c = add(a->data);

    if (!c || uv_tcp_open(&c->tcp, fd) != 0) {
        close(fd);
        if (c)
            conn_close(c, CONN_FIN);
        return;
    }
    peer_name(c, &addr);
    if (!within_limits(c, &addr)) {
        conn_close(c, CONN_RST);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    opening_begin(c);
}

/*----- reading -----*/

void conn_read(struct conn *c, uv_alloc_cb alloc, uv_read_cb read)
{
    if (c->reading)
        return;
    c->reading = true;
    /* It only fails on a stream that is closing, and this one is not. */
    CHECK(uv_read_start((uv_stream_t *)&c->tcp, alloc, read) == 0);
}

void conn_stop(struct conn *c)
{
    c->reading = false;
    uv_read_stop((uv_stream_t *)&c->tcp);
}

bool conn_was_reset(const struct conn *c)
{
    struct sockaddr_storage addr;
    int len = sizeof addr;

    return !c->reading && !(c->eof && c->fin_sent) &&
           uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&addr, &len) != 0;
}

void conns_second(struct worker *w)
{
    struct conn *c, *next;

    for (c = TAILQ_FIRST(&w->conns->opening); c; c = next) {
        next = TAILQ_NEXT(c, opened);
        if (conn_was_reset(c))
            conn_lost(c, CONN_RST);
    }
}

/*----- writing -----*/

static void write_more(struct conn *c);

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)req, (void)status; /* a client that is gone is told by reading */
}

static void on_lingered(uv_timer_t *timer)
{
    ENDED((struct conn *)timer->data, linger_timeout);
    conn_close(timer->data, CONN_FIN);
}

static void both_ended(struct conn *c)
{
    ENDED(c, closed);
    conn_close(c, CONN_FIN);
}

static void flushed(struct conn *c)
{
    free(c->out);
    c->out = NULL;
    c->out_at = 0;
    if (c->fin && !c->fin_sent) {
        c->fin_sent = true;
        if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
            conn_lost(c, CONN_RST);
            return;
        }
        conn_deadline(c, c->w->options->linger * 1000ull, on_lingered);
    }
    if (c->sm.state == CONN_RELAY)
        relay_flushed(c);
    else if (c->sm.state == CONN_ANSWER && c->eof)
        both_ended(c);
}

static void on_written(uv_write_t *req, int status)
{
    struct conn *c = req->handle->data;
    uint32_t n = (uint32_t)(uintptr_t)req->data;

    c->writing = false;
    if (c->sm.state == CONN_CLOSED)
        return;
    if (status < 0) {
        conn_lost(c, CONN_RST);
        return;
    }
    c->out_at = (c->out_at + n) % CONN_OUT_SIZE;
    c->out_len -= n;
    COUNT(c->w, bytes_out_total) += n;
    if (c->sm.state == CONN_RELAY)
        relay_taken(c, n);
    if (c->sm.state == CONN_CLOSED)
        return;
    if (c->out_len > 0)
        write_more(c);
    else
        flushed(c);
}

static void write_more(struct conn *c)
{
    uint32_t first =
        c->out_len < CONN_OUT_SIZE - c->out_at ? c->out_len : CONN_OUT_SIZE - c->out_at;
    uv_buf_t bufs[2] = {uv_buf_init((char *)c->out + c->out_at, first),
                        uv_buf_init((char *)c->out, c->out_len - first)};

    c->write.data = (void *)(uintptr_t)c->out_len;
    c->writing = true;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, bufs[1].len ? 2 : 1, on_written) != 0) {
        c->writing = false;
        conn_lost(c, CONN_RST);
    }
}

static enum rc keep(struct conn *c, const uint8_t *p, size_t n)
{
    uint32_t to, first;

    if (n > CONN_OUT_SIZE - c->out_len)
        return RC_FULL;
    if (!c->out) {
        c->out = malloc(CONN_OUT_SIZE);
        if (!c->out)
            return RC_NOMEM;
    }
    to = (c->out_at + c->out_len) % CONN_OUT_SIZE;
    first = n < CONN_OUT_SIZE - to ? (uint32_t)n : CONN_OUT_SIZE - to;
    memcpy(c->out + to, p, first);
    memcpy(c->out, p + first, n - first);
    c->out_len += (uint32_t)n;
    return RC_OK;
}

enum rc conn_write(struct conn *c, const uv_buf_t *bufs, unsigned n)
{
    size_t taken = 0;
    enum rc rc = RC_OK;

    CHECK(!c->fin);
    if (c->out_len == 0 && !c->writing) {
        int r = uv_try_write((uv_stream_t *)&c->tcp, bufs, n);

        if (r < 0 && r != UV_EAGAIN)
            return RC_IO;
        taken = r < 0 ? 0 : (size_t)r;
        COUNT(c->w, bytes_out_total) += taken;
        if (c->sm.state == CONN_RELAY && taken > 0)
            relay_taken(c, (uint32_t)taken);
    }
    for (unsigned i = 0; i < n && !rc; i++) {
        size_t skip = taken < bufs[i].len ? taken : bufs[i].len;

        taken -= skip;
        if (skip < bufs[i].len)
            rc = keep(c, (const uint8_t *)bufs[i].base + skip, bufs[i].len - skip);
    }
    if (!rc && c->out_len > 0 && !c->writing)
        write_more(c);
    return c->sm.state == CONN_CLOSED ? RC_IO : rc;
}

static void on_stalled(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    size_t unsent = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);

    if (unsent < c->unsent) {
        c->unsent = unsent;
        conn_deadline(c, c->w->options->stall * 1000ull, on_stalled);
    } else {
        ENDED(c, stall_timeout);
        conn_close(c, CONN_RST);
    }
}

void conn_fin(struct conn *c)
{
    c->fin = true;
    if (c->out_len == 0 && !c->writing) {
        flushed(c);
        return;
    }
    c->unsent = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    conn_deadline(c, c->w->options->stall * 1000ull, on_stalled);
}

/*----- deadlines -----*/

void conn_deadline(struct conn *c, uint64_t ms, uv_timer_cb late)
{
    uv_timer_start(&c->timer, late, ms, 0);
}

void conn_no_deadline(struct conn *c)
{
    uv_timer_stop(&c->timer);
}

/*----- the end -----*/

static void scrap(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bin[65536]; /* nobody reads it */

    (void)handle, (void)suggested;
    *buf = uv_buf_init(bin, sizeof bin);
}

static void on_scrap(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;

    (void)buf;
    if (n == UV_EOF && !c->fin_sent) { /* its end; ours is not out */
        conn_stop(c);
        c->eof = true;
    } else if (n == UV_EOF) {
        both_ended(c);
    } else if (n < 0) {
        conn_lost(c, CONN_RST);
    }
}

void conn_answer(struct conn *c)
{
    CHECK(c->account == CONN_SETTLED); /* whoever has last words knows why */
    sm_move(&c->sm, CONN_ANSWER);
    TAILQ_INSERT_TAIL(&c->w->conns->parting, c, opened);
    wake_leave(c->w, c);
    opening_free(c);
    conn_stop(c);
    conn_read(c, scrap, on_scrap);
    conn_fin(c);
}

void conn_finish(struct conn *c)
{
    CHECK(c->fin && !c->channel);
    sm_move(&c->sm, CONN_ANSWER);
    share_part(c);
    conn_stop(c);
    if (!c->eof)
        conn_read(c, scrap, on_scrap);
    else if (c->fin_sent)
        both_ended(c);
}

void conn_opened(struct conn *c, enum control_counter how)
{
    if (c->account != CONN_OWES_OPENING)
        return;
    c->account = how == CONTROL_COUNTER_handovers_total ? CONN_OWES_END : CONN_SETTLED;
    c->w->counters[how]++;
    COUNT(c->w, handshakes)--;
    TAILQ_REMOVE(&c->w->conns->opening, c, opened);
}

void conn_ended(struct conn *c, enum control_counter how)
{
    if (c->account != CONN_OWES_END)
        return;
    c->account = CONN_SETTLED;
    c->w->counters[how]++;
}

void conn_lost(struct conn *c, enum conn_how how)
{
    if (c->sm.state == CONN_HELLO)
        OPENED(c, hello_aborted);
    OPENED(c, handshake_aborted);
    ENDED(c, client_lost);
    conn_close(c, how);
}

void conn_unwritten(struct conn *c, enum rc why)
{
    if (why == RC_IO)
        conn_lost(c, CONN_RST);
    else
        conn_close(c, CONN_RST);
}

void conn_close(struct conn *c, enum conn_how how)
{
    if (c->sm.state == CONN_CLOSED)
        return;
    OPENED(c, opening_dropped);
    ENDED(c, dropped);
    COUNT(c->w, connections)--;
    if (c->sm.state == CONN_ANSWER && !c->shares)
        TAILQ_REMOVE(&c->w->conns->parting, c, opened);
    sm_move(&c->sm, CONN_CLOSED);
    if (c->opening)
        wake_leave(c->w, c);
    relay_end(c);
    share_leave(c);
    if (c->tenant) {
        c->tenant->connections--;
        tenant_unref(c->w, c->tenant);
        c->tenant = NULL;
    }
    if (how == CONN_FIN || uv_tcp_close_reset(&c->tcp, on_closed) != 0)
        uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

void conn_settle(struct conn *c)
{
    struct conns *t = c->w->conns;
    uint32_t index = (uint32_t)c->id;

    if (c->handles > 0)
        return;
    free(c->out);
    c->out = NULL;
    if (c->channel)
        return;
    opening_free(c);
    t->at[index] = NULL;
    t->free[t->frees++] = index;
    t->count--;
    free(c);
}
