#include "common/host/first_line.h"

#include <stdio.h>
#include <string.h>

bool first_line(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    bool got = f && fgets(out, (int)size, f);

    if (f)
        fclose(f);
    out[got ? strcspn(out, "\n") : 0] = '\0';
    return got && out[0];
}
