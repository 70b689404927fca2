/* TLS is big-endian: on the cursors of common/core/wire.h. */
#ifndef TLS_FRONT_TLS_WIRE_H
#define TLS_FRONT_TLS_WIRE_H

#include "common/core/wire.h"

static inline uint16_t tls_u16(struct wire_in *in)
{
    const uint8_t *p = wire_bytes(in, 2);

    if (!p)
        return 0;
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* A vector with a length of `width` bytes, as a cursor of its own. */
static inline struct wire_in tls_vector(struct wire_in *in, size_t width)
{
    size_t n = width == 1 ? wire_u8(in) : tls_u16(in);
    const uint8_t *p = wire_bytes(in, n);

    return p ? wire_in(p, n) : (struct wire_in){.bad = true};
}

#endif
