#include "cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"
#include "common/core/check.h"

/* Consumes `text`. */
static void push(struct table *t, char *text)
{
    size_t column = t->columns ? t->cells % t->columns : 0;
    size_t width = text_width(text);

    if (t->cells == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->cell = realloc(t->cell, t->room * sizeof *t->cell);
        CHECK(t->cell);
    }
    t->cell[t->cells++] = text;
    if (t->width[column] < width)
        t->width[column] = width;
}

void table_init(struct table *t, const char *indent, const char *headings)
{
    *t = (struct table){.indent = indent, .columns = 1};
    for (const char *p = headings; *p; p++)
        t->columns += *p == '|';
    CHECK(t->columns <= TABLE_COLUMNS);
    for (const char *p = headings;; p++) {
        size_t len = strcspn(p, "|");
        char *text = strndup(p, len);

        CHECK(text);
        push(t, text);
        p += len;
        if (!*p)
            return;
    }
}

void table_add(struct table *t, const char *fmt, ...)
{
    char *text;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    if (!*text) {
        free(text);
        text = strdup("-");
        CHECK(text);
    }
    push(t, text);
}

void table_print(struct table *t)
{
    for (size_t i = 0; i < t->cells; i++) {
        size_t column = i % t->columns;
        bool last = column + 1 == t->columns;

        if (column == 0)
            fputs(t->indent, stdout);
        text_print(stdout, t->cell[i]);
        if (last)
            putchar('\n');
        else
            printf("%*s", (int)(t->width[column] - text_width(t->cell[i]) + 2), "");
    }
    table_free(t);
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i]);
    free(t->cell);
}
