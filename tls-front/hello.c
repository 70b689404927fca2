#include "tls-front/hello.h"

#include <stdlib.h>
#include <string.h>

#include "common/core/wire.h"

/* RFC 8446, 4 and 5.1; RFC 6066, 3; RFC 7301, 3.1. */
#define RECORD_HEAD                  5u
#define RECORD_HANDSHAKE             22
#define RECORD_PLAIN_MAX             16384u
#define MESSAGE_HEAD                 4u
#define MESSAGE_CLIENT_HELLO         1
#define EXTENSION_SERVER_NAME        0
#define EXTENSION_ALPN               16
#define EXTENSION_SUPPORTED_VERSIONS 43
#define NAME_TYPE_HOST               0
#define LABEL_MAX                    63

/*----- TLS is big-endian -----*/

static uint16_t be16(struct wire_in *in)
{
    const uint8_t *p = wire_bytes(in, 2);

    if (!p)
        return 0;
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* A vector with a length of `width` bytes, as a cursor of its own. */
static struct wire_in vector(struct wire_in *in, size_t width)
{
    size_t n = width == 1 ? wire_u8(in) : be16(in);
    const uint8_t *p = wire_bytes(in, n);

    return p ? wire_in(p, n) : (struct wire_in){.bad = true};
}

/*----- the records -----*/

/* The first bytes of the message may lie in records of their own. */
static size_t message_length(const uint8_t *buf, size_t end)
{
    uint8_t head[MESSAGE_HEAD] = {0};
    size_t n = 0;

    for (size_t at = 0; at < end && n < sizeof head;) {
        size_t body = (size_t)buf[at + 3] << 8 | buf[at + 4];

        for (size_t i = 0; i < body && n < sizeof head; i++)
            head[n++] = buf[at + RECORD_HEAD + i];
        at += RECORD_HEAD + body;
    }
    return MESSAGE_HEAD + ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
}

static enum rc check_head(const uint8_t *head, size_t n)
{
    size_t body;

    if (n >= 1 && head[0] != RECORD_HANDSHAKE)
        return RC_MALFORMED;
    /* Any minor version: RFC 8446, 5.1 has it ignored. */
    if (n >= 2 && head[1] != 3)
        return RC_MALFORMED;
    if (n < RECORD_HEAD)
        return RC_AGAIN;
    body = (size_t)head[3] << 8 | head[4];
    return body == 0 || body > RECORD_PLAIN_MAX ? RC_MALFORMED : RC_OK;
}

enum rc hello_scan(struct hello_scan *s, const uint8_t *buf, size_t len)
{
    /* Every HTTP method starts with a capital letter, no TLS record does. */
    if (len > 0 && buf[0] >= 'A' && buf[0] <= 'Z')
        return RC_UNSUPPORTED;

    for (;;) {
        enum rc rc = check_head(buf + s->at, len - s->at);
        size_t body, first;

        if (rc == RC_MALFORMED)
            return rc;
        if (rc == RC_AGAIN)
            break;
        body = (size_t)buf[s->at + 3] << 8 | buf[s->at + 4];
        first = s->at + RECORD_HEAD;
        if (s->have == 0 && len > first && buf[first] != MESSAGE_CLIENT_HELLO)
            return RC_MALFORMED;
        if (first + body > HELLO_RAW_MAX)
            return RC_TOO_LARGE;
        if (len - first < body)
            break;
        s->at = first + body;
        s->have += body;
        if (s->need == 0 && s->have >= MESSAGE_HEAD)
            s->need = message_length(buf, s->at);
        if (s->need > HELLO_RAW_MAX)
            return RC_TOO_LARGE;
        /* Nothing may follow before the server has spoken. */
        if (s->need != 0 && s->have > s->need)
            return RC_MALFORMED;
        if (s->have == s->need)
            return RC_OK;
    }
    return len >= HELLO_RAW_MAX ? RC_TOO_LARGE : RC_AGAIN;
}

/*----- the message -----*/

bool hello_name(const uint8_t *p, size_t len, char out[HELLO_NAME_MAX + 1])
{
    size_t label = 0;
    bool digits = true;

    if (len == 0 || len > HELLO_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = (char)p[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c == '.') {
            if (label == 0 || out[i - 1] == '-')
                return false;
            label = 0;
            digits = true;
        } else {
            bool digit = c >= '0' && c <= '9';

            if (!digit && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
                return false;
            if ((label == 0 && c == '-') || ++label > LABEL_MAX)
                return false;
            digits &= digit;
        }
        out[i] = c;
    }
    out[len] = '\0';
    /* A last label of digits is an IPv4 address; the others have a ':' in them. */
    return label > 0 && out[len - 1] != '-' && !digits;
}

static bool read_server_name(struct wire_in in, struct hello *h)
{
    struct wire_in list = vector(&in, 2);
    bool seen = false;

    if (list.bad || in.left != 0 || list.left == 0)
        return false;
    while (list.left > 0) {
        uint8_t type = wire_u8(&list);
        struct wire_in name = vector(&list, 2);

        if (name.bad || name.left == 0)
            return false;
        if (type != NAME_TYPE_HOST)
            continue;
        if (seen)
            return false;
        seen = true;
        if (!hello_name(name.p, name.left, h->name))
            h->name[0] = '\0';
    }
    return true;
}

static bool read_alpn(struct wire_in in, struct hello *h)
{
    struct wire_in list = vector(&in, 2);

    if (list.bad || in.left != 0 || list.left == 0)
        return false;
    while (list.left > 0) {
        struct wire_in protocol = vector(&list, 1);

        if (protocol.bad || protocol.left == 0)
            return false;
    }
    h->alpn = true;
    return true;
}

static bool read_versions(struct wire_in in, struct hello *h)
{
    struct wire_in list = vector(&in, 1);

    if (list.bad || in.left != 0 || list.left == 0)
        return false;
    while (list.left > 0 && !list.bad)
        if (be16(&list) == 0x0304)
            h->tls13 = true;
    return !list.bad;
}

static bool read_extensions(struct wire_in all, struct hello *h)
{
    uint32_t seen = 0;

    while (all.left > 0) {
        uint16_t type = be16(&all);
        struct wire_in body = vector(&all, 2);
        bool ok = !body.bad;

        if (type == EXTENSION_SERVER_NAME)
            ok = ok && !(seen & 1) && read_server_name(body, h), seen |= 1;
        else if (type == EXTENSION_ALPN)
            ok = ok && !(seen & 2) && read_alpn(body, h), seen |= 2;
        else if (type == EXTENSION_SUPPORTED_VERSIONS)
            ok = ok && !(seen & 4) && read_versions(body, h), seen |= 4;
        if (!ok)
            return false;
    }
    return !all.bad;
}

static enum rc read_message(const uint8_t *msg, size_t len, struct hello *out)
{
    struct wire_in in = wire_in(msg, len);
    struct wire_in session, suites, compressions, extensions;
    struct hello h = {0};

    wire_bytes(&in, MESSAGE_HEAD); /* hello_scan() has seen it */
    h.legacy_version = be16(&in);
    wire_copy(&in, h.random, sizeof h.random);
    session = vector(&in, 1);
    suites = vector(&in, 2);
    compressions = vector(&in, 1);
    if (in.bad || session.bad || session.left > 32 || suites.bad || suites.left < 2 ||
        suites.left % 2 || compressions.bad || compressions.left == 0)
        return RC_MALFORMED;
    if (in.left > 0) { /* a TLS 1.2 client may leave them out */
        extensions = vector(&in, 2);
        if (extensions.bad || !read_extensions(extensions, &h))
            return RC_MALFORMED;
    }
    if (wire_end(&in))
        return RC_MALFORMED;
    *out = h;
    return RC_OK;
}

enum rc hello_read(const struct hello_scan *s, const uint8_t *buf, struct hello *out)
{
    uint8_t *msg;
    size_t n = 0;
    enum rc rc;

    if (s->at == RECORD_HEAD + s->need) /* one record: read it where it lies */
        return read_message(buf + RECORD_HEAD, s->need, out);

    msg = malloc(s->need);
    if (!msg)
        return RC_NOMEM;
    for (size_t at = 0; at < s->at;) {
        size_t body = (size_t)buf[at + 3] << 8 | buf[at + 4];

        memcpy(msg + n, buf + at + RECORD_HEAD, body);
        n += body;
        at += RECORD_HEAD + body;
    }
    rc = read_message(msg, n, out);
    free(msg);
    return rc;
}
