/* roomkey.toml with anything in it: it is refused with words, or every setting is
 * within its bounds. */
#include <stdlib.h>
#include <string.h>

#include "orchestrator/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[4096];
    struct config c;
    struct refusal no = {0};

    if (size >= sizeof text || memchr(data, 0, size))
        return 0; /* config_load() lets no such file through */
    memcpy(text, data, size);
    text[size] = '\0';
    config_init(&c);
    if (config_parse(&c, text, &no)) {
        if (!no.what[0] || !no.why[0])
            abort();
        return 0;
    }
#define X(name, standard, least, most)                                                         \
    if ((int64_t)c.limits.name < (int64_t)(least) || (int64_t)c.limits.name > (int64_t)(most)) \
        abort();
    FLEET_BOUNDS(X)
#undef X
#define X(name, standard, least, most)                    \
    if ((int64_t)c.limits.name##_ms < (int64_t)(least) || \
        (int64_t)c.limits.name##_ms > (int64_t)(most))    \
        abort();
    FLEET_DEADLINES(X)
#undef X
    return 0;
}
