#include "tls-front/hello_offer.h"

#include "common/core/handover.h"
#include "tls-front/tls_wire.h"

#define FALLBACK_SCSV    0x5600 /* RFC 7507 */
#define VERSION_TLS_1_3  0x0304
#define COMPRESSION_NULL 0
#define POINT_PLAIN      0 /* uncompressed, RFC 8422, 5.1.2 */
#define NAME_TYPE_HOST   0
#define BINDER_MIN       32

enum extension {
    SERVER_NAME = 0,
    GROUPS = 10,
    POINTS = 11,
    SIGNATURES = 13,
    ALPN = 16,
    PADDING = 21,
    MASTER_SECRET = 23,
    RECORD_LIMIT = 28,
    PRE_SHARED_KEY = 41,
    EARLY_DATA = 42,
    VERSIONS = 43,
    COOKIE = 44,
    PSK_MODES = 45,
    KEY_SHARE = 51
};

/* Which 16-bit numbers were there already. */
struct seen {
    uint64_t bits[65536 / 64];
};

static bool seen_before(struct seen *s, uint16_t v)
{
    uint64_t bit = 1ull << v % 64;
    bool before = (s->bits[v / 64] & bit) != 0;

    s->bits[v / 64] |= bit;
    return before;
}

static bool has(const struct seen *s, enum extension type)
{
    return (s->bits[type / 64] & 1ull << type % 64) != 0;
}

bool hello_offer_may_change(uint16_t type)
{
    return type == KEY_SHARE || type == EARLY_DATA || type == COOKIE || type == PRE_SHARED_KEY ||
           type == PADDING;
}

/*----- one extension each: its body, whole -----*/

static enum tls_alert parsed(bool ok)
{
    return ok ? TLS_ALERT_NONE : TLS_ALERT_DECODE_ERROR;
}

static enum tls_alert read_server_name(struct wire_in in, struct hello *h)
{
    struct wire_in list = tls_vector(&in, 2);
    bool seen = false;

    if (list.bad || in.left != 0 || list.left == 0)
        return TLS_ALERT_DECODE_ERROR;
    while (list.left > 0) {
        uint8_t type = wire_u8(&list);
        struct wire_in name = tls_vector(&list, 2);

        if (name.bad || name.left == 0)
            return TLS_ALERT_DECODE_ERROR;
        if (type != NAME_TYPE_HOST)
            continue;
        if (seen) /* RFC 6066, 3 */
            return TLS_ALERT_ILLEGAL_PARAMETER;
        seen = true;
        if (!hello_name(name.p, name.left, h->name))
            h->name[0] = '\0';
    }
    return TLS_ALERT_NONE;
}

static enum tls_alert read_alpn(struct wire_in in, struct hello *h)
{
    struct wire_in list = tls_vector(&in, 2);

    if (list.bad || in.left != 0 || list.left == 0)
        return TLS_ALERT_DECODE_ERROR;
    while (list.left > 0) {
        struct wire_in protocol = tls_vector(&list, 1);

        if (protocol.bad || protocol.left == 0)
            return TLS_ALERT_DECODE_ERROR;
    }
    h->alpn = true;
    return TLS_ALERT_NONE;
}

static enum tls_alert read_versions(struct wire_in in, struct hello *h)
{
    struct wire_in list = tls_vector(&in, 1);

    if (list.bad || in.left != 0 || list.left == 0 || list.left % 2)
        return TLS_ALERT_DECODE_ERROR;
    while (list.left > 0)
        if (tls_u16(&list) == VERSION_TLS_1_3)
            h->tls13 = true;
    return TLS_ALERT_NONE;
}

/* supported_groups, signature_algorithms */
static enum tls_alert read_numbers(struct wire_in in)
{
    struct wire_in list = tls_vector(&in, 2);

    return parsed(!list.bad && in.left == 0 && list.left > 0 && list.left % 2 == 0);
}

static enum tls_alert read_psk_modes(struct wire_in in)
{
    struct wire_in list = tls_vector(&in, 1);

    return parsed(!list.bad && in.left == 0 && list.left > 0);
}

static enum tls_alert read_points(struct wire_in in)
{
    struct wire_in list = tls_vector(&in, 1);

    if (list.bad || in.left != 0 || list.left == 0)
        return TLS_ALERT_DECODE_ERROR;
    while (list.left > 0)
        if (wire_u8(&list) == POINT_PLAIN)
            return TLS_ALERT_NONE;
    return TLS_ALERT_ILLEGAL_PARAMETER;
}

static enum tls_alert read_key_share(struct wire_in in, struct hello *h)
{
    struct wire_in list = tls_vector(&in, 2);
    struct seen groups = {0};

    if (list.bad || in.left != 0)
        return TLS_ALERT_DECODE_ERROR;
    h->shares = 0;
    while (list.left > 0) {
        uint16_t group = tls_u16(&list);
        struct wire_in key = tls_vector(&list, 2);

        if (key.bad || key.left == 0)
            return TLS_ALERT_DECODE_ERROR;
        if (seen_before(&groups, group))
            return TLS_ALERT_ILLEGAL_PARAMETER;
        h->share_group = group;
        h->shares++;
    }
    return TLS_ALERT_NONE;
}

static enum tls_alert read_psk(struct wire_in in)
{
    struct wire_in identities = tls_vector(&in, 2), binders = tls_vector(&in, 2);
    unsigned n = 0;

    if (identities.bad || binders.bad || in.left != 0 || identities.left == 0 || binders.left == 0)
        return TLS_ALERT_DECODE_ERROR;
    for (; identities.left > 0; n++) {
        struct wire_in identity = tls_vector(&identities, 2);

        if (identity.bad || identity.left == 0 || !wire_bytes(&identities, 4))
            return TLS_ALERT_DECODE_ERROR;
    }
    for (; binders.left > 0; n--) {
        struct wire_in binder = tls_vector(&binders, 1);

        if (binder.bad || binder.left < BINDER_MIN)
            return TLS_ALERT_DECODE_ERROR;
        if (n == 0)
            return TLS_ALERT_ILLEGAL_PARAMETER; /* more than there are identities */
    }
    return n == 0 ? TLS_ALERT_NONE : TLS_ALERT_ILLEGAL_PARAMETER;
}

static enum tls_alert read_extension(uint16_t type, struct wire_in body, struct hello *h)
{
    switch (type) {
    case SERVER_NAME:
        h->names = true;
        return read_server_name(body, h);
    case ALPN:
        return read_alpn(body, h);
    case VERSIONS:
        return read_versions(body, h);
    case GROUPS:
    case SIGNATURES:
        return read_numbers(body);
    case POINTS:
        return read_points(body);
    case PSK_MODES:
        return read_psk_modes(body);
    case KEY_SHARE:
        return read_key_share(body, h);
    case PRE_SHARED_KEY:
        return read_psk(body);
    case EARLY_DATA:
        h->early_data = true;
        return parsed(body.left == 0);
    case RECORD_LIMIT:
        h->record_limit = true;
        return parsed(body.left == 2);
    case MASTER_SECRET:
        h->master_secret = true;
        return parsed(body.left == 0);
    default: /* GREASE, and what nobody here knows */
        return TLS_ALERT_NONE;
    }
}

/*----- all of it -----*/

static enum tls_alert read_extensions(struct wire_in all, struct hello *h)
{
    struct seen types = {0};

    while (all.left > 0) {
        uint16_t type = tls_u16(&all);
        struct wire_in body = tls_vector(&all, 2);
        enum tls_alert alert;

        if (body.bad)
            return TLS_ALERT_DECODE_ERROR;
        if (seen_before(&types, type))
            return TLS_ALERT_ILLEGAL_PARAMETER;
        alert = read_extension(type, body, h);
        if (alert)
            return alert;
        if (type == PRE_SHARED_KEY && all.left > 0) /* RFC 8446, 4.2.11 */
            return TLS_ALERT_ILLEGAL_PARAMETER;
    }
    if (has(&types, PRE_SHARED_KEY) && !has(&types, PSK_MODES)) /* 4.2.9 */
        return TLS_ALERT_MISSING_EXTENSION;
    return TLS_ALERT_NONE;
}

static bool offers_u16(struct wire_in list, uint16_t v)
{
    while (list.left >= 2)
        if (tls_u16(&list) == v)
            return true;
    return false;
}

static bool offers_u8(struct wire_in list, uint8_t v)
{
    while (list.left > 0)
        if (wire_u8(&list) == v)
            return true;
    return false;
}

static void take_suites(struct wire_in list, struct hello *h)
{
    while (list.left >= 2 && h->suites < HELLO_SUITES_MAX) {
        uint16_t id = tls_u16(&list);

        if (tls_suite_find(id))
            h->suite[h->suites++] = id;
    }
}

enum tls_alert hello_offer_check(const struct hello_offer *o, struct hello *h)
{
    enum tls_alert alert = read_extensions(o->extensions, h);

    if (alert)
        return alert;
    take_suites(o->suites, h);
    if (!h->tls13 && offers_u16(o->suites, FALLBACK_SCSV))
        return TLS_ALERT_INAPPROPRIATE_FALLBACK;
    if (!offers_u8(o->compressions, COMPRESSION_NULL) || (h->tls13 && o->compressions.left != 1))
        return TLS_ALERT_ILLEGAL_PARAMETER;
    return TLS_ALERT_NONE;
}
