#include "common/core/wire.h"

#include <string.h>

struct wire_in wire_in(const void *buf, size_t len)
{
    return (struct wire_in){.p = buf, .left = len};
}

const uint8_t *wire_bytes(struct wire_in *in, size_t n)
{
    const uint8_t *p = in->p;

    if (in->bad || n > in->left) {
        in->bad = true;
        return NULL;
    }
    in->p += n;
    in->left -= n;
    return p;
}

static uint64_t get_le(struct wire_in *in, size_t n)
{
    const uint8_t *p = wire_bytes(in, n);
    uint64_t v = 0;

    while (p && n--)
        v = v << 8 | p[n];
    return v;
}

uint8_t wire_u8(struct wire_in *in)
{
    return (uint8_t)get_le(in, 1);
}

uint16_t wire_u16(struct wire_in *in)
{
    return (uint16_t)get_le(in, 2);
}

uint32_t wire_u32(struct wire_in *in)
{
    return (uint32_t)get_le(in, 4);
}

uint64_t wire_u64(struct wire_in *in)
{
    return get_le(in, 8);
}

void wire_copy(struct wire_in *in, void *out, size_t n)
{
    const uint8_t *p = wire_bytes(in, n);

    if (p)
        memcpy(out, p, n);
    else
        memset(out, 0, n);
}

void wire_str(struct wire_in *in, char *out, size_t size)
{
    size_t n = wire_u16(in);
    const uint8_t *p = wire_bytes(in, n);

    out[0] = '\0';
    if (!p)
        return;
    if (n >= size || memchr(p, 0, n)) {
        in->bad = true;
        return;
    }
    memcpy(out, p, n);
    out[n] = '\0';
}

enum rc wire_end(const struct wire_in *in)
{
    return in->bad || in->left != 0 ? RC_MALFORMED : RC_OK;
}

struct wire_out wire_out(void *buf, size_t size)
{
    return (struct wire_out){.start = buf, .p = buf, .left = size};
}

static uint8_t *reserve(struct wire_out *out, size_t n)
{
    uint8_t *p = out->p;

    if (out->bad || n > out->left) {
        out->bad = true;
        return NULL;
    }
    out->p += n;
    out->left -= n;
    return p;
}

static void put_le(struct wire_out *out, uint64_t v, size_t n)
{
    uint8_t *p = reserve(out, n);

    for (size_t i = 0; p && i < n; i++, v >>= 8)
        p[i] = (uint8_t)v;
}

void wire_put_u8(struct wire_out *out, uint8_t v)
{
    put_le(out, v, 1);
}

void wire_put_u16(struct wire_out *out, uint16_t v)
{
    put_le(out, v, 2);
}

void wire_put_u32(struct wire_out *out, uint32_t v)
{
    put_le(out, v, 4);
}

void wire_put_u64(struct wire_out *out, uint64_t v)
{
    put_le(out, v, 8);
}

void wire_put_bytes(struct wire_out *out, const void *p, size_t n)
{
    uint8_t *q = reserve(out, n);

    if (q && n)
        memcpy(q, p, n);
}

void wire_put_str(struct wire_out *out, const char *s)
{
    size_t n = strlen(s);

    if (n > UINT16_MAX) {
        out->bad = true;
        return;
    }
    wire_put_u16(out, (uint16_t)n);
    wire_put_bytes(out, s, n);
}

enum rc wire_done(const struct wire_out *out, size_t *len)
{
    if (out->bad)
        return RC_TOO_LARGE;
    *len = (size_t)(out->p - out->start);
    return RC_OK;
}
