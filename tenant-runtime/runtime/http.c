#include "tenant-runtime/runtime/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/core/check.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/answer.h"
#include "tenant-runtime/runtime/channel.h"
#include "tenant-runtime/runtime/conn.h"
#include "tenant-runtime/runtime/head.h"
#include "tenant-runtime/runtime/http_parser.h"
#include "tenant-runtime/runtime/runtime.h"

#define REQUEST_POOL_MAX 8u

static struct rk_request *pool; /* owned */
static unsigned pooled;

/* Requests that wait for their turn, and connections whose request has ended. */
static struct rk_request *queue, **queue_end;
static struct rk_request *ended, **ended_end;

static void append(struct rk_request **list, struct rk_request ***end, struct rk_request *req)
{
    req->next = NULL;
    if (!*list)
        *end = list;
    **end = req;
    *end = &req->next;
}

static struct rk_request *request_new(struct conn *c)
{
    struct rk_request *req = pool;

    if (req) {
        pool = req->next;
        pooled--;
    } else {
        req = malloc(sizeof *req);
        if (!req)
            return NULL;
    }
    memset(req, 0, offsetof(struct rk_request, text));
    req->conn = c;
    req->body_ms = limit_ms(LIMIT_READ_MS, rk_app.read_ms);
    return req;
}

static void request_free(struct rk_request *req)
{
    if (pooled == REQUEST_POOL_MAX) {
        free(req);
        return;
    }
    req->next = pool;
    pool = req;
    pooled++;
}

void http_init(struct conn *c)
{
    c->http.state = HTTP_WAITING;
    /* A new connection has something to say. */
    conn_deadline(c, limit_ms(LIMIT_HEAD_MS, rk_app.head_ms));
}

void http_dispose(struct conn *c)
{
    struct rk_request *req = c->http.req;

    if (!req)
        return;
    CHECK(c->http.state != HTTP_SERVING);
    if (c->http.state == HTTP_QUEUED) {
        struct rk_request **p = &queue;

        while (*p != req)
            p = &(*p)->next;
        *p = req->next;
        if (!*p)
            queue_end = p;
        rt.in_flight--;
    }
    c->http.req = NULL;
    request_free(req);
}

/*----- in the fiber -----*/

/* Takes in what the app left of the body, so that the next request's head is
 * next; false when that is too much, or will not come. */
static bool drain(struct rk_request *req)
{
    static uint8_t sink[4096]; /* never looked at */
    uint64_t drained = 0;
    size_t n;

    if (req->expect_continue)
        return req->body_over; /* it may send the body or not: who knows */
    while (!req->body_over && drained <= LIMIT_DRAIN) {
        if (http_read_body(req, sink, sizeof sink, &n) != RC_OK)
            return false;
        drained += n;
    }
    return req->body_over;
}

static void serve(void *arg)
{
    struct rk_request *req = arg;
    struct conn *c = req->conn;
    enum rc rc;

    if (req->refusal)
        answer_refuse(req, req->refusal);
    else
        rk_app.on_request(req);

    if (req->answer == ANSWER_NONE)
        answer_refuse(req, req->body_fault ? req->body_fault : 500);
    else if (req->body_fault && req->left != 0)
        c->broken = true; /* made of a body that was not whole, and looks whole */
    rc = c->broken ? RC_CLOSED : answer_end(req);
    if (rc == RC_FAILED) {
        rk_log(RK_ERROR, "%s %s: the answer ended before its length: connection reset",
               rk_method(req), rk_target(req));
        c->broken = true;
    }
    if (rc == RC_OK && req->keep_alive && drain(req))
        conn_deadline(c, limit_ms(LIMIT_IDLE_MS, rk_app.idle_ms));
    else
        req->keep_alive = false;
    append(&ended, &ended_end, req);
}

/*----- in the loop -----*/

static void over(struct conn *c)
{
    http_dispose(c);
    c->http.state = HTTP_OVER;
    conn_shut(c);
}

/* Runs the request, or queues it while too many are running. */
static void start(struct rk_request *req)
{
    struct conn *c = req->conn;

    c->http.state = HTTP_SERVING;
    if (fiber_count() < rt.requests_max && fiber_start(serve, req) == RC_OK)
        return;
    c->http.state = HTTP_QUEUED;
    append(&queue, &queue_end, req);
    if (fiber_count() == 0) { /* nobody will make room: give up */
        c->broken = true;
        over(c);
    } else if (fiber_count() < rt.requests_max) {
        rt.requests_max = fiber_count(); /* so many there is memory for */
        rk_log(RK_WARNING, "no memory for more than %u requests at once", rt.requests_max);
    }
}

static void begin(struct rk_request *req)
{
    timer_stop(&req->conn->timer);
    rt.in_flight++;
    start(req);
}

bool http_run(void)
{
    bool any = false;

    while (ended) {
        struct rk_request *req = ended;
        struct conn *c = req->conn;
        bool more = req->keep_alive && !c->gone && !c->shut && !c->broken && !c->ch->draining;

        ended = req->next;
        c->http.req = NULL;
        request_free(req);
        rt.in_flight--;
        c->http.state = more ? HTTP_WAITING : HTTP_OVER;
        if (more)
            http_input(c);
        else
            conn_shut(c);
        conn_settle(c);
        any = true;
    }
    while (queue && fiber_count() < rt.requests_max) {
        struct rk_request *req = queue;

        queue = req->next;
        start(req);
        any = true;
    }
    return any;
}

/* Feeds the parser; true when the head is whole, or refused. */
static bool feed_head(struct conn *c, const uint8_t *data, size_t len)
{
    struct rk_request *req = c->http.req;
    size_t room = LIMIT_HEAD - req->head_bytes, used = len;
    enum rc rc;

    if (len > room)
        used = len = room;
    rc = http_parser_head(&c->http.parser, req, data, len, &used);
    req->head_bytes = (uint16_t)(req->head_bytes + used);
    conn_take(c, used);
    if (rc == RC_AGAIN && req->head_bytes == LIMIT_HEAD)
        req->refusal = req->fields ? 431 : 414;
    else if (rc == RC_AGAIN)
        return false;
    else if (rc == RC_OK)
        req->refusal = head_check(req, &c->http.parser);
    return true;
}

void http_input(struct conn *c)
{
    const uint8_t *data;
    size_t len;
    enum rc rc;

    if (c->http.state == HTTP_SERVING) {
        /* Nobody may be reading, and still a KeyUpdate is answered before more data is
         * sent, and a forgery or an alert ends the answer.  Data waits. */
        rc = conn_plain(c, &data, &len);
        if (rc != RC_AGAIN && c->fiber && (c->wait == CONN_WAIT_READ || c->shut))
            fiber_wake(c->fiber);
        return;
    }
    while (c->http.state == HTTP_WAITING || c->http.state == HTTP_READING) {
        rc = conn_plain(c, &data, &len);
        if (rc == RC_AGAIN)
            return;
        if (rc) {
            over(c);
            return;
        }
        if (c->http.state == HTTP_WAITING) {
            c->http.req = request_new(c);
            if (!c->http.req) {
                rk_log(RK_WARNING, "connection of %s closed: no memory for a request",
                       c->info.client_addr);
                record_fail(&c->record, TLS_INTERNAL_ERROR);
                over(c);
                return;
            }
            http_parser_init(&c->http.parser, c->http.req);
            c->http.state = HTTP_READING;
            c->http.asked = true;
            conn_deadline(c, limit_ms(LIMIT_HEAD_MS, rk_app.head_ms));
        }
        if (feed_head(c, data, len))
            begin(c->http.req);
    }
}

void http_deadline(struct conn *c)
{
    if (c->http.state == HTTP_READING) {
        c->http.req->refusal = 408;
        begin(c->http.req);
    } else if (c->http.state == HTTP_WAITING) {
        over(c);
    }
}

/* One that comes in drops holds a request's place as one that stops does: so waiting takes of one
 * account, which bytes fill up again. */
static enum rc wait_for_body(struct rk_request *req)
{
    uint64_t since = rk_now_ns(), waited;
    enum rc rc = conn_wait(req->conn, CONN_WAIT_READ, req->body_ms);

    waited = (rk_now_ns() - since) / TIMER_MS;
    req->body_ms -= waited < req->body_ms ? (uint32_t)waited : req->body_ms;
    return rc;
}

static void body_came(struct rk_request *req, size_t n)
{
    uint32_t most = limit_ms(LIMIT_READ_MS, rk_app.read_ms);
    uint64_t ms = req->body_ms + (uint64_t)n * 1000 / LIMIT_READ_RATE;

    req->body_ms = ms < most ? (uint32_t)ms : most;
}

enum rc http_read_body(struct rk_request *req, void *buf, size_t size, size_t *n)
{
    struct conn *c = req->conn;
    const uint8_t *data;
    size_t len, used;
    enum rc rc;

    *n = 0;
    while (!req->body_over && size) {
        if (c->gone)
            return RC_CLOSED;
        if (req->body_fault)
            return req->body_fault == 413 ? RC_TOO_LARGE : RC_MALFORMED;
        if (req->expect_continue) {
            req->expect_continue = false;
            rc = answer_continue(req);
            if (rc)
                return rc;
        }
        rc = conn_plain(c, &data, &len);
        if (rc == RC_AGAIN) {
            rc = answer_flush(req);
            if (!rc)
                rc = wait_for_body(req);
            if (rc == RC_TIMEDOUT)
                req->body_fault = 408;
            else if (rc)
                return rc;
            continue;
        }
        if (rc) {
            if (c->gone || c->shut)
                return RC_CLOSED;
            req->body_fault = 400; /* cut off */
            continue;
        }
        if (len > size)
            len = size;
        rc = http_parser_body(&c->http.parser, req, data, len, &used, buf, n);
        conn_take(c, used);
        body_came(req, *n);
        if (rc)
            req->body_fault = 400;
        else if (rk_app.max_body && req->body_read > rk_app.max_body)
            req->body_fault = 413;
        else if (*n)
            return RC_OK;
        *n = 0;
    }
    return RC_OK;
}
