#include "common/host/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/host/clock.h"

#define SELDOM_US 1000000u

static const char *name = "roomkey";
static enum log_level limit = LOG_INFO;
static bool journal;

void log_open(const char *program, enum log_level most)
{
    name = program;
    limit = most;
    journal = getenv("JOURNAL_STREAM") != NULL;
}

static size_t clamp(int n, size_t room)
{
    if (n < 0)
        return 0;
    return (size_t)n < room ? (size_t)n : room - 1;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[LOG_LINE_MAX + 1];
    size_t n = 0, text;
    va_list args;

    if (level > limit)
        return;
    if (journal)
        n = clamp(snprintf(line, LOG_LINE_MAX, "<%d>", (int)level), LOG_LINE_MAX);
    n += clamp(snprintf(line + n, LOG_LINE_MAX - n, "%s: ", name), LOG_LINE_MAX - n);
    text = n;
    va_start(args, fmt);
    n += clamp(vsnprintf(line + n, LOG_LINE_MAX - n, fmt, args), LOG_LINE_MAX - n);
    va_end(args);

    for (size_t i = text; i < n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[n++] = '\n';
    /* Nobody is left to tell when stderr is gone. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}

bool log_due(struct log_place *place)
{
    uint64_t now = clock_us();

    if (now < place->due_us) {
        place->left_out++;
        return false;
    }
    if (place->left_out)
        log_info("%u lines like the next one were left out", place->left_out);
    place->left_out = 0;
    place->due_us = now + SELDOM_US;
    return true;
}
