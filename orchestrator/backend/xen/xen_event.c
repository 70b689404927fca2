#include "orchestrator/backend/xen/xen_event.h"

#include <stdio.h>
#include <string.h>

#include "common/core/rc.h"

bool xen_event_take(const void *buf, size_t len, struct xen_event *out)
{
    if (len != sizeof *out)
        return false;
    memcpy(out, buf, sizeof *out);
    return out->type >= XEN_DONE && out->type <= XEN_USAGE && out->rc < RC_NR &&
           out->level <= XEN_LEVEL_FAULT && out->channels <= LAUNCH_CHANNELS_MAX &&
           memchr(out->name, 0, sizeof out->name) && memchr(out->text, 0, sizeof out->text);
}

void xen_uuid_text(const uint8_t uuid[XEN_UUID_SIZE], char out[XEN_UUID_TEXT])
{
    char *p = out;

    for (size_t n = 0; n < XEN_UUID_SIZE; n++)
        p += sprintf(p, "%s%02x", n == 4 || n == 6 || n == 8 || n == 10 ? "-" : "", uuid[n]);
}

bool xen_uuid_parse(const char *text, uint8_t uuid[XEN_UUID_SIZE])
{
    char again[XEN_UUID_TEXT];
    const char *p = text;
    unsigned byte;

    for (size_t n = 0; n < XEN_UUID_SIZE; n++) {
        p += *p == '-';
        if (sscanf(p, "%2x", &byte) != 1)
            return false;
        uuid[n] = (uint8_t)byte;
        p += p[1] ? 2 : 1;
    }
    /* One way to write it: whatever sscanf let pass is not that. */
    xen_uuid_text(uuid, again);
    return strcmp(text, again) == 0;
}
