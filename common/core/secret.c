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

bool secret_equal(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;

    for (size_t i = 0; i < len; i++)
        differ |= (uint8_t)(x[i] ^ y[i]);
    return differ == 0;
}
