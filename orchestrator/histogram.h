/* Durations counted in fixed classes, for /metrics. */
#ifndef ORCHESTRATOR_HISTOGRAM_H
#define ORCHESTRATOR_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_CLASSES 15

/* Upper bounds in µs; what is above the last is in counts[HISTOGRAM_CLASSES]. */
extern const uint32_t histogram_bounds[HISTOGRAM_CLASSES];

struct histogram {
    uint64_t counts[HISTOGRAM_CLASSES + 1]; /* not cumulative */
    uint64_t count;
    uint64_t sum_us;
};

void histogram_add(struct histogram *h, uint64_t us);

/* The upper bound in µs of the class in which the given share of all lies (0.5,
 * 0.99); 0 when there is none yet, UINT64_MAX when it is above every bound. */
uint64_t histogram_quantile(const struct histogram *h, double share);

#endif
