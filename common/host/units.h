/* Numbers with a unit, as people write them: "60s", "16M".
 *
 * Strict: digits and one known unit, nothing before, between or after; a number
 * that does not fit is refused. */
#ifndef COMMON_HOST_UNITS_H
#define COMMON_HOST_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* Smallest first; a NULL name ends a table. */
struct unit {
    const char *name;
    int64_t factor;
};

extern const struct unit units_duration[]; /* ms s m h d, in milliseconds */
extern const struct unit units_size[];     /* K M G, in bytes: powers of 1024 */
extern const struct unit units_count[];    /* none: a number alone */

/* True: from 0 to `most` (below 2^59), in units of 1. */
bool units_parse(const char *s, const struct unit *units, int64_t most, int64_t *out);

#endif
