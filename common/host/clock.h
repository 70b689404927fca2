/* The two clocks of the host programs. */
#ifndef COMMON_HOST_CLOCK_H
#define COMMON_HOST_CLOCK_H

#include <stdint.h>

/* µs of CLOCK_MONOTONIC: for durations and deadlines; the same in every process. */
uint64_t clock_us(void);

/* ms since 1970 UTC: for what is stored or shown. */
int64_t clock_unix_ms(void);

#endif
