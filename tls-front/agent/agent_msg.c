#include "tls-front/agent/agent_msg.h"

#include <stdbool.h>
#include <string.h>

#include "common/core/wire.h"

enum rc agent_msg_encode(const struct agent_msg *m, void *buf, size_t size, size_t *len)
{
    struct wire_out out = wire_out(buf, size < AGENT_MSG_MAX ? size : AGENT_MSG_MAX);
    const struct agent_sign *s = &m->sign;

    wire_put_u8(&out, (uint8_t)m->type);
    switch (m->type) {
    case AGENT_PREPARE:
        wire_put_str(&out, m->key);
        break;
    case AGENT_SIGN:
        wire_put_u64(&out, m->request);
        wire_put_str(&out, s->key);
        wire_put_u8(&out, s->kind);
        wire_put_u16(&out, s->scheme);
        if (s->len > (s->kind == AGENT_TLS13 ? AGENT_HASH_MAX : AGENT_PARAMS_MAX))
            return RC_INVAL;
        if (s->kind == AGENT_TLS12) {
            wire_put_bytes(&out, s->client_random, sizeof s->client_random);
            wire_put_bytes(&out, s->server_random, sizeof s->server_random);
        }
        wire_put_u8(&out, s->len);
        wire_put_bytes(&out, s->kind == AGENT_TLS13 ? s->hash : s->params, s->len);
        break;
    case AGENT_SIGNED:
        wire_put_u64(&out, m->request);
        wire_put_u16(&out, m->done.rc);
        wire_put_u16(&out, m->done.len);
        if (m->done.len > AGENT_SIGNATURE_MAX)
            return RC_INVAL;
        wire_put_bytes(&out, m->done.signature, m->done.len);
        break;
    default:
        return RC_INVAL;
    }
    return wire_done(&out, len);
}

/*----- what TLS signs -----*/

static bool is_scheme_13(uint16_t scheme)
{
    switch (scheme) {
    case AGENT_ECDSA_SHA256:
    case AGENT_ECDSA_SHA384:
    case AGENT_RSA_PSS_SHA256:
    case AGENT_RSA_PSS_SHA384:
    case AGENT_RSA_PSS_SHA512:
        return true;
    default:
        return false;
    }
}

static bool is_scheme_12(uint16_t scheme)
{
    switch (scheme) {
    case AGENT_ECDSA_SHA256:
    case AGENT_ECDSA_SHA384:
    case AGENT_RSA_PKCS1_SHA256:
    case AGENT_RSA_PKCS1_SHA384:
    case AGENT_RSA_PKCS1_SHA512:
        return true;
    default:
        return false;
    }
}

/* ServerECDHParams: named_curve, one of the groups that the front offers, and a point
 * of the length (and for the NIST curves the form) that belongs to it. */
static bool is_params(const uint8_t *p, size_t len)
{
    static const struct {
        uint16_t group;
        uint8_t len, first; /* first: 0: any byte */
    } groups[] = {{0x0017, 65, 4}, {0x0018, 97, 4}, {0x001d, 32, 0}};

    if (len < 5 || p[0] != 3 /* named_curve */ || len != 4u + p[3])
        return false;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (p[1] == groups[i].group >> 8 && p[2] == (uint8_t)groups[i].group)
            return p[3] == groups[i].len && (groups[i].first == 0 || p[4] == groups[i].first);
    return false;
}

/* As roomkeyd names key files. */
static void get_key(struct wire_in *in, char out[CONTROL_KEY_SIZE])
{
    wire_str(in, out, CONTROL_KEY_SIZE);
    if (strlen(out) != CONTROL_KEY_SIZE - 1 ||
        strspn(out, "0123456789abcdef") != CONTROL_KEY_SIZE - 1)
        in->bad = true;
}

static void get_sign(struct wire_in *in, struct agent_sign *s)
{
    get_key(in, s->key);
    s->kind = wire_u8(in);
    s->scheme = wire_u16(in);
    if (s->kind == AGENT_TLS13 && is_scheme_13(s->scheme)) {
        s->len = wire_u8(in);
        if (s->len == 32 || s->len == 48)
            wire_copy(in, s->hash, s->len);
        else
            in->bad = true;
    } else if (s->kind == AGENT_TLS12 && is_scheme_12(s->scheme)) {
        wire_copy(in, s->client_random, sizeof s->client_random);
        wire_copy(in, s->server_random, sizeof s->server_random);
        s->len = wire_u8(in);
        if (s->len <= sizeof s->params)
            wire_copy(in, s->params, s->len);
        if (s->len > sizeof s->params || !is_params(s->params, s->len))
            in->bad = true;
    } else {
        in->bad = true;
    }
}

enum rc agent_msg_decode(const void *buf, size_t len, struct agent_msg *out)
{
    struct wire_in in = wire_in(buf, len);
    struct agent_msg m = {0};
    enum rc rc;

    m.type = wire_u8(&in);
    switch (m.type) {
    case AGENT_PREPARE:
        get_key(&in, m.key);
        break;
    case AGENT_SIGN:
        m.request = wire_u64(&in);
        get_sign(&in, &m.sign);
        break;
    case AGENT_SIGNED:
        m.request = wire_u64(&in);
        m.done.rc = wire_u16(&in);
        m.done.len = wire_u16(&in);
        if (m.done.len > sizeof m.done.signature || m.done.rc >= RC_NR ||
            (m.done.rc == RC_OK) != (m.done.len > 0))
            return RC_MALFORMED;
        wire_copy(&in, m.done.signature, m.done.len);
        break;
    default:
        return RC_MALFORMED;
    }
    rc = wire_end(&in);
    if (rc)
        return rc;
    *out = m;
    return RC_OK;
}
