/* Control messages: what is accepted encodes to the same bytes again. */
#include <stdlib.h>
#include <string.h>

#include "common/core/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[CONTROL_SIZE_MAX];
    struct control_msg m;
    size_t len;

    if (control_decode(data, size, &m))
        return 0;
    if (control_encode(&m, again, sizeof again, &len) || len != size ||
        memcmp(again, data, size) != 0)
        abort();
    if (control_fds(&m) > CONTROL_FDS_MAX)
        abort();
    return 0;
}
