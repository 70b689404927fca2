#include "tenant-runtime/runtime/head.h"

#include <string.h>
#include <strings.h>

#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/conn.h"

const char *head_field(const struct rk_request *req, const char *name)
{
    for (unsigned i = 0; i < req->fields; i++)
        if (strcasecmp(req->text + req->field[i].name, name) == 0)
            return req->text + req->field[i].value;
    return NULL;
}

static unsigned count(const struct rk_request *req, const char *name)
{
    unsigned n = 0;

    for (unsigned i = 0; i < req->fields; i++)
        n += strcasecmp(req->text + req->field[i].name, name) == 0;
    return n;
}

/* `len` bytes at `s`, host[:port], name the host of the handover. */
static bool is_our_host(const struct rk_request *req, const char *s, size_t len)
{
    const char *sni = req->conn->info.sni;
    const char *colon = memchr(s, ':', len);

    if (colon) {
        size_t port = len - (size_t)(colon - s) - 1;

        if (strspn(colon + 1, "0123456789") < port)
            return false;
        len = (size_t)(colon - s);
    }
    if (len && s[len - 1] == '.') /* a fully qualified name; SNI has no dot there */
        len--;
    return len != 0 && strlen(sni) == len && strncasecmp(sni, s, len) == 0;
}

/* Splits the target; for the absolute form checks its authority too. */
static int check_target(struct rk_request *req, uint8_t method)
{
    const char *target = req->text, *path = target;
    size_t len;

    if (strchr(target, '#'))
        return 400;
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        const char *authority = strchr(target, ':') + 3;

        len = strcspn(authority, "/?");
        if (!is_our_host(req, authority, len))
            return 421;
        path = authority + len;
    } else if (*target != '/' && !(strcmp(target, "*") == 0 && method == HTTP_OPTIONS)) {
        return 400;
    }

    /* The path is put behind the texts; LIMIT_TARGET bytes of room are kept. */
    len = strcspn(path, "?");
    req->path = req->text_len;
    if (len == 0)
        req->text[req->text_len++] = '/';
    memcpy(req->text + req->text_len, path, len);
    req->text_len = (uint16_t)(req->text_len + len);
    req->text[req->text_len] = '\0';
    req->query = path[len] ? (uint16_t)(path + len + 1 - target) : req->text_len;
    return 0;
}

static int check_host(const struct rk_request *req)
{
    unsigned hosts = count(req, "Host");
    const char *host;

    if (hosts > 1 || (hosts == 0 && !req->http10))
        return 400;
    if (hosts == 0)
        return 0;
    host = head_field(req, "Host");
    return is_our_host(req, host, strlen(host)) ? 0 : 421;
}

/* llhttp has refused what is ambiguous; what is left is a length, chunks, or a
 * coding that we do not do. */
static int check_body(struct rk_request *req, const llhttp_t *parser)
{
    unsigned codings = count(req, "Transfer-Encoding"), lengths = count(req, "Content-Length");
    const char *expect = head_field(req, "Expect");

    if (codings + lengths > 1 || (codings && req->http10))
        return 400;
    if (codings && strcasecmp(head_field(req, "Transfer-Encoding"), "chunked") != 0)
        return 501;
    if (lengths && parser->content_length > INT64_MAX)
        return 413;
    req->length = codings ? -1 : lengths ? (int64_t)parser->content_length : 0;
    req->body_over = req->length == 0;
    if (rk_app.max_body && req->length > 0 && (uint64_t)req->length > rk_app.max_body)
        return 413;
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return 417;
    req->expect_continue = expect && !req->http10 && !req->body_over;
    return 0;
}

int head_check(struct rk_request *req, const llhttp_t *parser)
{
    int status;

    if (parser->http_major != 1 || parser->http_minor > 1)
        return 505;
    req->http10 = parser->http_minor == 0;
    req->method = parser->method;
    req->head_only = parser->method == HTTP_HEAD;
    if (parser->method == HTTP_CONNECT || parser->method == HTTP_TRACE)
        return 501;

    status = check_body(req, parser);
    if (!status)
        status = check_host(req);
    if (!status)
        status = check_target(req, parser->method);
    req->keep_alive = llhttp_should_keep_alive(parser) != 0;
    return status;
}
