#include "tests/unit/record_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void fill(uint8_t *p, size_t len, uint8_t from)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(from + i);
}

static void make_side(const struct tls_suite *suite, struct handover_side *s, uint8_t from)
{
    bool tls13 = suite->version == TLS_1_3;

    s->secret_len = tls13 ? suite->hash_len : 0;
    s->key_len = tls13 ? 0 : suite->key_len;
    s->iv_len = suite->fixed_iv_len;
    fill(s->secret, s->secret_len, from);
    fill(s->key, s->key_len, from);
    fill(s->iv, s->iv_len, from);
    s->seq = tls13 ? 0 : 1;
    s->record_limit = RECORD_PLAIN_MAX;
}

void fixture_handover(uint16_t id, struct handover *out)
{
    const struct tls_suite *suite = tls_suite_find(id);

    need(suite != NULL);
    memset(out, 0, sizeof *out);
    out->tls_version = suite->version;
    out->suite = id;
    make_side(suite, &out->in, 1);
    make_side(suite, &out->out, 101);
}

void fixture_client_init(struct fixture_client *c, const struct handover *tenants)
{
    const struct tls_suite *suite = tls_suite_find(tenants->suite);

    need(record_key_init(&c->out, suite, &tenants->in) == RC_OK);
    need(record_key_init(&c->in, suite, &tenants->out) == RC_OK);
}

void fixture_client_dispose(struct fixture_client *c)
{
    record_key_wipe(&c->in);
    record_key_wipe(&c->out);
}

size_t fixture_seal(struct fixture_client *c, uint8_t type, const void *text, size_t len,
                    size_t padding, uint8_t *to)
{
    uint8_t *body = to + RECORD_HEAD_SIZE + record_key_prefix(&c->out);

    to[0] = type;
    if (len > 0)
        memcpy(body, text, len);
    if (c->out.suite->version == TLS_1_3) {
        to[0] = TLS_DATA;
        if (type != 0)
            body[len++] = type;
        memset(body + len, 0, padding);
        len += padding;
    }
    need(record_key_seal(&c->out, to, len) == RC_OK);
    return RECORD_HEAD_SIZE + len + record_key_overhead(&c->out);
}

size_t fixture_open(struct fixture_client *c, uint8_t *record, size_t size, uint8_t *type,
                    uint8_t **text, size_t *len)
{
    size_t body;

    need(size >= RECORD_HEAD_SIZE);
    body = (size_t)record[3] << 8 | record[4];
    need(body <= size - RECORD_HEAD_SIZE && body >= record_key_overhead(&c->in));
    *type = record[0];
    *text = record + RECORD_HEAD_SIZE + record_key_prefix(&c->in);
    *len = body - record_key_overhead(&c->in);
    need(record_key_open(&c->in, record, *len) == RC_OK);
    if (c->in.suite->version == TLS_1_3) {
        need(*len > 0 && *type == TLS_DATA);
        *type = (*text)[--*len];
    }
    return RECORD_HEAD_SIZE + body;
}
