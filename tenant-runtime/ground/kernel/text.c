/* Text, as far as a kernel needs it: the C library's is the app's. */
#include "tenant-runtime/ground/kernel/kernel.h"

size_t text_length(const char *s)
{
    size_t n = 0;

    while (s[n])
        n++;
    return n;
}

bool text_begins(const char *s, const char *with)
{
    while (*with)
        if (*s++ != *with++)
            return false;
    return true;
}

bool text_is(const char *s, const char *other)
{
    return text_begins(s, other) && text_length(s) == text_length(other);
}

char *text_add(char *at, const char *s)
{
    size_t n = text_length(s);

    memory_copy(at, s, n + 1);
    return at + n;
}

char *text_number(char *at, uint64_t v)
{
    char digits[TEXT_NUMBER_MAX];
    size_t n = sizeof digits;

    digits[--n] = '\0';
    do
        digits[--n] = (char)('0' + v % 10);
    while (v /= 10);
    return text_add(at, digits + n);
}
