#include "orchestrator/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/text.h"

/* It quotes what was asked for, and goes into JSON: a name that is no UTF-8, or is cut within a
 * character, must not make an answer of which nothing can be sent. */
static void put(char *out, const char *fmt, va_list args)
{
    char text[REFUSAL_TEXT_MAX];

    vsnprintf(text, sizeof text, fmt, args);
    text_clean(out, sizeof text, text, strlen(text));
}

enum rc refusal_what(struct refusal *no, enum rc rc, const char *fmt, ...)
{
    va_list args;

    no->rc = rc;
    no->why[0] = no->todo[0] = '\0';
    va_start(args, fmt);
    put(no->what, fmt, args);
    va_end(args);
    return no->rc;
}

enum rc refusal_why(struct refusal *no, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put(no->why, fmt, args);
    va_end(args);
    return no->rc;
}

enum rc refusal_todo(struct refusal *no, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put(no->todo, fmt, args);
    va_end(args);
    return no->rc;
}

const char *refusal_line(const struct refusal *no, char *buf, size_t size)
{
    snprintf(buf, size, "%s%s%s%s%s", no->what, no->why[0] ? ": " : "", no->why,
             no->todo[0] ? "; " : "", no->todo);
    return buf;
}
