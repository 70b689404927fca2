#include "tls-front/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "tls-front/hello.h"
#include "tls-front/rate.h"
#include "tls-front/worker.h"

#define ACME_PATH  "/.well-known/acme-challenge/"
#define TOKEN_MAX  128u
#define FILE_MAX   4096u
#define ANSWER_MAX (HTTP_REQUEST_MAX + 1024u)

static struct {
    struct worker *w;
    struct acceptor acceptor;
    bool open;
    int acme;
    TAILQ_HEAD(, visit) visits; /* those that have not ended, oldest first */
    unsigned count;
} http;

struct visit {
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned handles;
    bool answered;
    uint64_t source;
    size_t len;
    char request[HTTP_REQUEST_MAX + 1];
    char answer[ANSWER_MAX];
    uv_write_t write;
    uv_shutdown_t shutdown;
    TAILQ_ENTRY(visit) entry;
};

/*----- a visit's end -----*/

static void on_closed(uv_handle_t *handle)
{
    struct visit *v = handle->data;

    if (--v->handles == 0)
        free(v);
}

static void end(struct visit *v)
{
    if (uv_is_closing((uv_handle_t *)&v->tcp))
        return;
    TAILQ_REMOVE(&http.visits, v, entry);
    http.count--;
    uv_close((uv_handle_t *)&v->tcp, on_closed);
    uv_close((uv_handle_t *)&v->timer, on_closed);
}

static void on_late(uv_timer_t *timer)
{
    end(timer->data);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)req, (void)status; /* reading goes on until the client ends too */
}

static void on_written(uv_write_t *req, int status)
{
    struct visit *v = req->handle->data;

    if (status < 0 || uv_shutdown(&v->shutdown, (uv_stream_t *)&v->tcp, on_shutdown) != 0)
        end(v);
}

static void answer(struct visit *v, const char *status, const char *header, const char *body,
                   size_t body_len)
{
    int n = snprintf(v->answer, sizeof v->answer,
                     "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
                     header, body_len);
    uv_buf_t buf;

    if (n < 0 || (size_t)n + body_len > sizeof v->answer) {
        end(v);
        return;
    }
    memcpy(v->answer + n, body, body_len);
    v->answered = true;
    buf = uv_buf_init(v->answer, (unsigned)((size_t)n + body_len));
    if (uv_write(&v->write, (uv_stream_t *)&v->tcp, &buf, 1, on_written) != 0)
        end(v);
}

static void answer_text(struct visit *v, const char *status, const char *text)
{
    answer(v, status, "Content-Type: text/plain\r\n", text, strlen(text));
}

/*----- the two answers -----*/

static bool is_token(const char *s, size_t n)
{
    return n > 0 && n <= TOKEN_MAX &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") >= n;
}

static void answer_token(struct visit *v, const char *name, size_t len)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    char token[TOKEN_MAX + 1], body[FILE_MAX];
    struct stat st;
    ssize_t n = -1;
    int fd = -1;

    if (http.acme >= 0 && is_token(name, len)) {
        memcpy(token, name, len);
        token[len] = '\0';
        fd = (int)syscall(SYS_openat2, http.acme, token, &how, sizeof how);
    }
    if (fd >= 0) {
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t)sizeof body)
            n = read(fd, body, sizeof body);
        close(fd);
    }
    if (n < 0)
        answer_text(v, "404 Not Found", "no such challenge\n");
    else
        answer(v, "200 OK", "Content-Type: application/octet-stream\r\n", body, (size_t)n);
}

static void answer_redirect(struct visit *v, const char *host, const char *path, size_t path_len)
{
    const struct sockaddr_storage *at = &http.w->options->listen[0].addr;
    char header[ANSWER_MAX], port[8] = "";
    /* The port lies at the same place in both. */
    unsigned number = ntohs(((const struct sockaddr_in *)at)->sin_port);
    int n;

    if (number != 443)
        snprintf(port, sizeof port, ":%u", number);
    n = snprintf(header, sizeof header, "Location: https://%s%s%.*s\r\n", host, port, (int)path_len,
                 path);
    if (n < 0 || (size_t)n >= sizeof header)
        answer_text(v, "414 URI Too Long", "too long\n");
    else
        answer(v, "308 Permanent Redirect", header, "", 0);
}

/*----- the request -----*/

/* The value of the one Host field, lower-cased, without its port. */
static bool find_host(const char *fields, char out[HELLO_NAME_MAX + 1])
{
    bool seen = false;

    for (const char *line = fields; *line && *line != '\r';) {
        const char *end = strstr(line, "\r\n"), *value;

        if (!end)
            return false;
        if (strncasecmp(line, "host:", 5) == 0) {
            if (seen)
                return false;
            seen = true;
            value = line + 5 + strspn(line + 5, " \t");
            if (!hello_name((const uint8_t *)value, strcspn(value, ": \t\r"), out))
                return false;
        }
        line = end + 2;
    }
    return seen;
}

static void answer_bad(struct visit *v)
{
    answer_text(v, "400 Bad Request", "this is no request that is understood here\n");
}

static void on_request(struct visit *v)
{
    char *line_end = strstr(v->request, "\r\n"), *path, *rest;
    char host[HELLO_NAME_MAX + 1];
    size_t method, len;

    *line_end = '\0';
    method = strspn(v->request, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    path = v->request + method + 1;
    if (method == 0 || v->request[method] != ' ' || *path != '/')
        goto bad;
    for (len = 0; path[len] > ' ' && path[len] < 0x7f; len++)
        ;
    rest = path + len;
    if (strncmp(rest, " HTTP/1.", 8) != 0 || strlen(rest) != 9)
        goto bad;
    if (strncmp(path, ACME_PATH, strlen(ACME_PATH)) == 0) {
        if (strncmp(v->request, "GET ", 4) == 0)
            answer_token(v, path + strlen(ACME_PATH), len - strlen(ACME_PATH));
        else
            answer(v, "405 Method Not Allowed", "Allow: GET\r\n", "", 0);
        return;
    }
    if (!find_host(line_end + 2, host))
        goto bad;
    answer_redirect(v, host, path, len);
    return;
bad:
    answer_bad(v);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bin[4096];
    struct visit *v = handle->data;

    (void)suggested;
    if (v->answered)
        *buf = uv_buf_init(bin, sizeof bin);
    else
        *buf = uv_buf_init(v->request + v->len, (unsigned)(HTTP_REQUEST_MAX - v->len));
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct visit *v = stream->data;

    (void)buf;
    if (n == UV_ENOBUFS) {
        answer_text(v, "431 Request Header Fields Too Large", "too long\n");
        return;
    }
    if (n < 0) {
        end(v);
        return;
    }
    if (v->answered)
        return;
    v->len += (size_t)n;
    v->request[v->len] = '\0';
    if (strstr(v->request, "\r\n\r\n"))
        on_request(v);
    else if (strlen(v->request) < v->len)
        answer_bad(v);
}

/*----- accepting -----*/

static bool take(struct visit *v, int fd)
{
    struct sockaddr_storage from = {0};
    int len = sizeof from;

    if (uv_tcp_open(&v->tcp, fd) != 0) {
        close(fd);
        return false;
    }
    if (uv_tcp_getpeername(&v->tcp, (struct sockaddr *)&from, &len) != 0 ||
        worker_is_last_file(http.w, &v->tcp) || !rate_allow(http.w->rates, &from))
        return false;
    v->source = rate_source(http.w->rates, &from);
    return true;
}

/* Nobody keeps others out by staying, nor ends others' visits by coming again and again: the oldest
 * of the newcomer's own makes room, and the oldest of all only for a source that has none. */
static void make_room(const struct visit *newcomer)
{
    struct visit *v = TAILQ_FIRST(&http.visits);

    while (v->source != newcomer->source)
        v = TAILQ_NEXT(v, entry);
    end(v == newcomer ? TAILQ_FIRST(&http.visits) : v);
}

static void on_taken(struct acceptor *a, int fd)
{
    struct visit *v = calloc(1, sizeof *v);

    (void)a;
    if (!v) {
        close(fd);
        return;
    }
    CHECK(uv_tcp_init(&http.w->loop, &v->tcp) == 0);
    CHECK(uv_timer_init(&http.w->loop, &v->timer) == 0);
    v->tcp.data = v->timer.data = v;
    v->handles = 2;
    TAILQ_INSERT_TAIL(&http.visits, v, entry);
    http.count++;
    if (!take(v, fd)) {
        end(v);
        return;
    }
    if (http.count > HTTP_CONNS_MAX)
        make_room(v);
    if (uv_timer_start(&v->timer, on_late, HTTP_SECONDS * 1000ull, 0) != 0 ||
        uv_read_start((uv_stream_t *)&v->tcp, on_room, on_bytes) != 0)
        end(v);
}

enum rc http_listen(struct worker *w, int listener, int acme)
{
    http.w = w;
    http.acme = acme;
    TAILQ_INIT(&http.visits);
    http.acceptor = (struct acceptor){.what = w->options->http.text, .on_taken = on_taken};
    if (listen(listener, 128) != 0) {
        log_error("cannot listen on %s: %s", w->options->http.text, strerror(errno));
        return RC_IO;
    }
    if (acceptor_open(&http.acceptor, &w->loop, listener))
        return RC_IO;
    acceptor_begin(&http.acceptor);
    http.open = true;
    return RC_OK;
}

void http_close(struct worker *w)
{
    (void)w;
    if (http.open)
        acceptor_close(&http.acceptor);
    http.open = false;
}
