#include "cli/text.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#define SECOND    INT64_C(1000)
#define MINUTE    (60 * SECOND)
#define HOUR      (60 * MINUTE)
#define DAY       (24 * HOUR)
#define COUNT_MAX INT64_C(0x7fffffff)
#define AGES      (3653 * DAY)
#define BYTES_MAX (INT64_C(1) << 50)

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {{"ms", 1},   {"s", SECOND}, {"m", MINUTE},
                                        {"h", HOUR}, {"d", DAY},    {NULL, 0}};
static const struct unit sizes[] = {{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {NULL, 0}};

/* Digits only, at most `max`; *end is what follows them. */
static bool digits(const char *s, int64_t max, int64_t *n, const char **end)
{
    int64_t sum = 0;

    if (!isdigit((unsigned char)*s))
        return false;
    for (; isdigit((unsigned char)*s); s++) {
        sum = sum * 10 + (*s - '0');
        if (sum > max)
            return false;
    }
    *n = sum;
    *end = s;
    return true;
}

static bool with_unit(const char *s, const struct unit *units, int64_t max, int64_t *out)
{
    const char *end;
    int64_t n;

    if (!digits(s, max, &n, &end))
        return false;
    for (; units->name; units++) {
        if (strcmp(end, units->name) == 0) {
            if (n > max / units->factor)
                return false;
            *out = n * units->factor;
            return true;
        }
    }
    return false;
}

bool text_parse_duration(const char *s, int64_t *ms)
{
    return with_unit(s, durations, AGES, ms);
}

bool text_parse_size(const char *s, int64_t *bytes)
{
    return with_unit(s, sizes, BYTES_MAX, bytes);
}

bool text_parse_count(const char *s, int64_t *n)
{
    const char *end;
    int64_t sum;

    if (!digits(s, COUNT_MAX, &sum, &end) || *end)
        return false;
    *n = sum;
    return true;
}

char *text_duration(int64_t ms, char out[TEXT_SIZE])
{
    const struct unit *u = &durations[4];

    if (ms < SECOND) {
        snprintf(out, TEXT_SIZE, "%lldms", (long long)ms);
        return out;
    }
    while (ms < u->factor)
        u--;
    int n = snprintf(out, TEXT_SIZE, "%lld%s", (long long)(ms / u->factor), u->name);
    /* A second unit where there is a rest of it: 1m30s, but never 1s200ms. */
    if (u > &durations[1] && ms % u->factor / u[-1].factor)
        snprintf(out + n, (size_t)(TEXT_SIZE - n), "%lld%s",
                 (long long)(ms % u->factor / u[-1].factor), u[-1].name);
    return out;
}

char *text_size(int64_t bytes, char out[TEXT_SIZE])
{
    const struct unit *u = &sizes[2];

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
    const struct unit *u = &durations[4];
    int64_t ms = at_ms < now_ms ? now_ms - at_ms : at_ms - now_ms;

    if (ms < SECOND) {
        snprintf(out, TEXT_SIZE, "now");
        return out;
    }
    /* 100 s says more than 1 min: change the unit at two of it. */
    while (u > &durations[1] && ms < 2 * u->factor)
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
