/* The record layer against OpenSSL's: see tests/unit/record_differential.h, where the
 * bytes are what is called a script.  Both must agree. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/record_differential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct differential_outcome out;
    const char *difference = differential_run(data, size, false, &out);

    if (!difference)
        return 0;
    (void)differential_run(data, size, true, &out);
    printf("not the same: %s\n", difference);
    fflush(stdout);
    abort();
}
