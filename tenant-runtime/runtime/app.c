/* roomkey/app.h: what an app calls, on top of the runtime.
 *
 * Each call is a few lines: the app's words to the runtime's, and result codes to
 * those of app.h.  Calls that wait send first what was written before. */
#include "tenant-runtime/include/roomkey/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/core/check.h"
#include "tenant-runtime/runtime/answer.h"
#include "tenant-runtime/runtime/conn.h"
#include "tenant-runtime/runtime/control.h"
#include "tenant-runtime/runtime/head.h"
#include "tenant-runtime/runtime/lease.h"
#include "tenant-runtime/runtime/runtime.h"

static int result(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return 0;
    case RC_INVAL:
        return RK_INVALID;
    case RC_TOO_LARGE:
        return RK_TOO_LARGE;
    case RC_NOMEM:
        return RK_NOMEM;
    default:
        return RK_GONE;
    }
}

/*----- the request -----*/

const char *rk_method(const struct rk_request *req)
{
    return req->head_over ? llhttp_method_name((llhttp_method_t)req->method) : "";
}

const char *rk_target(const struct rk_request *req)
{
    return req->text;
}

const char *rk_path(const struct rk_request *req)
{
    return req->text + req->path;
}

const char *rk_query(const struct rk_request *req)
{
    return req->text + req->query;
}

const char *rk_host(const struct rk_request *req)
{
    return req->conn->info.sni;
}

const char *rk_header(const struct rk_request *req, const char *name)
{
    return head_field(req, name);
}

int64_t rk_length(const struct rk_request *req)
{
    return req->length;
}

ptrdiff_t rk_read(struct rk_request *req, void *buf, size_t size)
{
    size_t n;
    enum rc rc = http_read_body(req, buf, size, &n);

    return rc ? result(rc) : (ptrdiff_t)n;
}

/*----- the answer -----*/

int rk_begin(struct rk_request *req, int status, const char *content_type, int64_t length)
{
    /* What is wrong with the body is the runtime's to say. */
    if (req->body_fault && req->body_fault != 413)
        return RK_GONE;
    return result(answer_begin(req, status, content_type, length));
}

int rk_set(struct rk_request *req, const char *name, const char *value)
{
    return result(answer_set(req, name, value));
}

int rk_write(struct rk_request *req, const void *buf, size_t len)
{
    return result(answer_write(req, buf, len));
}

int rk_reply(struct rk_request *req, int status, const char *content_type, const void *body,
             size_t len)
{
    int r = rk_begin(req, status, content_type, (int64_t)len);

    return r ? r : rk_write(req, body, len);
}

int rk_replyf(struct rk_request *req, int status, const char *content_type, const char *fmt, ...)
{
    char small[512], *text = small;
    va_list args;
    int n, r;

    va_start(args, fmt);
    n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n < 0)
        return RK_INVALID;
    if ((size_t)n >= sizeof small) {
        text = malloc((size_t)n + 1);
        if (!text)
            return RK_NOMEM;
        va_start(args, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, args);
        va_end(args);
    }
    r = rk_reply(req, status, content_type, text, (size_t)n);
    if (text != small)
        free(text);
    return r;
}

/*----- the connection -----*/

void rk_connection(const struct rk_request *req, struct rk_connection *out)
{
    const struct conn *c = req->conn;
    const struct handover *h = &c->info;
    const struct tls_suite *suite = tls_suite_find(h->suite);

    *out = (struct rk_connection){
        .tls_version = h->tls_version == TLS_1_3 ? "TLSv1.3" : "TLSv1.2",
        .suite = suite ? suite->name : "",
        .sni = h->sni,
        .alpn = h->alpn,
        .client_addr = h->client_addr,
        .client_port = h->client_port,
        .resumed = h->resumed,
        .woken = h->woken,
        .times =
            {
                .hello_unix_ms = h->times.hello_unix_ms,
                .route_us = h->times.route_us,
                .boot_asked_us = h->times.boot_asked_us,
                .boot_done_us = h->times.boot_done_us,
                .handshake_us = h->times.handshake_us,
                .handover_us = h->times.handover_us,
                .first_byte_us = c->first_byte_us ? c->first_byte_us : conn_age_us(c),
            },
    };
}

/*----- the instance -----*/

const char *rk_tenant(void)
{
    return rt.tenant;
}

const char *rk_name(void)
{
    return rk_app_name;
}

const char *rk_version(void)
{
    return rk_app_version;
}

uint64_t rk_generation(void)
{
    return rt.generation;
}

uint32_t rk_busy(uint64_t ms)
{
    return lease_take(ms);
}

void rk_busy_end(uint32_t lease)
{
    lease_end(lease);
}

static struct timespec clock_now(clockid_t id)
{
    struct timespec ts;

    CHECK(clock_gettime(id, &ts) == 0);
    return ts;
}

uint64_t rk_now_ns(void)
{
    struct timespec ts = clock_now(CLOCK_MONOTONIC);

    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t rk_unix_ms(void)
{
    struct timespec ts = clock_now(CLOCK_REALTIME);

    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int rk_sleep(struct rk_request *req, uint64_t ms)
{
    enum rc rc = answer_flush(req);

    if (!rc)
        rc = conn_wait(req->conn, CONN_WAIT_SLEEP, ms);
    return rc == RC_TIMEDOUT ? 0 : result(rc);
}

void rk_random(void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len) {
        ssize_t n = getrandom(p, len, 0);

        CHECK(n > 0 || errno == EINTR);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

void rk_log(enum rk_level level, const char *fmt, ...)
{
    char text[MUX_TEXT_MAX + 1];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (control_is_open())
        control_log((enum mux_log)level, text);
    else
        fprintf(stderr, "%s\n", text);
}
