#include "orchestrator/backend/xen/helper/xl_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/core/container_of.h"
#include "orchestrator/text.h"

/* Messages say "file.c:123:function: " first, which tells an operator nothing. */
static const char *skip_place(const char *text)
{
    const char *c = strstr(text, ".c:");
    const char *end = c ? strstr(c, ": ") : NULL;

    return end ? end + 2 : text;
}

static void on_message(xentoollog_logger *logger, xentoollog_level level, int error,
                       const char *context, const char *format, va_list args)
{
    struct xl_log *log = CONTAINER_OF(logger, struct xl_log, logger);
    char text[XL_LOG_LINE], line[XL_LOG_LINE];
    int n;

    if (level < XTL_WARN)
        return;
    n = vsnprintf(text, sizeof text, format, args);
    if (n >= 0 && (size_t)n < sizeof text && error > 0)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", strerror(error));
    text_clean(line, sizeof line, text, strlen(text));
    fprintf(stderr, "roomkey-xen: %s: %s: %s\n", context ? context : "xen",
            xtl_level_to_string(level), line);
    if (level < XTL_ERROR || log->cause[0])
        return;
    snprintf(log->cause, sizeof log->cause, "%s", skip_place(line));
    log->error = error > 0 ? error : 0;
}

/* The logger is part of its owner. */
static void on_destroy(xentoollog_logger *logger)
{
    (void)logger;
}

void xl_log_init(struct xl_log *log)
{
    *log = (struct xl_log){.logger = {.vmessage = on_message, .destroy = on_destroy}};
}

void xl_log_forget(struct xl_log *log)
{
    log->cause[0] = '\0';
    log->error = 0;
}

const char *xl_log_cause(const struct xl_log *log)
{
    return log->cause[0] ? log->cause : "Xen's tools do not say why (see /var/log/xen)";
}
