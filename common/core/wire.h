/* Bounded little-endian cursors: the one way this project (un)marshals.
 *
 * Reading: every read is checked, the first failure sticks, reads after it
 * return 0 or NULL, and wire_end() must be asked before a message is accepted;
 * it refuses trailing bytes.  A decoder fills a temporary and commits it only
 * on RC_OK.  Writing: likewise sticky; wire_done() tells the length.
 * Freestanding. */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

struct wire_in {
    const uint8_t *p; /* borrowed; next byte to read */
    size_t left;
    bool bad; /* sticky: a read ran past the end */
};

struct wire_in wire_in(const void *buf, size_t len);
uint8_t wire_u8(struct wire_in *in);
uint16_t wire_u16(struct wire_in *in);
uint32_t wire_u32(struct wire_in *in);
uint64_t wire_u64(struct wire_in *in);

/* `n` bytes, borrowed from the buffer; NULL when they are not there. */
const uint8_t *wire_bytes(struct wire_in *in, size_t n);

/* Copies `n` bytes to `out`, which is zeroed when they are not there. */
void wire_copy(struct wire_in *in, void *out, size_t n);

/* A string: u16 length, then that many bytes without NUL.  Copied to `out` and
 * terminated; `size` counts the terminator.  Too long, or a NUL inside: bad. */
void wire_str(struct wire_in *in, char *out, size_t size);

RC_MUST_CHECK enum rc wire_end(const struct wire_in *in);

struct wire_out {
    uint8_t *start, *p; /* borrowed */
    size_t left;
    bool bad; /* sticky: a write did not fit */
};

struct wire_out wire_out(void *buf, size_t size);
void wire_put_u8(struct wire_out *out, uint8_t v);
void wire_put_u16(struct wire_out *out, uint16_t v);
void wire_put_u32(struct wire_out *out, uint32_t v);
void wire_put_u64(struct wire_out *out, uint64_t v);
void wire_put_bytes(struct wire_out *out, const void *p, size_t n);
void wire_put_str(struct wire_out *out, const char *s);

/* RC_TOO_LARGE when something did not fit, else the length written in *len. */
RC_MUST_CHECK enum rc wire_done(const struct wire_out *out, size_t *len);

#endif
