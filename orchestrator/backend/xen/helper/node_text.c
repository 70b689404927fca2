#include "orchestrator/backend/xen/helper/node_text.h"

#include <string.h>

bool node_text_number(const char *text, size_t len, uint32_t max, uint32_t *out)
{
    uint64_t n = 0;

    if (len == 0 || len > 10 || (text[0] == '0' && len > 1))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    if (n > max)
        return false;
    *out = (uint32_t)n;
    return true;
}

bool node_text_is_pts(const char *text, size_t len)
{
    static const char folder[] = "/dev/pts/";
    uint32_t number;

    return len >= sizeof folder && memcmp(text, folder, sizeof folder - 1) == 0 &&
           node_text_number(text + sizeof folder - 1, len - (sizeof folder - 1), UINT32_MAX,
                            &number);
}

/* 0 also when there is no NUL. */
static size_t length(const char *text, size_t size)
{
    const char *end = memchr(text, '\0', size);

    return end ? (size_t)(end - text) : 0;
}

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool node_text_is_name(const char *text, size_t size)
{
    size_t len = length(text, size);

    for (size_t i = 0; i < len; i++)
        if (!is_name_character(text[i]))
            return false;
    return len > 0 && text[0] != '.';
}

bool node_text_is_words(const char *text, size_t size)
{
    size_t len = length(text, size);

    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    return len > 0;
}
