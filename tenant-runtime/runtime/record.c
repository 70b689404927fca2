#include "tenant-runtime/runtime/record.h"

#include <string.h>

#include "common/core/secret.h"

const char *tls_alert_text(uint8_t alert)
{
    switch (alert) {
#define X(id, number, text) \
    case id:                \
        return text;
        TLS_ALERT_MAP(X)
#undef X
    default:
        return "alert";
    }
}

static bool is_tls13(const struct record *r)
{
    return r->out.suite->version == TLS_1_3;
}

static bool out_is_over(const struct record *r)
{
    return !r->out.suite;
}

enum rc record_init(struct record *r, const struct handover *h)
{
    const struct tls_suite *suite = tls_suite_find(h->suite);
    enum rc rc;

    memset(r, 0, sizeof *r);
    if (!suite || suite->version != h->tls_version)
        return RC_INVAL;
    r->in_limit = h->in.record_limit;
    r->out_limit = h->out.record_limit;
    r->rekey_after = RECORD_REKEY_AFTER;
    r->close_after = RECORD_CLOSE_AFTER;
    rc = record_key_init(&r->in, suite, &h->in);
    if (rc)
        return rc;
    rc = record_key_init(&r->out, suite, &h->out);
    if (rc)
        record_key_wipe(&r->in);
    return rc;
}

void record_dispose(struct record *r)
{
    record_key_wipe(&r->in);
    record_key_wipe(&r->out);
    secret_wipe(r, sizeof *r);
}

enum rc record_eof(const struct record *r)
{
    return r->close_notify_seen ? RC_OK : RC_MALFORMED;
}

uint8_t record_alert(const struct record *r)
{
    return r->alert;
}

bool record_pending(const struct record *r)
{
    return !out_is_over(r) && (r->fatal || r->no_renegotiation || r->key_update || r->closing);
}

void record_close(struct record *r)
{
    r->closing = true;
}

void record_fail(struct record *r, uint8_t alert)
{
    if (!r->read_end) {
        r->read_end = RC_CANCELED;
        r->alert = alert;
        record_key_wipe(&r->in);
    }
    r->fatal = alert;
}

bool record_worn(const struct record *r)
{
    return !out_is_over(r) && !is_tls13(r) && !r->out.suite->chacha &&
           r->out.seq >= r->close_after / 4 * 3;
}

/*----- out -----*/

struct sink {
    uint8_t *p; /* borrowed from the caller */
    size_t size, len;
};

static size_t overhead(const struct record *r)
{
    return RECORD_HEAD_SIZE + record_key_overhead(&r->out) + (is_tls13(r) ? 1 : 0);
}

/* One whole record, or RC_FULL. */
static enum rc put(struct record *r, struct sink *to, uint8_t type, const void *text, size_t len)
{
    uint8_t *record = to->p + to->len;
    uint8_t *body = record + RECORD_HEAD_SIZE + record_key_prefix(&r->out);
    size_t total = len + overhead(r);
    size_t sealed = len;
    enum rc rc;

    if (total > to->size - to->len)
        return RC_FULL;
    record[0] = type;
    memcpy(body, text, len);
    if (is_tls13(r)) {
        record[0] = TLS_DATA;
        body[sealed++] = type;
    }
    rc = record_key_seal(&r->out, record, sealed);
    if (rc) {
        secret_wipe(record, total);
        record_key_wipe(&r->out);
        return rc;
    }
    to->len += total;
    return RC_OK;
}

static enum rc put_alert(struct record *r, struct sink *to, uint8_t level, uint8_t alert)
{
    const uint8_t text[2] = {level, alert};

    return put(r, to, TLS_ALERT, text, sizeof text);
}

/* The record that is this direction's last. */
static enum rc put_last(struct record *r, struct sink *to, uint8_t level, uint8_t alert)
{
    enum rc rc = put_alert(r, to, level, alert);

    if (rc)
        return rc;
    record_key_wipe(&r->out);
    return RC_CLOSED;
}

/* The KeyUpdate goes under the old key, all behind it under the next. */
static enum rc put_key_update(struct record *r, struct sink *to)
{
    const uint8_t text[5] = {TLS_KEY_UPDATE, 0, 0, 1, r->key_update_ask};
    enum rc rc = put(r, to, TLS_HANDSHAKE, text, sizeof text);

    if (rc)
        return rc;
    r->key_update = r->key_update_ask = false;
    return record_key_update(&r->out);
}

/* A key that has served long enough: see RECORD_REKEY_AFTER. */
static void mind_key_age(struct record *r)
{
    if (is_tls13(r)) {
        if (r->out.seq >= r->rekey_after)
            r->key_update = true;
    } else if (!r->out.suite->chacha && r->out.seq >= r->close_after) {
        r->closing = true;
    }
}

/* What goes out in front of any data, in the order of its weight. */
static enum rc put_waiting(struct record *r, struct sink *to)
{
    enum rc rc;

    if (r->fatal)
        return put_last(r, to, TLS_FATAL, r->fatal);
    if (r->no_renegotiation) {
        rc = put_alert(r, to, TLS_WARNING, TLS_NO_RENEGOTIATION);
        if (rc)
            return rc;
        r->no_renegotiation = false;
    }
    if (r->closing)
        return put_last(r, to, TLS_WARNING, TLS_CLOSE_NOTIFY);
    if (r->key_update)
        return put_key_update(r, to);
    return RC_OK;
}

/* A record of at most `len` bytes; how many it took in *used. */
static enum rc put_data(struct record *r, struct sink *to, const uint8_t *data, size_t len,
                        size_t *used)
{
    size_t small = r->out_limit < RECORD_SMALL ? r->out_limit : RECORD_SMALL;
    size_t want = r->small_sent < RECORD_SMALL_FOR ? small : r->out_limit;
    size_t room = to->size - to->len;
    enum rc rc;

    if (want > len)
        want = len;
    room = room > overhead(r) ? room - overhead(r) : 0;
    if (want > room) {
        /* Cut a record short only where it still pays, or to get on at all. */
        if (room < small || (to->len > 0 && room < want / 2))
            return RC_FULL;
        want = room;
    }
    rc = put(r, to, TLS_DATA, data, want);
    if (rc)
        return rc;
    if (r->small_sent < RECORD_SMALL_FOR)
        r->small_sent += (uint32_t)want;
    *used += want;
    return RC_OK;
}

enum rc record_write(struct record *r, uint64_t now_ms, const void *data, size_t len, size_t *used,
                     uint8_t *out, size_t size, size_t *written)
{
    struct sink to = {.p = out, .size = size};
    enum rc rc;

    *used = 0;
    if (now_ms - r->last_write_ms >= RECORD_IDLE_MS)
        r->small_sent = 0;
    for (;;) {
        if (out_is_over(r)) {
            rc = RC_CLOSED;
            break;
        }
        mind_key_age(r);
        rc = put_waiting(r, &to);
        if (rc || *used == len)
            break;
        rc = put_data(r, &to, (const uint8_t *)data + *used, len - *used, used);
        if (rc)
            break;
        r->last_write_ms = now_ms;
    }
    *written = to.len;
    return rc;
}
