/* A connection with keys that are fixed, and the client's end of it, which can
 * seal what no honest client would.  For unit tests and fuzz targets of the record
 * layer; aborts when its own calls fail. */
#ifndef TESTS_RECORD_FIXTURE_H
#define TESTS_RECORD_FIXTURE_H

#include "common/core/handover.h"
#include "tenant-runtime/runtime/record_key.h"

void fixture_handover(uint16_t suite, struct handover *out);

struct fixture_client {
    struct record_key in, out;
};
void fixture_client_init(struct fixture_client *c, const struct handover *tenants);
void fixture_client_dispose(struct fixture_client *c);

/* One record at `to`; its size.  In TLS 1.3 `type` and `padding` zeroes are inside
 * it, and type 0 is left out. */
size_t fixture_seal(struct fixture_client *c, uint8_t type, const void *text, size_t len,
                    size_t padding, uint8_t *to);

/* Opens the whole record at `record` in place: its size, content type and text. */
size_t fixture_open(struct fixture_client *c, uint8_t *record, size_t size, uint8_t *type,
                    uint8_t **text, size_t *len);

#endif
