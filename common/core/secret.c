#include "common/core/secret.h"

#include <stdint.h>
#include <string.h>

void secret_wipe(void *p, size_t len)
{
    if (len == 0)
        return;
    memset(p, 0, len);
    /* The bytes may be read by someone the compiler cannot see. */
    __asm__ volatile("" : : "r"(p) : "memory");
}

__attribute__((noinline)) void secret_wipe_stack(void)
{
    uint8_t frames[SECRET_STACK];

    secret_wipe(frames, sizeof frames);
}
