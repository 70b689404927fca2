#include "tls-front/handshake_record.h"

#include <string.h>

#include "common/core/handover.h"
#include "tls-front/tls_wire.h"

/* What a seal adds: nonce and tag; the type behind the content, and tag.  Longer records are beyond
 * what may be in them, if not yet beyond what any may have, 2^14 + 2048 and 2^14 + 256. */
#define SEAL_12             (8u + 16u)
#define SEAL_12_CHACHA      16u
#define SEAL_13             (1u + 16u)
#define SERVER_HELLO        2
#define CLIENT_KEY_EXCHANGE 16
#define EXTENSION_KEY_SHARE 51
#define RANDOM_SIZE         32

/*----- ours -----*/

/* SHA-256 of "HelloRetryRequest" (RFC 8446, 4.1.3). */
static const uint8_t retry_random[RANDOM_SIZE] = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

/* The group in a HelloRetryRequest's key_share; 0: it has none. */
static uint16_t group_of(struct wire_in extensions)
{
    struct wire_in all = tls_vector(&extensions, 2);

    while (all.left > 0 && !all.bad) {
        uint16_t type = tls_u16(&all);
        struct wire_in body = tls_vector(&all, 2);

        if (type == EXTENSION_KEY_SHARE)
            return tls_u16(&body);
    }
    return 0;
}

void handshake_record_sent(struct handshake_record *r, const uint8_t *record, size_t len)
{
    struct wire_in in = wire_in(record, len);
    const struct tls_suite *suite;
    const uint8_t *random;

    if (record[0] == RECORD_APPLICATION_DATA)
        r->sealed = true;
    if (record[0] != RECORD_HANDSHAKE || len <= RECORD_HEAD_SIZE ||
        record[RECORD_HEAD_SIZE] != SERVER_HELLO)
        return;
    wire_bytes(&in, RECORD_HEAD_SIZE + 4 + 2); /* the message's head, its version */
    random = wire_bytes(&in, RANDOM_SIZE);
    r->spoken = true;
    r->retrying = random && memcmp(random, retry_random, RANDOM_SIZE) == 0;
    tls_vector(&in, 1); /* session */
    suite = tls_suite_find(tls_u16(&in));
    r->seal = suite && suite->chacha ? SEAL_12_CHACHA : SEAL_12;
    wire_bytes(&in, 1); /* compression */
    if (r->retrying)
        r->retry_group = group_of(in);
}

/*----- the client's -----*/

static bool is_tls12(const struct handshake_record *r)
{
    return r->spoken && !r->sealed && !r->retrying;
}

/* The length of its record, by what was agreed on (RFC 6066, 4; RFC 8449, 4). */
static enum tls_alert check_length(const struct handshake_record *r)
{
    size_t most = RECORD_PLAIN_MAX;

    if (r->sealed) /* early data is of another handshake, and as that agreed */
        most = (r->early ? RECORD_PLAIN_MAX : r->limit) + SEAL_13;
    else if (r->retrying)
        most += r->early ? SEAL_13 : 0;
    else if (r->spoken)
        most = r->limit + (size_t)(r->changed ? r->seal : 0);
    return r->left > most ? TLS_ALERT_RECORD_OVERFLOW : TLS_ALERT_NONE;
}

static enum tls_alert check_head(struct handshake_record *r)
{
    size_t len = r->left;

    switch (r->head[0]) {
    case RECORD_CHANGE_CIPHER_SPEC:
        if (len != 1)
            return is_tls12(r) ? TLS_ALERT_ILLEGAL_PARAMETER : TLS_ALERT_UNEXPECTED_MESSAGE;
        return TLS_ALERT_NONE;
    case RECORD_ALERT:
        r->hung_up = r->hung_up || !r->changed;
        return check_length(r);
    case RECORD_HANDSHAKE:
        if (r->sealed || len == 0)
            return TLS_ALERT_UNEXPECTED_MESSAGE;
        return check_length(r);
    case RECORD_APPLICATION_DATA:
        if (!r->sealed && !(r->retrying && r->early) && !r->changed)
            return TLS_ALERT_UNEXPECTED_MESSAGE;
        return check_length(r);
    default:
        return TLS_ALERT_UNEXPECTED_MESSAGE;
    }
}

/* Mbed TLS leaves what follows the point in a ClientKeyExchange unread. */
static enum tls_alert check_exchange(struct handshake_record *r, const uint8_t *p, size_t n)
{
    const uint8_t *x = r->exchange;

    if (r->exchange_len == sizeof r->exchange)
        return TLS_ALERT_NONE;
    for (; n > 0 && r->exchange_len < sizeof r->exchange; n--)
        r->exchange[r->exchange_len++] = *p++;
    if (r->exchange_len < sizeof r->exchange || x[0] != CLIENT_KEY_EXCHANGE)
        return TLS_ALERT_NONE;
    return ((size_t)x[1] << 16 | (size_t)x[2] << 8 | x[3]) == x[4] + 1u ? TLS_ALERT_NONE
                                                                        : TLS_ALERT_DECODE_ERROR;
}

static enum tls_alert check_body(struct handshake_record *r, const uint8_t *p, size_t n)
{
    if (r->head[0] == RECORD_CHANGE_CIPHER_SPEC) {
        if (*p != 1)
            return is_tls12(r) ? TLS_ALERT_ILLEGAL_PARAMETER : TLS_ALERT_UNEXPECTED_MESSAGE;
        r->changed = is_tls12(r);
    } else if (r->head[0] == RECORD_HANDSHAKE && is_tls12(r) && !r->changed) {
        return check_exchange(r, p, n);
    }
    return TLS_ALERT_NONE;
}

enum tls_alert handshake_record_took(struct handshake_record *r, const uint8_t *p, size_t n)
{
    enum tls_alert alert = TLS_ALERT_NONE;

    while (n > 0 && !alert) {
        size_t some = n;

        if (r->head_len < RECORD_HEAD_SIZE) {
            r->head[r->head_len++] = *p;
            some = 1;
            if (r->head_len == RECORD_HEAD_SIZE) {
                r->left = (size_t)r->head[3] << 8 | r->head[4];
                r->since += r->changed;
                alert = check_head(r);
            }
        } else {
            some = n < r->left ? n : r->left;
            alert = check_body(r, p, some);
            r->left -= some;
        }
        p += some;
        n -= some;
        if (r->head_len == RECORD_HEAD_SIZE && r->left == 0)
            r->head_len = 0;
    }
    return alert;
}
