/* The handover's decoder: what it takes encodes to the same bytes, and makes a
 * connection; what it refuses leaves nothing behind. */
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"

#define MUST(cond) ((cond) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct handover zeroes;
    uint8_t again[HANDOVER_SIZE_MAX];
    struct handover h = {0};
    struct record r;
    size_t len;

    if (handover_decode(data, size, &h) != RC_OK) {
        MUST(memcmp(&h, &zeroes, sizeof h) == 0);
        return 0;
    }
    MUST(handover_encode(&h, again, sizeof again, &len) == RC_OK);
    MUST(len == size && memcmp(again, data, len) == 0);
    MUST(record_init(&r, &h) == RC_OK);
    record_dispose(&r);
    handover_wipe(&h);
    return 0;
}
