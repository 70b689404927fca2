#include <string.h>

#include "tenant-runtime/runtime/record.h"

#define HANDSHAKE_HEAD   4u     /* type, 24 bits of length */
#define CLIENT_HELLO_MAX 65536u /* of one that is skipped anyway */

static bool is_tls13(const struct record *r)
{
    return r->in.suite->version == TLS_1_3;
}

/* This direction says `rc` from now on. */
static void end_read(struct record *r, enum rc rc)
{
    r->read_end = rc;
    record_key_wipe(&r->in);
}

/* The peer is at fault: nothing but this alert is to be sent. */
static void refuse(struct record *r, enum rc rc, uint8_t alert)
{
    end_read(r, rc);
    r->alert = r->fatal = alert;
}

static void unexpected(struct record *r)
{
    refuse(r, RC_MALFORMED, TLS_UNEXPECTED_MESSAGE);
}

/* Counts what has no data; false when it is a flood. */
static bool bounded(struct record *r, uint8_t *count, unsigned most)
{
    if (++*count <= most)
        return true;
    unexpected(r);
    return false;
}

/* Size of the whole record at the start of `p`; 0 when it is not all there, or is
 * refused.  Its length is checked before it is waited for. */
static size_t next_record(struct record *r, const uint8_t *p, size_t len)
{
    size_t body, inner_type = is_tls13(r) ? 1 : 0;

    if (len < RECORD_HEAD_SIZE)
        return 0;
    body = (size_t)p[3] << 8 | p[4];
    if (is_tls13(r)) {
        /* The version "MUST be ignored for all purposes", but is authenticated. */
        if (p[0] != TLS_DATA)
            unexpected(r);
    } else if (p[0] < TLS_ALERT || p[0] > TLS_DATA) {
        unexpected(r);
    } else if (p[1] != TLS_1_2 >> 8 || p[2] != (TLS_1_2 & 0xff)) {
        refuse(r, RC_MALFORMED, TLS_PROTOCOL_VERSION);
    }
    if (r->read_end)
        return 0;
    if (body > r->in_limit + inner_type + record_key_overhead(&r->in)) {
        refuse(r, RC_TOO_LARGE, TLS_RECORD_OVERFLOW);
        return 0;
    }
    if (body < record_key_overhead(&r->in)) {
        refuse(r, RC_CRYPTO, TLS_BAD_RECORD_MAC);
        return 0;
    }
    return len - RECORD_HEAD_SIZE < body ? 0 : RECORD_HEAD_SIZE + body;
}

struct content {
    uint8_t type;
    uint8_t *text; /* borrowed from the caller's buffer */
    size_t len;
};

/* False when it is refused. */
static bool open_record(struct record *r, uint8_t *p, size_t size, struct content *c)
{
    enum rc rc;

    c->type = p[0];
    c->text = p + RECORD_HEAD_SIZE + record_key_prefix(&r->in);
    c->len = size - RECORD_HEAD_SIZE - record_key_overhead(&r->in);
    rc = record_key_open(&r->in, p, c->len);
    if (rc) {
        refuse(r, rc, rc == RC_CRYPTO ? TLS_BAD_RECORD_MAC : TLS_INTERNAL_ERROR);
        return false;
    }
    if (!is_tls13(r))
        return true;
    /* Padding (RFC 8446, 5.4).  How long this takes tells no more than what the
     * app does with that much data. */
    while (c->len > 0 && c->text[c->len - 1] == 0)
        c->len--;
    if (c->len == 0) {
        unexpected(r);
        return false;
    }
    c->type = c->text[--c->len];
    if (r->in.seq == r->rekey_after)
        r->key_update = r->key_update_ask = true;
    return true;
}

/* TLS 1.3: a KeyUpdate, which may come in pieces, is all that a client may send
 * after the handshake (we asked for no certificate). */
static void take_handshake_13(struct record *r, const struct content *c)
{
    size_t taken = 0;
    enum rc rc;

    while (taken < c->len && r->handshake_len < sizeof r->handshake)
        r->handshake[r->handshake_len++] = c->text[taken++];
    if (r->handshake[0] != TLS_KEY_UPDATE) {
        unexpected(r);
        return;
    }
    if (r->handshake_len < HANDSHAKE_HEAD)
        return;
    if (r->handshake[1] != 0 || r->handshake[2] != 0 || r->handshake[3] != 1) {
        refuse(r, RC_MALFORMED, TLS_DECODE_ERROR);
        return;
    }
    if (r->handshake_len < sizeof r->handshake)
        return;
    if (taken < c->len) { /* under the old key, behind the change (RFC 8446, 5.1) */
        unexpected(r);
        return;
    }
    if (r->handshake[4] > 1) {
        refuse(r, RC_MALFORMED, TLS_ILLEGAL_PARAMETER);
        return;
    }
    if (!bounded(r, &r->key_updates, RECORD_KEY_UPDATE_MAX))
        return;
    r->handshake_len = 0;
    rc = record_key_update(&r->in);
    if (rc) {
        refuse(r, rc, TLS_INTERNAL_ERROR);
        return;
    }
    if (r->handshake[4] == 1)
        r->key_update = true;
}

/* TLS 1.2: a ClientHello asks to renegotiate.  Refused once with a warning, after
 * which a client may go on; a second one ends the connection. */
static void take_handshake_12(struct record *r, const struct content *c)
{
    const uint8_t *p = c->text, *end = c->text + c->len;

    while (p < end) {
        if (r->handshake_len < HANDSHAKE_HEAD) {
            r->handshake[r->handshake_len++] = *p++;
            if (r->handshake[0] != TLS_CLIENT_HELLO || r->refused_hello) {
                unexpected(r);
                return;
            }
            if (r->handshake_len < HANDSHAKE_HEAD)
                continue;
            r->handshake_skip =
                (uint32_t)(r->handshake[1] << 16 | r->handshake[2] << 8 | r->handshake[3]);
            if (r->handshake_skip == 0 || r->handshake_skip > CLIENT_HELLO_MAX) {
                refuse(r, RC_MALFORMED, TLS_DECODE_ERROR);
                return;
            }
        } else {
            size_t n =
                (size_t)(end - p) < r->handshake_skip ? (size_t)(end - p) : r->handshake_skip;
            p += n;
            r->handshake_skip -= (uint32_t)n;
            if (r->handshake_skip > 0)
                return;
            r->handshake_len = 0;
            r->refused_hello = r->no_renegotiation = true;
        }
    }
}

static void take_alert(struct record *r, const struct content *c)
{
    uint8_t level, alert;

    if (c->len != 2) {
        refuse(r, RC_MALFORMED, TLS_DECODE_ERROR);
        return;
    }
    level = c->text[0];
    alert = c->text[1];
    if (!is_tls13(r) && level != TLS_WARNING && level != TLS_FATAL) {
        refuse(r, RC_MALFORMED, TLS_ILLEGAL_PARAMETER);
        return;
    }
    /* In TLS 1.3 the level means nothing (RFC 8446, 6); in 1.2 "fatal" ends it all,
     * whatever comes with it (RFC 5246, 7.2). */
    if (alert == TLS_CLOSE_NOTIFY && (is_tls13(r) || level == TLS_WARNING)) {
        r->close_notify_seen = true;
        end_read(r, RC_CLOSED);
        return;
    }
    if (is_tls13(r) ? alert == TLS_USER_CANCELED : level == TLS_WARNING) {
        (void)bounded(r, &r->warnings, RECORD_WARNING_MAX);
        return;
    }
    r->alert = alert;
    end_read(r, RC_CANCELED);
    record_key_wipe(&r->out);
}

/* What is in a record that was opened; true when it is data. */
static bool take(struct record *r, const struct content *c)
{
    /* No other record between the pieces of a handshake message. */
    if (r->handshake_len > 0 && c->type != TLS_HANDSHAKE) {
        unexpected(r);
        return false;
    }
    if (c->type == TLS_DATA) {
        if (c->len == 0) {
            (void)bounded(r, &r->empties, RECORD_EMPTY_MAX);
            return false;
        }
        r->empties = r->key_updates = r->warnings = 0;
        return true;
    }
    if (c->len == 0) { /* RFC 8446, 5.4; RFC 5246, 6.2.1 */
        unexpected(r);
        return false;
    }
    if (c->type == TLS_ALERT)
        take_alert(r, c);
    else if (c->type != TLS_HANDSHAKE)
        unexpected(r);
    else if (is_tls13(r))
        take_handshake_13(r, c);
    else
        take_handshake_12(r, c);
    return false;
}

enum rc record_read(struct record *r, uint8_t *buf, size_t len, size_t *used, uint8_t **data,
                    size_t *data_len)
{
    struct content content;
    size_t at = 0;

    *data = NULL;
    *data_len = 0;
    while (!r->read_end) {
        size_t size = next_record(r, buf + at, len - at);

        if (r->read_end)
            break;
        if (size == 0) {
            *used = at;
            return RC_AGAIN;
        }
        if (open_record(r, buf + at, size, &content) && take(r, &content)) {
            *data = content.text;
            *data_len = content.len;
            *used = at + size;
            return RC_OK;
        }
        at += size;
    }
    *used = len;
    return r->read_end;
}
