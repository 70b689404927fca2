/* What a client says first: all of it to each of the two that may be listening, the reader of
 * ClientHellos and that of the HTTP port.  In one piece and byte by byte it must read the same; a
 * name is one that the registry could have; and an answer of the HTTP port has one head, whose
 * lines are ours and in which nothing of the client's but its path and its host stands.
 *
 * Seen to find: a Host that is not checked; and, in what was there before, an HTTP request that
 * read differently with a NUL behind its head. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <uv.h>

#include "common/core/check.h"
#include "tls-front/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*----- the HTTP port, without sockets -----*/

static int heard(uv_write_t *req, uv_stream_t *to, const uv_buf_t *buf, unsigned n, uv_write_cb cb);
static long opened(long call, int dir, const char *token, const void *how, size_t size);

#define uv_write heard
#define syscall  opened
#include "tls-front/http.c"
#undef uv_write
#undef syscall

static int heard(uv_write_t *req, uv_stream_t *to, const uv_buf_t *buf, unsigned n, uv_write_cb cb)
{
    struct visit *v = to->data;

    (void)req, (void)cb;
    CHECK(n == 1 && buf->base == v->answer && buf->len <= sizeof v->answer);
    v->answer[buf->len < sizeof v->answer ? buf->len : sizeof v->answer - 1] = '\0';
    return 0;
}

static long opened(long call, int dir, const char *token, const void *how, size_t size)
{
    (void)how, (void)size;
    CHECK(call == SYS_openat2 && dir == http.acme);
    CHECK(*token && strlen(token) <= TOKEN_MAX && !strpbrk(token, "./%"));
    return -1;
}

static void visit(struct visit *v, const uint8_t *data, size_t size, size_t cut)
{
    uv_buf_t buf;

    memset(v, 0, sizeof *v);
    v->tcp.data = v;
    for (size_t at = 0; at < size && !v->answered;) {
        size_t n = cut < size - at ? cut : size - at;

        on_room((uv_handle_t *)&v->tcp, 0, &buf);
        CHECK(n <= buf.len);
        memcpy(buf.base, data + at, n);
        on_bytes((uv_stream_t *)&v->tcp, (ssize_t)n, &buf);
        at += n;
    }
}

static void http_port(const uint8_t *data, size_t size)
{
    static struct visit whole, pieces; /* not on the stack: ASan is slow there */
    static struct options options = {.listens = 1};
    static struct worker w = {.options = &options};
    const char *end;
    unsigned lines = 0;

    if (size > HTTP_REQUEST_MAX)
        return;
    http.w = &w;
    http.acme = 0;
    visit(&whole, data, size, size ? size : 1);
    visit(&pieces, data, size, 1);
    CHECK(whole.answered == pieces.answered && strcmp(whole.answer, pieces.answer) == 0);
    if (!whole.answered)
        return;
    end = strstr(whole.answer, "\r\n\r\n");
    CHECK(end && strncmp(whole.answer, "HTTP/1.1 ", 9) == 0);
    for (const char *p = whole.answer; p < end; p++) {
        lines += *p == '\r';
        CHECK((*p >= ' ' && *p < 0x7f) || (*p == '\r' && p[1] == '\n') || *p == '\n');
    }
    CHECK(lines <= 3);
}

/*----- the TLS port -----*/

static void tls_port(const uint8_t *data, size_t size)
{
    struct hello_scan whole = {0}, pieces = {0};
    char again[HELLO_NAME_MAX + 1];
    struct hello a;
    enum rc rc, rc_pieces = RC_AGAIN;
    uint8_t *copy;

    rc = hello_scan(&whole, data, size);
    for (size_t n = 0; n <= size && rc_pieces == RC_AGAIN; n++)
        rc_pieces = hello_scan(&pieces, data, n);
    /* In pieces it may be refused, or be over, before what follows is seen. */
    CHECK(rc != RC_OK || (rc_pieces == RC_OK && pieces.at == whole.at));
    if (rc != RC_OK)
        return;
    copy = malloc(size);
    CHECK(copy);
    memcpy(copy, data, size);
    hello_join(&whole, copy, &size);
    rc = hello_read(&whole, copy, &a);
    free(copy);
    if (rc != RC_OK)
        return;
    CHECK(memchr(a.name, 0, sizeof a.name));
    if (*a.name)
        CHECK(hello_name((const uint8_t *)a.name, strlen(a.name), again) &&
              strcmp(a.name, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tls_port(data, size);
    http_port(data, size);
    return 0;
}
