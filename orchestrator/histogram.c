#include "orchestrator/histogram.h"

const uint32_t histogram_bounds[HISTOGRAM_CLASSES] = {
    250,   500,    1000,   2000,   4000,    8000,    16000,    32000,
    64000, 125000, 250000, 500000, 1000000, 2500000, 10000000,
};

void histogram_add(struct histogram *h, uint64_t us)
{
    size_t i = 0;

    while (i < HISTOGRAM_CLASSES && us > histogram_bounds[i])
        i++;
    h->counts[i]++;
    h->count++;
    h->sum_us += us;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    double want = share * (double)h->count;
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    for (size_t i = 0; i < HISTOGRAM_CLASSES; i++) {
        seen += h->counts[i];
        if ((double)seen >= want)
            return histogram_bounds[i];
    }
    return UINT64_MAX;
}
