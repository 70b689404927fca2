/* Every input of a fuzz target's corpus once more with its first allocation failing, then with
 * its second, and so on until none is left that could: what the target checks of every input
 * must hold without memory, too.
 *
 * The happy path: starve CORPUS_FOLDER; exit 0 and a count.  Failure: the target's CHECK, or a
 * sanitizer; the last line on stdout says which input, and which allocation.
 * Only calls in between starve_in(true) and starve_in(false), or in runtime_step(), count: the
 * target's own always succeed.  Past the FEW first ones not each is tried: Mbed TLS makes
 * thousands.  Those of shared libraries are theirs. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "tests/unit/starve.h"

#define FEW   40
#define INPUT (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool in_product;
static long left = -1; /* allocations until the one that fails; -1: none will */

void starve_scope(bool in)
{
    in_product = in;
}

static bool fails(void)
{
    return in_product && left >= 0 && left-- == 0;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
bool __real_runtime_step(void);
bool __wrap_runtime_step(void);

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

#ifdef STARVE_RUNTIME
bool __wrap_runtime_step(void)
{
    bool any;

    in_product = true;
    any = __real_runtime_step();
    in_product = false;
    return any;
}
#endif

static unsigned starve_all(const char *name, const uint8_t *data, size_t size)
{
    unsigned tried = 0;

    for (long n = 0;; n += n < FEW ? 1 : n / 4, tried++) {
        printf("%s %ld\n", name, n);
        fflush(stdout);
        left = n;
        LLVMFuzzerTestOneInput(data, size);
        if (left >= 0) /* it makes no more of them */
            break;
    }
    left = -1;
    return tried;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[INPUT];
    unsigned files = 0, tried = 0;
    struct dirent *entry;
    char path[4096];
    DIR *dir;

    CHECK(argc == 2);
    dir = opendir(argv[1]);
    CHECK(dir);
    while ((entry = readdir(dir))) {
        size_t size;
        FILE *f;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        f = fopen(path, "re");
        CHECK(f);
        size = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        tried += starve_all(entry->d_name, bytes, size);
        files++;
    }
    closedir(dir);
    printf("%u files, %u allocations that failed\n", files, tried);
    return tried ? 0 : 1;
}
