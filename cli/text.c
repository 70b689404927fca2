#include "cli/text.h"

#include <time.h>

#include "common/host/units.h"

#define SECOND    INT64_C(1000)
#define COUNT_MAX INT64_C(0x7fffffff)
#define AGES      (SECOND * 3600 * 24 * 3653)
#define BYTES_MAX (INT64_C(1) << 50)

static const struct unit *const seconds = &units_duration[1], *const days = &units_duration[4];

bool text_parse_duration(const char *s, int64_t *ms)
{
    return units_parse(s, units_duration, AGES, ms);
}

bool text_parse_size(const char *s, int64_t *bytes)
{
    return units_parse(s, units_size, BYTES_MAX, bytes);
}

bool text_parse_count(const char *s, int64_t *n)
{
    return units_parse(s, units_count, COUNT_MAX, n);
}

char *text_duration(int64_t ms, char out[TEXT_SIZE])
{
    const struct unit *u = days;

    if (ms < SECOND) {
        snprintf(out, TEXT_SIZE, "%lldms", (long long)ms);
        return out;
    }
    while (ms < u->factor)
        u--;
    int n = snprintf(out, TEXT_SIZE, "%lld%s", (long long)(ms / u->factor), u->name);
    /* A second unit where there is a rest of it: 1m30s, but never 1s200ms. */
    if (u > seconds && ms % u->factor / u[-1].factor)
        snprintf(out + n, (size_t)(TEXT_SIZE - n), "%lld%s",
                 (long long)(ms % u->factor / u[-1].factor), u[-1].name);
    return out;
}

char *text_size(int64_t bytes, char out[TEXT_SIZE])
{
    const struct unit *u = &units_size[2];

    if (bytes < 1024) {
        snprintf(out, TEXT_SIZE, "%lldB", (long long)bytes);
        return out;
    }
    while (bytes < u->factor)
        u--;
    int64_t tenths = bytes % u->factor * 10 / u->factor;
    if (tenths)
        snprintf(out, TEXT_SIZE, "%lld.%lld%s", (long long)(bytes / u->factor), (long long)tenths,
                 u->name);
    else
        snprintf(out, TEXT_SIZE, "%lld%s", (long long)(bytes / u->factor), u->name);
    return out;
}

char *text_relative(int64_t at_ms, int64_t now_ms, char out[TEXT_SIZE])
{
    const struct unit *u = days;
    int64_t ms = at_ms < now_ms ? now_ms - at_ms : at_ms - now_ms;

    if (ms < SECOND) {
        snprintf(out, TEXT_SIZE, "now");
        return out;
    }
    /* 100 s says more than 1 min: change the unit at two of it. */
    while (u > seconds && ms < 2 * u->factor)
        u--;
    snprintf(out, TEXT_SIZE, at_ms < now_ms ? "%lld%s ago" : "in %lld%s",
             (long long)(ms / u->factor), u->name);
    return out;
}

char *text_time(int64_t at_ms, char out[TEXT_SIZE])
{
    time_t s = (time_t)(at_ms / SECOND);
    struct tm tm;

    if (!gmtime_r(&s, &tm) || !strftime(out, TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, TEXT_SIZE, "-");
    return out;
}

/* C0 and DEL; C1 cannot come alone in what is valid UTF-8, which JSON is, but
 * can as two bytes: U+0080 to U+009F. */
static bool control(const unsigned char *p, size_t *len)
{
    *len = p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f ? 2 : 1;
    return *len == 2 || (*p < 0x20 && *p != '\t') || *p == 0x7f;
}

void text_print(FILE *to, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t len;

    for (; *p; p += len) {
        if (control(p, &len))
            fprintf(to, "\\x%02x", p[len - 1]);
        else
            fputc(*p, to);
    }
}

size_t text_width(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t len, width = 0;

    for (; *p; p += len) {
        if (control(p, &len))
            width += 4;
        else
            width += (*p & 0xc0) != 0x80;
    }
    return width;
}
