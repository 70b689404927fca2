#include "tenant-runtime/runtime/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/channel.h"
#include "tenant-runtime/runtime/conn.h"

/* Data below this size is collected with what comes behind it. */
#define COLLECT_MAX 4096u

static const struct {
    int status;
    const char *reason, *help; /* help: for the runtime's own answers */
} reasons[] = {
    {200, "OK", NULL},
    {201, "Created", NULL},
    {202, "Accepted", NULL},
    {204, "No Content", NULL},
    {206, "Partial Content", NULL},
    {301, "Moved Permanently", NULL},
    {302, "Found", NULL},
    {303, "See Other", NULL},
    {304, "Not Modified", NULL},
    {307, "Temporary Redirect", NULL},
    {308, "Permanent Redirect", NULL},
    {400, "Bad Request", "The request is malformed or ambiguous."},
    {401, "Unauthorized", NULL},
    {403, "Forbidden", NULL},
    {404, "Not Found", NULL},
    {405, "Method Not Allowed", NULL},
    {408, "Request Timeout", "The request did not come in time."},
    {409, "Conflict", NULL},
    {411, "Length Required", NULL},
    {412, "Precondition Failed", NULL},
    {413, "Content Too Large", "The body is larger than this application takes."},
    {414, "URI Too Long", "The request target is longer than 8000 bytes."},
    {415, "Unsupported Media Type", NULL},
    {416, "Range Not Satisfiable", NULL},
    {417, "Expectation Failed", "The only expectation that is met is 100-continue."},
    {421, "Misdirected Request", "This connection is for another host name."},
    {422, "Unprocessable Content", NULL},
    {429, "Too Many Requests", NULL},
    {431, "Request Header Fields Too Large", "At most 16 KiB and 100 fields are taken."},
    {500, "Internal Server Error", "The application gave no answer."},
    {501, "Not Implemented", "The method or transfer coding is not known here."},
    {502, "Bad Gateway", NULL},
    {503, "Service Unavailable", NULL},
    {504, "Gateway Timeout", NULL},
    {505, "HTTP Version Not Supported", "HTTP/1.1 and HTTP/1.0 are spoken here."},
};

static const char *reason(int status, const char **help)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status) {
            *help = reasons[i].help;
            return reasons[i].reason;
        }
    *help = NULL;
    return "";
}

/* The Date field's text; made once a second. */
static const char *date(void)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static char text[40];
    static int64_t made;
    int64_t now = rk_unix_ms() / 1000;
    time_t t = (time_t)now;
    struct tm tm;

    if (now == made || !gmtime_r(&t, &tm))
        return text;
    made = now;
    snprintf(text, sizeof text, "%s, %02d %s %d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
             months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return text;
}

/*----- what waits in `out` -----*/

static enum rc send_out(struct rk_request *req)
{
    enum rc rc = conn_send(req->conn, req->out, req->out_len);

    req->answer_sent |= req->out_len != 0;
    req->out_len = 0;
    return rc;
}

static enum rc add(struct rk_request *req, const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t room = sizeof req->out - req->out_len, n = len < room ? len : room;
    enum rc rc;

    memcpy(req->out + req->out_len, p, n);
    req->out_len += (uint32_t)n;
    if (n == len)
        return RC_OK;
    p += n;
    len -= n;
    rc = send_out(req);
    if (rc)
        return rc;
    if (len >= COLLECT_MAX)
        return conn_send(req->conn, p, len);
    memcpy(req->out, p, len);
    req->out_len = (uint32_t)len;
    return RC_OK;
}

/* A line of the head; RC_TOO_LARGE leaves it out. */
__attribute__((format(printf, 2, 3))) static enum rc line(struct rk_request *req, const char *fmt,
                                                          ...)
{
    size_t room = sizeof req->out - req->out_len;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf((char *)req->out + req->out_len, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room - 2) /* room for the empty line */
        return RC_TOO_LARGE;
    req->out_len += (uint32_t)n;
    return RC_OK;
}

/*----- the head -----*/

static bool is_value(const char *s)
{
    for (; *s; s++)
        if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
            return false;
    return true;
}

static bool is_token(const char *s)
{
    static const char more[] = "!#$%&'*+-.^_`|~";

    if (!*s)
        return false;
    for (; *s; s++)
        if (!((*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') ||
              strchr(more, *s)))
            return false;
    return true;
}

/* Whether another request may follow on this connection. */
static bool keeps_alive(const struct rk_request *req)
{
    const struct conn *c = req->conn;
    bool long_body = !req->body_over && req->length > (int64_t)(req->body_read + LIMIT_DRAIN);

    return req->keep_alive && !c->shut && !c->ch->draining && !record_worn(&c->record) &&
           !long_body && !req->expect_continue && !req->body_fault &&
           (req->left >= 0 || req->chunked || req->no_body);
}

static enum rc write_head(struct rk_request *req, int status, const char *content_type)
{
    const char *help;
    enum rc rc;

    rc = line(req, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason(status, &help), date());
    if (!rc && content_type && *content_type)
        rc = line(req, "Content-Type: %s\r\n", content_type);
    if (!rc && req->left >= 0 && status != 204 && status != 304)
        rc = line(req, "Content-Length: %lld\r\n", (long long)req->left);
    if (!rc && req->chunked)
        rc = line(req, "Transfer-Encoding: chunked\r\n");
    if (!rc && !req->keep_alive)
        rc = line(req, "Connection: close\r\n");
    else if (!rc && req->http10)
        rc = line(req, "Connection: keep-alive\r\n");
    return rc;
}

enum rc answer_begin(struct rk_request *req, int status, const char *content_type, int64_t length)
{
    bool bodiless = status == 204 || status == 304;
    uint32_t before = req->out_len;
    enum rc rc;

    if (req->conn->gone)
        return RC_CLOSED;
    if (req->answer != ANSWER_NONE || status < 200 || status > 599 || length < -1 ||
        (content_type && !is_value(content_type)))
        return RC_INVAL;

    req->no_body = req->head_only || bodiless;
    req->left = length;
    req->chunked = length < 0 && !req->http10 && !bodiless;
    req->keep_alive = keeps_alive(req);
    rc = write_head(req, status, content_type);
    if (rc) {
        req->out_len = before;
        return rc;
    }
    req->answer = ANSWER_HEAD;
    return RC_OK;
}

enum rc answer_set(struct rk_request *req, const char *name, const char *value)
{
    /* These say where messages end and belong to the runtime. */
    static const char *const ours[] = {"Connection", "Content-Length", "Transfer-Encoding",
                                       "Keep-Alive", "Upgrade",        "Date",
                                       "Trailer"};

    if (req->answer != ANSWER_HEAD || !is_token(name) || !is_value(value))
        return RC_INVAL;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcasecmp(name, ours[i]) == 0)
            return RC_INVAL;
    return line(req, "%s: %s\r\n", name, value);
}

static enum rc end_head(struct rk_request *req)
{
    if (req->answer != ANSWER_HEAD)
        return req->answer == ANSWER_BODY ? RC_OK : RC_INVAL;
    req->answer = ANSWER_BODY;
    return add(req, "\r\n", 2);
}

/*----- the body -----*/

enum rc answer_write(struct rk_request *req, const void *buf, size_t len)
{
    char head[24];
    enum rc rc;
    int n;

    if (req->conn->gone)
        return RC_CLOSED;
    rc = end_head(req);
    if (rc)
        return rc;
    if (req->left >= 0) {
        if (len > (uint64_t)req->left)
            return RC_INVAL;
        req->left -= (int64_t)len;
    }
    if (req->no_body || len == 0)
        return RC_OK;
    if (!req->chunked)
        return add(req, buf, len);
    n = snprintf(head, sizeof head, "%zx\r\n", len);
    rc = add(req, head, (size_t)n);
    if (!rc)
        rc = add(req, buf, len);
    return rc ? rc : add(req, "\r\n", 2);
}

enum rc answer_flush(struct rk_request *req)
{
    /* A head that may still get fields stays. */
    return req->answer == ANSWER_HEAD ? RC_OK : send_out(req);
}

enum rc answer_end(struct rk_request *req)
{
    enum rc rc;

    if (req->answer == ANSWER_NONE || req->conn->gone || req->conn->shut)
        return RC_CLOSED; /* cut short by the client's fault, whose alert may still wait */
    rc = end_head(req);
    if (!rc && req->chunked && !req->no_body)
        rc = add(req, "0\r\n\r\n", 5);
    if (!rc)
        rc = send_out(req);
    req->answer = ANSWER_DONE;
    if (!rc && req->left > 0 && !req->no_body)
        return RC_FAILED;
    return rc;
}

enum rc answer_continue(struct rk_request *req)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (req->answer_sent)
        return RC_OK; /* too late: the final status is on its way */
    return conn_send(req->conn, text, sizeof text - 1);
}

void answer_refuse(struct rk_request *req, int status)
{
    const char *help, *text = reason(status, &help);
    char body[160];
    int n = snprintf(body, sizeof body, "%d %s\n%s\n", status, text, help ? help : "");

    /* A fault of the client's leaves no telling where its next request begins. */
    if (status != 500)
        req->keep_alive = false;
    if (answer_begin(req, status, "text/plain", n) == RC_OK &&
        answer_write(req, body, (size_t)n) == RC_OK)
        return; /* answer_end sends it */
}
