#include "common/core/handover.h"

#include "common/core/secret.h"
#include "common/core/wire.h"

#define GCM_FIXED_IV    4
#define CHACHA_FIXED_IV 12

#define RECORD_LIMIT_MIN 64
#define RECORD_LIMIT_MAX 16384

static const struct tls_suite suites[] = {
    {0x1301, TLS_1_3, 16, 32, 0, false, "TLS_AES_128_GCM_SHA256"},
    {0x1302, TLS_1_3, 32, 48, 0, false, "TLS_AES_256_GCM_SHA384"},
    {0x1303, TLS_1_3, 32, 32, 0, true, "TLS_CHACHA20_POLY1305_SHA256"},
    {0xc02b, TLS_1_2, 16, 32, GCM_FIXED_IV, false, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    {0xc02c, TLS_1_2, 32, 48, GCM_FIXED_IV, false, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    {0xc02f, TLS_1_2, 16, 32, GCM_FIXED_IV, false, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    {0xc030, TLS_1_2, 32, 48, GCM_FIXED_IV, false, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
    {0xcca8, TLS_1_2, 32, 32, CHACHA_FIXED_IV, true, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
    {0xcca9, TLS_1_2, 32, 32, CHACHA_FIXED_IV, true,
     "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
};

const struct tls_suite *tls_suite_find(uint16_t id)
{
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        if (suites[i].id == id)
            return &suites[i];
    return NULL;
}

static void put_side(struct wire_out *out, const struct handover_side *s)
{
    wire_put_u8(out, s->secret_len);
    wire_put_bytes(out, s->secret, s->secret_len);
    wire_put_u8(out, s->key_len);
    wire_put_bytes(out, s->key, s->key_len);
    wire_put_u8(out, s->iv_len);
    wire_put_bytes(out, s->iv, s->iv_len);
    wire_put_u64(out, s->seq);
    wire_put_u16(out, s->record_limit);
}

enum rc handover_encode(const struct handover *h, void *buf, size_t size, size_t *len)
{
    struct wire_out out = wire_out(buf, size < HANDOVER_SIZE_MAX ? size : HANDOVER_SIZE_MAX);

    wire_put_u32(&out, HANDOVER_MAGIC);
    wire_put_u16(&out, HANDOVER_VERSION);
    wire_put_u16(&out, h->tls_version);
    wire_put_u16(&out, h->suite);
    wire_put_u8(&out, h->resumed);
    wire_put_u8(&out, h->woken);
    put_side(&out, &h->in);
    put_side(&out, &h->out);
    wire_put_str(&out, h->sni);
    wire_put_str(&out, h->alpn);
    wire_put_str(&out, h->client_addr);
    wire_put_u16(&out, h->client_port);
    wire_put_str(&out, h->client_identity);
    wire_put_u64(&out, (uint64_t)h->times.hello_unix_ms);
    wire_put_u32(&out, h->times.route_us);
    wire_put_u32(&out, h->times.boot_asked_us);
    wire_put_u32(&out, h->times.boot_done_us);
    wire_put_u32(&out, h->times.handshake_us);
    wire_put_u32(&out, h->times.handover_us);
    return wire_done(&out, len);
}

static uint8_t get_secret(struct wire_in *in, uint8_t *to, size_t size)
{
    uint8_t n = wire_u8(in);

    if (n > size) {
        in->bad = true;
        return 0;
    }
    wire_copy(in, to, n);
    return n;
}

static void get_side(struct wire_in *in, struct handover_side *s)
{
    s->secret_len = get_secret(in, s->secret, sizeof s->secret);
    s->key_len = get_secret(in, s->key, sizeof s->key);
    s->iv_len = get_secret(in, s->iv, sizeof s->iv);
    s->seq = wire_u64(in);
    s->record_limit = wire_u16(in);
}

/* The lengths are those of the suite, and no others.  In TLS 1.3 the peer's limit
 * of 64 has the content type in it (RFC 8449, 4), and ours has not. */
static bool side_fits(const struct handover_side *s, const struct tls_suite *suite)
{
    bool tls13 = suite->version == TLS_1_3;

    return s->secret_len == (tls13 ? suite->hash_len : 0) &&
           s->key_len == (tls13 ? 0 : suite->key_len) && s->iv_len == suite->fixed_iv_len &&
           s->record_limit >= (tls13 ? RECORD_LIMIT_MIN - 1 : RECORD_LIMIT_MIN) &&
           s->record_limit <= RECORD_LIMIT_MAX;
}

enum rc handover_decode(const void *buf, size_t len, struct handover *out)
{
    struct wire_in in = wire_in(buf, len);
    struct handover h = {0};
    const struct tls_suite *suite;
    enum rc rc;

    uint32_t magic = wire_u32(&in);
    uint16_t version = wire_u16(&in);
    if (in.bad || magic != HANDOVER_MAGIC)
        return RC_MALFORMED;
    if (version != HANDOVER_VERSION)
        return RC_VERSION;

    h.tls_version = wire_u16(&in);
    h.suite = wire_u16(&in);
    uint8_t resumed = wire_u8(&in);
    uint8_t woken = wire_u8(&in);
    get_side(&in, &h.in);
    get_side(&in, &h.out);
    wire_str(&in, h.sni, sizeof h.sni);
    wire_str(&in, h.alpn, sizeof h.alpn);
    wire_str(&in, h.client_addr, sizeof h.client_addr);
    h.client_port = wire_u16(&in);
    wire_str(&in, h.client_identity, sizeof h.client_identity);
    h.times.hello_unix_ms = (int64_t)wire_u64(&in);
    h.times.route_us = wire_u32(&in);
    h.times.boot_asked_us = wire_u32(&in);
    h.times.boot_done_us = wire_u32(&in);
    h.times.handshake_us = wire_u32(&in);
    h.times.handover_us = wire_u32(&in);

    rc = wire_end(&in);
    if (rc)
        goto out;
    rc = RC_MALFORMED;
    suite = tls_suite_find(h.suite);
    if (!suite || suite->version != h.tls_version || resumed > 1 || woken > 1)
        goto out;
    if (!side_fits(&h.in, suite) || !side_fits(&h.out, suite))
        goto out;
    h.resumed = resumed;
    h.woken = woken;
    *out = h;
    rc = RC_OK;
out:
    handover_wipe(&h);
    return rc;
}

void handover_wipe(struct handover *h)
{
    secret_wipe(h, sizeof *h);
}
