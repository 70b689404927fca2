#include "orchestrator/hostname.h"

#include <string.h>
#include <strings.h>

#define LABEL_MAX 63

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Why a lower-case name without its wildcard is none; NULL when it is one. */
static const char *fault(const char *s)
{
    bool number = true; /* the last label is one: an IPv4 address, not a name */

    for (;;) {
        size_t n = strcspn(s, ".");

        if (n == 0)
            return "a label is empty";
        if (n > LABEL_MAX)
            return "a label is longer than 63 characters";
        if (s[0] == '-' || s[n - 1] == '-')
            return "a label starts or ends with a hyphen";
        number = true;
        for (size_t i = 0; i < n; i++) {
            if ((unsigned char)s[i] >= 0x80)
                return "it is not ASCII (write an international name in its xn-- form)";
            if (!(s[i] >= 'a' && s[i] <= 'z') && !is_digit(s[i]) && s[i] != '-')
                return "only letters, digits, hyphens and dots may be in it";
            number = number && is_digit(s[i]);
        }
        if (!s[n])
            return number ? "it is an IP address, and those are not asked for by name in TLS"
                          : NULL;
        s += n + 1;
    }
}

enum rc hostname_normalize(const char *in, char out[HOSTNAME_SIZE], struct refusal *no)
{
    size_t len = strlen(in);
    const char *why = NULL;

    if (len > 1 && in[len - 1] == '.')
        len--;
    if (len == 0)
        why = "it is empty";
    else if (len >= HOSTNAME_SIZE)
        why = "it is longer than 253 characters";
    if (!why) {
        for (size_t i = 0; i < len; i++)
            out[i] = lower(in[i]);
        out[len] = '\0';
        why = fault(strncmp(out, "*.", 2) == 0 ? out + 2 : out);
    }
    if (!why)
        return RC_OK;
    refusal_what(no, RC_INVAL, "\"%.64s\" is not a host name", in);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "give a name such as acme.example or *.acme.example");
}

bool hostname_wildcard(const char *host, char out[HOSTNAME_SIZE])
{
    const char *dot = strchr(host, '.');

    if (!dot || host[0] == '*' || strlen(dot) + 1 >= HOSTNAME_SIZE)
        return false;
    out[0] = '*';
    strcpy(out + 1, dot);
    return true;
}

static bool covers(const char *pattern, const char *host)
{
    char wildcard[HOSTNAME_SIZE];

    return strcasecmp(pattern, host) == 0 ||
           (hostname_wildcard(host, wildcard) && strcasecmp(pattern, wildcard) == 0);
}

bool hostname_covered(const char *names, const char *host)
{
    char name[HOSTNAME_SIZE];

    while (*names) {
        size_t n = strcspn(names, ",");

        if (n < sizeof name) {
            memcpy(name, names, n);
            name[n] = '\0';
            if (covers(name, host))
                return true;
        }
        names += n + (names[n] == ',');
    }
    return false;
}
