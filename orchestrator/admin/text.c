#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/admin/request.h"

#define ROOM_FIRST 1024u

/* Answers are bounded pieces: when there is no memory for one, nothing works. */
static void make_room(struct admin_text *t, size_t more)
{
    while (t->room - t->len <= more) {
        t->room = t->room ? 2 * t->room : ROOM_FIRST;
        t->p = realloc(t->p, t->room);
        CHECK(t->p);
    }
}

void admin_text_add(struct admin_text *t, const char *fmt, ...)
{
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CHECK(n >= 0);
    make_room(t, (size_t)n);
    vsnprintf(t->p + t->len, t->room - t->len, fmt, again);
    va_end(again);
    t->len += (size_t)n;
}

void admin_text_bytes(struct admin_text *t, const void *data, size_t len)
{
    make_room(t, len);
    memcpy(t->p + t->len, data, len);
    t->len += len;
    t->p[t->len] = '\0';
}

void admin_text_json(struct admin_text *t, json_t *value)
{
    char *s = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    CHECK(s);
    admin_text_bytes(t, s, strlen(s));
    free(s);
    json_decref(value);
}

void admin_text_dispose(struct admin_text *t)
{
    free(t->p);
    *t = (struct admin_text){0};
}
