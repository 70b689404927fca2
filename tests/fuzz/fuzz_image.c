/* Any bytes at all as an image: a verdict in bounded time, nothing read outside. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/image_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m;

    /* What is accepted keeps what is promised of it. */
    if (image_check(data, size, &m) == IMAGE_OK &&
        (!manifest_name_valid(m.name) || !manifest_version_valid(m.version) ||
         m.abi != MANIFEST_ABI || m.memory_kib < IMAGE_MEMORY_KIB_MIN ||
         m.memory_kib > IMAGE_MEMORY_KIB_MAX || !memchr(m.alpn, 0, sizeof m.alpn)))
        abort();
    return 0;
}
