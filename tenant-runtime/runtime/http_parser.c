#include "tenant-runtime/runtime/http_parser.h"

#include <string.h>

#include "common/core/check.h"

/* Texts are put one behind another, each with a NUL; the head's own separators
 * pay for those. */
static int put_text(struct rk_request *req, const char *at, size_t len)
{
    CHECK(req->text_len + len + 1 < sizeof req->text); /* LIMIT_HEAD bounds it */
    memcpy(req->text + req->text_len, at, len);
    req->text_len = (uint16_t)(req->text_len + len);
    return 0;
}

static int end_text(struct rk_request *req)
{
    req->text[req->text_len++] = '\0';
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct rk_request *req = parser->data;

    if (req->text_len + len > LIMIT_TARGET) {
        req->refusal = 414;
        return -1;
    }
    return put_text(req, at, len);
}

static int on_url_complete(llhttp_t *parser)
{
    return end_text(parser->data);
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct rk_request *req = parser->data;

    if (req->head_over)
        return 0; /* a trailer */
    if (!req->in_field) {
        if (req->fields == LIMIT_FIELDS) {
            req->refusal = 431;
            return -1;
        }
        req->field[req->fields].name = req->text_len;
        req->in_field = true;
    }
    return put_text(req, at, len);
}

static int on_field_complete(llhttp_t *parser)
{
    struct rk_request *req = parser->data;

    if (req->head_over)
        return 0;
    end_text(req);
    req->field[req->fields++].value = req->text_len;
    req->in_field = false;
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct rk_request *req = parser->data;

    return req->head_over ? 0 : put_text(req, at, len);
}

static int on_value_complete(llhttp_t *parser)
{
    struct rk_request *req = parser->data;

    return req->head_over ? 0 : end_text(req);
}

static int on_head_complete(llhttp_t *parser)
{
    struct rk_request *req = parser->data;

    req->head_over = true;
    parser->upgrade = 0; /* no protocol is switched to: the field is ignored */
    return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct rk_request *req = parser->data;

    memcpy(req->sink + req->sink_len, at, len);
    req->sink_len += len;
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct rk_request *req = parser->data;

    req->body_over = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_url_complete = on_url_complete,
    .on_header_field = on_field,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http_parser_init(llhttp_t *parser, struct rk_request *req)
{
    llhttp_init(parser, HTTP_REQUEST, &settings);
    parser->data = req;
}

/* Keeps the first bytes of the request line. */
static void keep_first(struct rk_request *req, const uint8_t *data, size_t len)
{
    size_t n = strlen(req->first);

    for (size_t i = 0; i < len && n < sizeof req->first - 1; i++)
        if (n || (data[i] != '\r' && data[i] != '\n'))
            req->first[n++] = (char)data[i];
}

static size_t method_len(const struct rk_request *req)
{
    return strspn(req->first, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_");
}

/* A method that llhttp does not know, or no method at all? */
static int unknown_method(const struct rk_request *req)
{
    size_t len = method_len(req);

    return len && (req->first[len] == ' ' || !req->first[len]) ? 501 : 400;
}

static int status_of(llhttp_errno_t err, const llhttp_t *parser, const struct rk_request *req)
{
    if (req->refusal)
        return req->refusal;
    switch (err) {
    case HPE_INVALID_METHOD:
        return unknown_method(req);
    case HPE_INVALID_VERSION: /* or what stands behind a good one, or no number */
        return parser->http_major < 2 ? 400 : 505;
    case HPE_PAUSED_H2_UPGRADE:
        return 505;
    default:
        return 400;
    }
}

enum rc http_parser_head(llhttp_t *parser, struct rk_request *req, const uint8_t *data, size_t len,
                         size_t *used)
{
    llhttp_errno_t err;

    keep_first(req, data, len);
    err = llhttp_execute(parser, (const char *)data, len);
    *used = len;
    if (err == HPE_OK)
        return RC_AGAIN;
    if (err != HPE_PAUSED || !req->head_over) {
        req->refusal = status_of(err, parser, req);
        return RC_MALFORMED;
    }
    *used = (size_t)((const uint8_t *)llhttp_get_error_pos(parser) - data);
    CHECK(*used <= len);
    llhttp_resume(parser);
    if (req->first[method_len(req) + 1] == ' ') { /* llhttp takes "GET  /" */
        req->refusal = 400;
        return RC_MALFORMED;
    }
    return RC_OK;
}

enum rc http_parser_body(llhttp_t *parser, struct rk_request *req, const uint8_t *data, size_t len,
                         size_t *used, uint8_t *sink, size_t *sink_len)
{
    llhttp_errno_t err;

    req->sink = sink;
    req->sink_len = 0;
    err = llhttp_execute(parser, (const char *)data, len);
    *used = len;
    if (err == HPE_PAUSED && req->body_over)
        *used = (size_t)((const uint8_t *)llhttp_get_error_pos(parser) - data);
    else if (err != HPE_OK)
        return RC_MALFORMED;
    CHECK(*used <= len && req->sink_len <= *used);
    *sink_len = req->sink_len;
    req->body_read += req->sink_len;

    /* Chunk heads, extensions and trailers cost us time and bring nothing. */
    req->overhead = req->sink_len ? 0 : req->overhead + (uint32_t)*used;
    return req->overhead > LIMIT_OVERHEAD ? RC_MALFORMED : RC_OK;
}
