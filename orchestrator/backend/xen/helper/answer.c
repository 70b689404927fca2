#include "orchestrator/backend/xen/helper/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/host/packet.h"
#include "orchestrator/text.h"

enum rc answer_text(struct xen_event *e, enum rc rc, const char *fmt, ...)
{
    char raw[2 * XEN_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(raw, sizeof raw, fmt, args);
    va_end(args);
    text_clean(e->text, sizeof e->text, raw, strlen(raw));
    return rc;
}

enum rc answer_send(const struct xen_event *e, int fd)
{
    return packet_write(XEN_JOB_FD, e, sizeof *e, &fd, fd >= 0 ? 1 : 0);
}
