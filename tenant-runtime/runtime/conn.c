#include "tenant-runtime/runtime/conn.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/secret.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/channel.h"
#include "tenant-runtime/runtime/runtime.h"

#define CREDIT_STEP 16384u /* credit is returned in steps of this many bytes */
#define INPUT_MIN   4096u
#define INPUT_MAX   MUX_CREDIT_INITIAL

/* Records are sealed here and copied into the ring, since sealing in place would
 * show the worker the plaintext first. */
static uint8_t scratch[MUX_PAYLOAD_MAX];

static void on_timer(struct timer *t);

/*----- the beginning -----*/

struct conn *conn_open(struct channel *ch, uint64_t id, const struct handover *h)
{
    struct conn *c = rt.connections < rt.connections_max ? calloc(1, sizeof *c) : NULL;

    if (!c || record_init(&c->record, h)) {
        free(c);
        return NULL;
    }
    c->info = *h;
    secret_wipe(&c->info.in, sizeof c->info.in);
    secret_wipe(&c->info.out, sizeof c->info.out);
    for (char *p = c->info.sni; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    c->ch = ch;
    c->id = id;
    c->opened_ns = rk_now_ns();
    c->window = c->credit = MUX_CREDIT_INITIAL;
    c->timer.fire = on_timer;
    rt.connections++;
    http_init(c);
    return c;
}

/*----- input -----*/

static void input_free(struct conn *c)
{
    free(c->in);
    rt.input_bytes -= c->in_size;
    c->in = NULL;
    c->in_at = c->in_end = c->in_size = 0;
}

/* What is left in the buffer is not wanted: its credit goes back. */
static void input_discard(struct conn *c)
{
    c->owed += c->held + (c->in_end - c->in_at);
    c->held = 0;
    c->plain_len = 0;
    input_free(c);
}

/* Makes room for `len` more bytes, moving what is not done with to the front. */
static bool input_make_room(struct conn *c, uint32_t len)
{
    uint32_t base = c->plain_len ? (uint32_t)(c->plain - c->in) : c->in_at;
    uint32_t live = c->in_end - base;
    uint32_t size = c->in_size ? c->in_size : INPUT_MIN;
    uint8_t *p = c->in;

    if (c->in_size - c->in_end >= len)
        return true;
    while (size < live + len)
        size *= 2;
    CHECK(size <= INPUT_MAX); /* conn_data checked the window */
    if (size != c->in_size) {
        if (rt.input_bytes + (size - c->in_size) > rt.input_max)
            return false;
        p = malloc(size);
        if (!p)
            return false;
    }
    if (live)
        memmove(p, c->in + base, live);
    if (p != c->in) {
        rt.input_bytes += size - c->in_size;
        free(c->in);
        c->in = p;
        c->in_size = size;
    }
    c->plain = c->plain_len ? p : NULL;
    c->in_at -= base;
    c->in_end = live;
    return true;
}

static void wake(struct conn *c, enum conn_wait what)
{
    if (c->fiber && c->wait == what)
        fiber_wake(c->fiber);
}

enum rc conn_data(struct conn *c, const struct ring_span *payload, uint32_t len)
{
    if (c->fin_in || len > c->window)
        return RC_MALFORMED;
    c->window -= len;
    if (len == 0)
        return RC_OK;
    if (c->in_over || c->shut) {
        c->owed += len;
    } else if (!input_make_room(c, len)) {
        rk_log(RK_WARNING, "connection of %s reset: no memory for its input", c->info.client_addr);
        conn_reset(c);
        return RC_OK;
    } else {
        CHECK(ring_span_copy(payload, 0, c->in + c->in_end, len));
        c->in_end += len;
        http_input(c);
    }
    conn_settle(c);
    return RC_OK;
}

enum rc conn_close(struct conn *c)
{
    if (c->fin_in)
        return RC_MALFORMED;
    c->fin_in = true;
    http_input(c);
    conn_settle(c);
    return RC_OK;
}

/* A fault that record.c has an alert for, or a fatal alert of the peer's. */
static void read_failed(struct conn *c, enum rc rc)
{
    uint8_t alert = record_alert(&c->record);

    if (rc == RC_CANCELED) {
        c->broken = true;
        rk_log(RK_DEBUG, "connection of %s: the client sent alert %s", c->info.client_addr,
               tls_alert_text(alert));
    } else {
        rk_log(RK_INFO, "connection of %s closed with alert %s: %s", c->info.client_addr,
               tls_alert_text(alert), rc_text(rc));
    }
    c->in_over = c->truncated = c->shut = true;
}

enum rc conn_plain(struct conn *c, const uint8_t **data, size_t *len)
{
    size_t used;
    enum rc rc;

    if (c->plain_len == 0) {
        if (c->gone || c->in_over)
            return RC_CLOSED;
        rc = RC_AGAIN;
        if (c->in_at != c->in_end) {
            rc = record_read(&c->record, c->in + c->in_at, c->in_end - c->in_at, &used, &c->plain,
                             &c->plain_len);
            c->in_at += (uint32_t)used;
            if (rc) {
                c->plain_len = 0;
                c->owed += (uint32_t)used;
            } else {
                c->held = (uint32_t)used;
            }
        }
        if (rc == RC_AGAIN && !c->fin_in) {
            if (c->in_at == c->in_end)
                input_free(c);
            return RC_AGAIN;
        }
        if (rc) {
            c->in_over = true;
            if (rc == RC_AGAIN)
                c->truncated = record_eof(&c->record) != RC_OK;
            else if (rc != RC_CLOSED)
                read_failed(c, rc);
            input_discard(c);
            return RC_CLOSED;
        }
    }
    *data = c->plain;
    *len = c->plain_len;
    return RC_OK;
}

/*----- output -----*/

/* Bytes of records that may be sent now. */
static uint32_t out_room(const struct conn *c)
{
    uint32_t room = channel_room(c->ch);

    return c->credit < room ? c->credit : room;
}

uint32_t conn_age_us(const struct conn *c)
{
    return c->info.times.handover_us + (uint32_t)((rk_now_ns() - c->opened_ns) / 1000);
}

/* Puts what record_write made of `data`; RC_FULL: no room for it now. */
static enum rc put_records(struct conn *c, const uint8_t *data, size_t len, size_t *used)
{
    size_t written;
    enum rc rc, put;

    rc = record_write(&c->record, rk_now_ns() / TIMER_MS, data, len, used, scratch, out_room(c),
                      &written);
    if (written) {
        put = channel_put(c->ch, c, MUX_DATA, scratch, (uint32_t)written);
        if (put) { /* the worker took back room: its records are lost, and so is c */
            c->broken = true;
            return RC_CLOSED;
        }
        c->credit -= (uint32_t)written;
        if (!c->first_byte_us && len)
            c->first_byte_us = conn_age_us(c);
    }
    if (rc != RC_OK && rc != RC_FULL)
        c->out_over = c->shut = true;
    return rc;
}

/* What is owed and is not an app's data, as far as there is room. */
static void flush(struct conn *c)
{
    uint8_t credit[MUX_U32_SIZE];
    size_t used;

    if (c->gone)
        return;
    if (c->owed >= CREDIT_STEP && !c->fin_in) {
        mux_u32_encode(c->owed, credit);
        if (channel_put(c->ch, c, MUX_CREDIT, credit, sizeof credit) != RC_OK)
            return;
        c->window += c->owed;
        c->owed = 0;
    }
    if (!c->out_over && record_pending(&c->record) && put_records(c, NULL, 0, &used) == RC_FULL) {
        if (channel_room(c->ch) < RECORD_ROOM_MIN)
            channel_wait_room(c->ch, c);
        return;
    }
    if (c->shut && c->out_over && !c->fin_out &&
        channel_put(c->ch, c, MUX_CLOSE, NULL, 0) == RC_OK) {
        c->fin_out = true;
        if (c->lingering)
            conn_deadline(c, LIMIT_LINGER_MS);
    }
}

enum rc conn_send(struct conn *c, const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t used;
    enum rc rc;

    while (len) {
        if (c->gone || c->shut || c->broken)
            return RC_CLOSED;
        if (out_room(c) < RECORD_ROOM_MIN) {
            if (channel_room(c->ch) < RECORD_ROOM_MIN)
                channel_wait_room(c->ch, c);
            rc = conn_wait(c, CONN_WAIT_WRITE, limit_ms(LIMIT_WRITE_MS, rk_app.write_ms));
            if (rc == RC_TIMEDOUT) {
                rk_log(RK_INFO, "connection of %s reset: less than 16 KiB taken in %u ms",
                       c->info.client_addr, limit_ms(LIMIT_WRITE_MS, rk_app.write_ms));
                c->broken = true;
            }
            if (rc)
                return RC_CLOSED;
            continue;
        }
        rc = put_records(c, p, len, &used);
        if (rc != RC_OK && rc != RC_FULL)
            return RC_CLOSED;
        p += used;
        len -= used;
    }
    return RC_OK;
}

void conn_take(struct conn *c, size_t n)
{
    CHECK(n <= c->plain_len);
    c->plain += n;
    c->plain_len -= n;
    if (c->plain_len == 0) {
        c->owed += c->held;
        c->held = 0;
        if (c->in_at == c->in_end)
            input_free(c);
        if (c->owed >= CREDIT_STEP)
            flush(c);
    }
}

enum rc conn_credit(struct conn *c, uint32_t more)
{
    if (more > MUX_CREDIT_INITIAL - c->credit)
        return RC_MALFORMED;
    c->credit += more;
    conn_room(c);
    return RC_OK;
}

void conn_room(struct conn *c)
{
    wake(c, CONN_WAIT_WRITE);
    conn_settle(c);
}

/*----- waiting -----*/

void conn_deadline(struct conn *c, uint64_t ms)
{
    uint64_t now = rk_now_ns();

    if (ms > (TIMER_NEVER - now) / TIMER_MS)
        timer_stop(&c->timer);
    else
        timer_set(&c->timer, now + ms * TIMER_MS);
}

enum rc conn_wait(struct conn *c, enum conn_wait what, uint64_t ms)
{
    flush(c);
    if (c->gone || c->shut)
        return RC_CLOSED;
    c->wait = what;
    c->timed_out = false;
    c->fiber = fiber_current();
    conn_deadline(c, ms);
    fiber_wait();
    c->fiber = NULL;
    c->wait = CONN_WAIT_NONE;
    if (c->gone)
        return RC_CLOSED;
    timer_stop(&c->timer);
    if (c->shut)
        return RC_CLOSED;
    return c->timed_out ? RC_TIMEDOUT : RC_OK;
}

static void on_timer(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);

    if (c->fiber) {
        c->timed_out = true;
        fiber_wake(c->fiber);
    } else if (c->shut) {
        conn_reset(c); /* the client does not close its side, or takes nothing */
    } else {
        http_deadline(c);
        conn_settle(c);
    }
}

/*----- the end -----*/

void conn_shut(struct conn *c)
{
    if (c->shut || c->gone)
        return;
    record_close(&c->record);
    c->shut = true;
}

void conn_drain(struct conn *c)
{
    if (c->http.state != HTTP_WAITING || c->shut)
        return;
    if (!c->http.asked) {
        conn_deadline(c, LIMIT_FIRST_MS); /* it came to ask: its one request is on the way */
        return;
    }
    c->http.state = HTTP_OVER;
    conn_shut(c);
    conn_settle(c);
}

static void conn_free(struct conn *c)
{
    CHECK(c->gone && !c->fiber);
    http_dispose(c);
    rt.connections--;
    secret_wipe(c, sizeof *c);
    free(c);
}

void conn_gone(struct conn *c)
{
    if (!c->gone) {
        c->gone = true;
        channel_forget(c->ch, c);
        c->ch = NULL;
        timer_stop(&c->timer);
        record_dispose(&c->record);
        c->held = 0;
        c->plain_len = 0;
        input_free(c);
    }
    if (c->http.state == HTTP_SERVING) {
        if (c->fiber)
            fiber_wake(c->fiber);
        return; /* conn_settle frees it when the request has ended */
    }
    conn_free(c);
}

void conn_reset(struct conn *c)
{
    if (!c->gone)
        channel_refuse(c->ch, c->id);
    conn_gone(c);
}

void conn_settle(struct conn *c)
{
    if (c->gone) {
        if (c->http.state != HTTP_SERVING)
            conn_free(c);
        return;
    }
    if (c->broken) {
        conn_reset(c);
        return;
    }
    if (c->shut && c->http.state != HTTP_SERVING) {
        if (!c->lingering) /* our end may wait for a slow client to take what is before it */
            conn_deadline(c,
                          c->fin_out ? LIMIT_LINGER_MS : limit_ms(LIMIT_WRITE_MS, rk_app.write_ms));
        c->lingering = true;
        if (c->in || c->plain_len)
            input_discard(c);
    }
    flush(c);
    if (c->fin_out && c->fin_in && c->http.state != HTTP_SERVING)
        conn_gone(c);
}
