#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/backend/xen/xen.h"

#define STANDARD                                                                     \
    {                                                                                \
        XEN_BOUNDS(BOUND)                                                            \
        XEN_DEADLINES(DEADLINE).pool_delay_ms = 1000, .reap_ms = 1000, .program = "" \
    }
#define BOUND(name, standard, least, most)    .name = (standard),
#define DEADLINE(name, standard, least, most) .name##_ms = (standard),

static struct xen_settings settings = STANDARD;

void xen_settings_init(struct xen_settings *s)
{
    *s = (struct xen_settings)STANDARD;
}

void xen_configure(const struct xen_settings *s)
{
    settings = *s;
}

const struct xen_settings *xen_settings(void)
{
    return &settings;
}

enum rc xen_program(char *out, size_t size)
{
    char self[PATH_MAX];
    ssize_t n;
    char *slash;

    if (settings.program[0])
        return (size_t)snprintf(out, size, "%s", settings.program) < size ? RC_OK : RC_IO;
    n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (!slash ||
        (size_t)snprintf(out, size, "%.*s/roomkey-xen", (int)(slash - self), self) >= size)
        return RC_IO;
    return RC_OK;
}
