#include "tls-front/opening.h"

#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "common/host/clock.h"
#include "tls-front/channel.h"
#include "tls-front/handshake.h"
#include "tls-front/orch.h"
#include "tls-front/relay.h"
#include "tls-front/route.h"
#include "tls-front/share.h"
#include "tls-front/unavailable.h"
#include "tls-front/wake.h"
#include "tls-front/worker.h"

#define IN_MIN 2048u
#define IN_MAX HELLO_RAW_MAX /* also what fits in a new connection's credit */
/* A sealed alert: head, nonce, level and description, tag.  In TLS 1.3 and with ChaCha20 it is
 * shorter. No request is as short, sealed or not. */
#define FAREWELL_MAX (5u + 8u + 2u + 16u)

static void on_route_known(struct conn *c, struct route *r);
static void shake(struct conn *c);
static void proceed(struct conn *c);

static uint32_t since_first(const struct opening *o)
{
    return (uint32_t)(clock_us() - o->first_us);
}

/*----- ways out -----*/

static void say_and_close(struct conn *c, const void *bytes, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    enum rc rc = conn_write(c, &buf, 1);

    if (rc)
        conn_unwritten(c, rc);
    else
        conn_answer(c);
}

static void alert_and_close(struct conn *c, enum tls_alert alert)
{
    uint8_t bytes[TLS_ALERT_SIZE];

    tls_alert_plain(alert, bytes);
    say_and_close(c, bytes, sizeof bytes);
}

static void on_hello_late(uv_timer_t *timer)
{
    struct conn *c = timer->data;

    OPENED(c, hello_timeout);
    conn_close(c, CONN_RST);
}

static void on_handshake_late(uv_timer_t *timer)
{
    struct conn *c = timer->data;

    OPENED(c, handshake_timeout);
    conn_close(c, CONN_RST);
}

void opening_give_up(struct conn *c)
{
    wake_leave(c->w, c);
    opening_on_refused(c, RC_TIMEDOUT);
}

/* No word of roomkeyd, or no instance: with a route the client gets a page, for
 * which the handshake must be over first; without one there is no certificate. */
static void on_wake_late(uv_timer_t *timer)
{
    opening_give_up(timer->data);
}

void opening_on_refused(struct conn *c, enum rc why)
{
    struct opening *o = c->opening;

    o->refused = why;
    if (c->sm.state == CONN_WAKING) {
        unavailable_answer(c);
    } else if (c->sm.state == CONN_ROUTE) {
        if (why == RC_NOT_FOUND) {
            OPENED(c, refused_name);
            alert_and_close(c, TLS_ALERT_UNRECOGNIZED_NAME);
        } else {
            OPENED(c, wake_failed);
            alert_and_close(c,
                            why == RC_DENIED ? TLS_ALERT_ACCESS_DENIED : TLS_ALERT_INTERNAL_ERROR);
        }
    } /* in HANDSHAKE: when it is over */
}

/*----- what the client says -----*/

/* Whatever it says meanwhile is for later: it is read as far as there is room already, so that its
 * end is seen, and the rest can wait in the kernel. */
static bool is_waiting(const struct conn *c)
{
    return c->sm.state == CONN_ROUTE || c->sm.state == CONN_WAKING ||
           (c->sm.state == CONN_HANDSHAKE && handshake_unsigned(c->opening->handshake));
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    struct opening *o = c->opening;

    (void)suggested;
    if (o->len == o->size) {
        size_t size = o->size ? 2 * o->size : IN_MIN;
        uint8_t *p = size <= IN_MAX && !is_waiting(c) ? realloc(o->in, size) : NULL;

        if (!p) {
            *buf = uv_buf_init(NULL, 0); /* on_bytes() gets UV_ENOBUFS */
            return;
        }
        o->in = p;
        o->size = size;
    }
    *buf = uv_buf_init((char *)o->in + o->len, (unsigned)(o->size - o->len));
}

static void on_no_room(struct conn *c)
{
    if (is_waiting(c)) {
        conn_stop(c);
        return;
    }
    if (c->sm.state == CONN_HANDSHAKE) /* no handshake has as much to say */
        OPENED(c, handshake_failed);
    conn_close(c, CONN_RST);
}

/* FIN ends one direction only: who has asked may still want the answer, and who has not, cannot any
 * more.  After the handover the tenant judges in the same way. */
static void on_end(struct conn *c)
{
    conn_stop(c);
    if (c->sm.state == CONN_WAKING && c->opening->len > FAREWELL_MAX && !conn_was_reset(c))
        c->eof = true;
    else
        conn_lost(c, CONN_FIN);
}

/*----- the hello -----*/

static void on_plain_http(struct conn *c)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n"
                               "Content-Type: text/plain\r\n"
                               "Content-Length: 47\r\n"
                               "Connection: close\r\n"
                               "\r\n"
                               "This port speaks HTTPS: use https:// to get in\n";

    say_and_close(c, text, sizeof text - 1);
}

static void on_hello(struct conn *c)
{
    struct opening *o = c->opening;
    struct worker *w = c->w;
    struct route *r;

    if (o->hello.name[0] == '\0') {
        OPENED(c, refused_name);
        /* RFC 8446, 9.2 has a word for a name that is wanted and not there. */
        alert_and_close(c, o->hello.tls13 && !o->hello.names ? TLS_ALERT_MISSING_EXTENSION
                                                             : TLS_ALERT_UNRECOGNIZED_NAME);
        return;
    }
    sm_move(&c->sm, CONN_ROUTE);
    c->since_ms = uv_now(&w->loop);
    conn_deadline(c, w->options->route_timeout * 1000ull, on_wake_late);
    o->deadline_us = clock_us() + w->options->route_timeout * 1000000ull;
    r = routes_find(w, o->hello.name);
    /* While roomkeyd is away, what it said last holds. */
    if (r && r->stale && orch_in_step(w))
        r = NULL;
    if (!r || !r->tenant->channel)
        if (wake_join(w, c, o->hello.name)) {
            conn_close(c, CONN_RST);
            return;
        }
    if (r)
        on_route_known(c, r);
}

static void on_hello_bytes(struct conn *c)
{
    struct opening *o = c->opening;

    switch (hello_scan(&o->scan, o->in, o->len)) {
    case RC_OK:
        hello_join(&o->scan, o->in, &o->len);
        if (hello_read(&o->scan, o->in, &o->hello) == RC_OK) {
            on_hello(c);
            break;
        }
        /* fall through */
    default:
        OPENED(c, hello_malformed);
        alert_and_close(c, o->scan.alert);
        break;
    case RC_AGAIN:
        break;
    case RC_UNSUPPORTED:
        OPENED(c, hello_malformed);
        on_plain_http(c);
        break;
    }
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    struct opening *o = c->opening;

    (void)buf;
    if (n == 0)
        return;
    if (n < 0) {
        if (n == UV_ENOBUFS)
            on_no_room(c);
        else if (n == UV_EOF)
            on_end(c);
        else
            conn_lost(c, CONN_RST);
        return;
    }
    if (o->first_us == 0) {
        o->first_us = clock_us();
        o->times.hello_unix_ms = clock_unix_ms();
    }
    o->len += (size_t)n;
    COUNT(c->w, bytes_in_total) += (uint64_t)n;
    if (c->sm.state == CONN_HELLO)
        on_hello_bytes(c);
    else if (!is_waiting(c))
        shake(c);
}

void opening_begin(struct conn *c)
{
    c->opening = calloc(1, sizeof *c->opening);
    if (!c->opening) {
        conn_close(c, CONN_RST);
        return;
    }
    conn_deadline(c, c->w->options->hello_timeout * 1000ull, on_hello_late);
    conn_read(c, on_room, on_bytes);
}

/*----- the route, then the handshake -----*/

void opening_on_route(struct conn *c, struct route *r)
{
    if (c->sm.state == CONN_ROUTE)
        on_route_known(c, r);
}

static void on_route_known(struct conn *c, struct route *r)
{
    struct opening *o = c->opening;
    struct tenant *t = r->tenant;

    o->times.route_us = since_first(o);
    if ((t->max_connections && t->connections >= t->max_connections) ||
        !share_is_there(c->w, t)) { /* then it need not even shake hands */
        OPENED(c, refused_limit);
        conn_close(c, CONN_RST);
        return;
    }
    c->tenant = tenant_ref(t);
    t->connections++;
    o->route = route_ref(r);
    o->deadline_us = clock_us() + r->wake_timeout_ms * 1000ull;
    if (handshake_new(&o->handshake, r->tls, &o->hello)) {
        conn_close(c, CONN_RST);
        return;
    }
    sm_move(&c->sm, CONN_HANDSHAKE);
    c->since_ms = uv_now(&c->w->loop);
    conn_deadline(c, c->w->options->handshake_timeout * 1000ull, on_handshake_late);
    shake(c);
}

static enum rc send_out(struct conn *c)
{
    struct tls_bytes *out = handshake_out(c->opening->handshake);
    uv_buf_t buf = uv_buf_init((char *)out->p, (unsigned)out->len);

    if (out->len == 0)
        return RC_OK;
    out->len = 0;
    return conn_write(c, &buf, 1);
}

static void on_signed(struct signer_request *r, const struct agent_signed *answer)
{
    struct conn *c = r->data;

    if (c->sm.state != CONN_HANDSHAKE)
        return; /* closed meanwhile */
    handshake_signed(c->opening->handshake, answer);
    shake(c);
}

/* What we have to say goes out with the signature. */
static void have_signed(struct conn *c, const struct agent_sign *what)
{
    c->opening->signing.data = c;
    if (signer_ask(c->w, &c->opening->signing, what, on_signed))
        conn_close(c, CONN_RST);
}

static void shake(struct conn *c)
{
    struct opening *o = c->opening;
    const struct agent_sign *what;
    size_t used;
    enum rc rc = handshake_run(o->handshake, o->in, o->len, &used), sent;

    o->len -= used;
    memmove(o->in, o->in + used, o->len);
    what = handshake_unsigned(o->handshake);
    if (what) {
        have_signed(c, what);
    } else if ((sent = send_out(c))) {
        conn_unwritten(c, sent);
    } else if (rc == RC_AGAIN) {
        conn_read(c, on_room, on_bytes);
    } else if (rc) {
        OPENED(c, handshake_failed);
        conn_answer(c); /* the alert is the last word */
    } else {
        o->times.handshake_us = since_first(o);
        sm_move(&c->sm, CONN_WAKING);
        c->since_ms = uv_now(&c->w->loop);
        proceed(c);
    }
}

/*----- the instance, then the handover -----*/

void opening_on_ready(struct conn *c, bool woken, uint64_t asked_us, uint64_t ready_us)
{
    struct opening *o = c->opening;

    o->woken = woken;
    /* A wake that another connection began may have asked before our first byte. */
    if (ready_us) {
        o->times.boot_asked_us = asked_us > o->first_us ? (uint32_t)(asked_us - o->first_us) : 1;
        o->times.boot_done_us = ready_us > o->first_us ? (uint32_t)(ready_us - o->first_us) : 1;
    }
    if (c->sm.state == CONN_WAKING)
        proceed(c);
    else if (c->sm.state == CONN_ROUTE && wake_join(c->w, c, o->hello.name))
        opening_on_refused(c, RC_FAILED); /* else: the route was invalidated before it came */
}

/* The handshake is over: hand over now, or wait for a channel, or give up. */
static void proceed(struct conn *c)
{
    struct opening *o = c->opening;
    struct channel *ch = c->tenant->channel;
    uint64_t now = clock_us();

    if (ch && !share_take(c)) {
        OPENED(c, refused_limit);
        conn_close(c, CONN_RST);
    } else if (ch) {
        conn_no_deadline(c);
        conn_stop(c);
        wake_leave(c->w, c);
        relay_begin(c, ch);
    } else if (o->refused || now >= o->deadline_us) {
        unavailable_answer(c);
    } else {
        conn_deadline(c, (o->deadline_us - now) / 1000 + 1, on_wake_late);
        /* The channel that was there at the hello may have been released since. */
        if (!o->wake && wake_join(c->w, c, o->hello.name))
            unavailable_answer(c);
    }
}

void opening_free(struct conn *c)
{
    struct opening *o = c->opening;

    if (!o)
        return;
    CHECK(!o->wake);
    signer_forget(c->w, &o->signing);
    handshake_free(o->handshake);
    route_unref(o->route);
    free(o->in);
    secret_wipe(o, sizeof *o);
    free(o);
    c->opening = NULL;
}
