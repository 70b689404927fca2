#include "common/host/units.h"

#include <ctype.h>
#include <string.h>

const struct unit units_duration[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                      {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
const struct unit units_size[] = {{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {NULL, 0}};
const struct unit units_count[] = {{"", 1}, {NULL, 0}};

bool units_parse(const char *s, const struct unit *units, int64_t most, int64_t *out)
{
    int64_t n = 0;

    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++) {
        n = n * 10 + (*s - '0');
        if (n > most)
            return false;
    }
    while (units->name && strcmp(s, units->name) != 0)
        units++;
    if (!units->name || n > most / units->factor)
        return false;
    *out = n * units->factor;
    return true;
}
