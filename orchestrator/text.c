#include "orchestrator/text.h"

#include <stdint.h>
#include <string.h>

#include "common/core/check.h"

/* Bytes of the UTF-8 sequence at p; 0 when it is none (RFC 3629). */
static size_t sequence(const uint8_t *p, size_t len)
{
    static const struct {
        uint8_t first, last, low, high; /* range of byte 0; of byte 1 */
        uint8_t length;
    } forms[] = {
        /* U+0080 to U+009F are controls as well: a terminal may obey them. */
        {0x20, 0x7e, 0, 0, 1},       {0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2},
        {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
        {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
        {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (p[0] < forms[i].first || p[0] > forms[i].last)
            continue;
        if (forms[i].length > len)
            return 0;
        for (size_t k = 1; k < forms[i].length; k++) {
            uint8_t low = k == 1 ? forms[i].low : 0x80, high = k == 1 ? forms[i].high : 0xbf;

            if (p[k] < low || p[k] > high)
                return 0;
        }
        return forms[i].length;
    }
    return 0;
}

void text_clean(char *out, size_t size, const void *in, size_t len)
{
    const uint8_t *p = in;
    size_t at = 0;

    CHECK(size > 0);
    if (len > 0 && p[len - 1] == '\n')
        len--;
    while (len > 0) {
        size_t n = sequence(p, len);

        if (at + (n ? n : 1) >= size)
            break;
        if (n)
            memcpy(out + at, p, n);
        else
            out[at] = '?';
        at += n ? n : 1;
        p += n ? n : 1;
        len -= n ? n : 1;
    }
    out[at] = '\0';
}
