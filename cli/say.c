#include "cli/say.h"

#include <stdarg.h>
#include <stdio.h>

#include "cli/text.h"

#define LINE_MAX_BYTES 2048

static void line(const char *text)
{
    text_print(stderr, text);
    fputc('\n', stderr);
}

int say_failed(const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fputs("roomkey: ", stderr);
    line(text);
    return STATUS_FAILED;
}

int say_misused(const struct call *c, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES], where[128] = "roomkey";
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (c->noun) {
        const char *verb = c->command ? c->command->name : "";

        snprintf(where, sizeof where, "roomkey %s%s%s", c->noun->name, *verb ? " " : "", verb);
    }
    fprintf(stderr, "%s: ", where);
    text_print(stderr, text);
    fprintf(stderr, "; see %s --help\n", where);
    return STATUS_USAGE;
}
