#include "tls-front/hello.h"

#include <mbedtls/sha256.h>
#include <string.h>

#include "common/core/check.h"
#include "tls-front/hello_offer.h"
#include "tls-front/tls_wire.h"

/* RFC 8446, 4 and 5.1. */
#define RECORD_HEAD          5u
#define RECORD_HANDSHAKE     22
#define RECORD_PLAIN_MAX     16384u
#define MESSAGE_HEAD         4u
#define MESSAGE_CLIENT_HELLO 1
#define SESSION_ID_MAX       32
#define LABEL_MAX            63

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

static enum rc fail(struct hello_scan *s, enum tls_alert alert)
{
    s->alert = alert;
    return RC_MALFORMED;
}

static enum rc check_head(struct hello_scan *s, const uint8_t *head, size_t n)
{
    size_t body;

    if (n >= 1 && head[0] != RECORD_HANDSHAKE)
        return fail(s, TLS_ALERT_UNEXPECTED_MESSAGE);
    /* Any minor version: RFC 8446, 5.1 has it ignored. */
    if (n >= 2 && head[1] != 3)
        return fail(s, TLS_ALERT_DECODE_ERROR);
    if (n < RECORD_HEAD)
        return RC_AGAIN;
    body = (size_t)head[3] << 8 | head[4];
    if (body > RECORD_PLAIN_MAX)
        return fail(s, TLS_ALERT_RECORD_OVERFLOW);
    return body == 0 ? fail(s, TLS_ALERT_UNEXPECTED_MESSAGE) : RC_OK;
}

enum rc hello_scan(struct hello_scan *s, const uint8_t *buf, size_t len)
{
    /* Every HTTP method starts with a capital letter, no TLS record does. */
    if (len > 0 && buf[0] >= 'A' && buf[0] <= 'Z')
        return RC_UNSUPPORTED;

    for (;;) {
        enum rc rc = check_head(s, buf + s->at, len - s->at);
        size_t body, first;

        if (rc == RC_MALFORMED)
            return rc;
        if (rc == RC_AGAIN)
            break;
        body = (size_t)buf[s->at + 3] << 8 | buf[s->at + 4];
        first = s->at + RECORD_HEAD;
        if (s->have == 0 && len > first && buf[first] != MESSAGE_CLIENT_HELLO)
            return fail(s, TLS_ALERT_UNEXPECTED_MESSAGE);
        if (first + body > HELLO_RAW_MAX)
            return fail(s, TLS_ALERT_ILLEGAL_PARAMETER);
        if (len - first < body)
            break;
        s->at = first + body;
        s->have += body;
        if (s->need == 0 && s->have >= MESSAGE_HEAD)
            s->need = message_length(buf, s->at);
        if (s->need > HELLO_MESSAGE_MAX)
            return fail(s, TLS_ALERT_ILLEGAL_PARAMETER);
        /* Nothing may follow before the server has spoken. */
        if (s->need != 0 && s->have > s->need)
            return fail(s, TLS_ALERT_UNEXPECTED_MESSAGE);
        if (s->have == s->need)
            return RC_OK;
    }
    return len >= HELLO_RAW_MAX ? fail(s, TLS_ALERT_ILLEGAL_PARAMETER) : RC_AGAIN;
}

void hello_join(struct hello_scan *s, uint8_t *buf, size_t *len)
{
    size_t to = RECORD_HEAD;

    if (s->at == RECORD_HEAD + s->need)
        return;
    for (size_t at = 0; at < s->at;) {
        size_t body = (size_t)buf[at + 3] << 8 | buf[at + 4];

        /* Before the head of this record is written over, it was read. */
        memmove(buf + to, buf + at + RECORD_HEAD, body);
        to += body;
        at += RECORD_HEAD + body;
    }
    CHECK(to == RECORD_HEAD + s->need);
    buf[3] = (uint8_t)(s->need >> 8);
    buf[4] = (uint8_t)s->need;
    memmove(buf + to, buf + s->at, *len - s->at);
    *len -= s->at - to;
    s->at = to;
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

/* Of all that a second ClientHello must have as the first had it. */
static void take_print(const struct hello_offer *o, const uint8_t *msg, struct hello *h)
{
    struct wire_in all = o->extensions;
    mbedtls_sha256_context sha;
    size_t head = (size_t)(o->compressions.p + o->compressions.left - msg) - MESSAGE_HEAD;
    int r;

    mbedtls_sha256_init(&sha);
    r = mbedtls_sha256_starts(&sha, 0);
    r |= mbedtls_sha256_update(&sha, msg + MESSAGE_HEAD, head);
    while (all.left > 0) {
        const uint8_t *start = all.p;
        uint16_t type = tls_u16(&all);
        struct wire_in body = tls_vector(&all, 2);

        if (!hello_offer_may_change(type))
            r |= mbedtls_sha256_update(&sha, start, (size_t)(body.p + body.left - start));
    }
    r |= mbedtls_sha256_finish(&sha, h->print);
    mbedtls_sha256_free(&sha);
    CHECK(r == 0); /* in software it cannot fail */
}

enum rc hello_read(struct hello_scan *s, const uint8_t *buf, struct hello *out)
{
    const uint8_t *msg = buf + RECORD_HEAD;
    struct wire_in in = wire_in(msg, s->need);
    struct hello_offer offer = {0};
    struct wire_in session;
    struct hello h = {0};
    enum tls_alert alert;

    CHECK(s->at == RECORD_HEAD + s->need);
    wire_bytes(&in, MESSAGE_HEAD); /* hello_scan() has seen it */
    h.size = s->need;
    h.legacy_version = tls_u16(&in);
    wire_copy(&in, h.random, sizeof h.random);
    session = tls_vector(&in, 1);
    offer.suites = tls_vector(&in, 2);
    offer.compressions = tls_vector(&in, 1);
    if (in.bad || session.bad || session.left > SESSION_ID_MAX || offer.suites.bad ||
        offer.suites.left < 2 || offer.suites.left % 2 || offer.compressions.bad ||
        offer.compressions.left == 0)
        return fail(s, TLS_ALERT_DECODE_ERROR);
    if (in.left > 0) /* a TLS 1.2 client may leave them out */
        offer.extensions = tls_vector(&in, 2);
    if (offer.extensions.bad || wire_end(&in))
        return fail(s, TLS_ALERT_DECODE_ERROR);
    alert = hello_offer_check(&offer, &h);
    if (alert)
        return fail(s, alert);
    take_print(&offer, msg, &h);
    *out = h;
    return RC_OK;
}
