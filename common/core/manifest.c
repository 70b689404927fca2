#include "common/core/manifest.h"

#include <string.h>

#include "common/core/wire.h"

static bool is_in(char c, const char *others, bool upper)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr(others, c));
}

bool manifest_name_valid(const char *s)
{
    if (!is_in(s[0], "", false))
        return false;
    while (is_in(*s, "-", false))
        s++;
    return *s == '\0';
}

bool manifest_version_valid(const char *s)
{
    if (!is_in(s[0], "", true))
        return false;
    while (is_in(*s, "._+-", true))
        s++;
    return *s == '\0';
}

enum rc manifest_decode(const void *desc, size_t len, struct manifest *out)
{
    struct wire_in in = wire_in(desc, len);
    struct manifest m;
    enum rc rc;

    uint16_t version = wire_u16(&in);
    if (in.bad)
        return RC_MALFORMED;
    if (version != MANIFEST_VERSION)
        return RC_VERSION;
    m.abi = wire_u16(&in);
    m.memory_kib = wire_u32(&in);
    wire_str(&in, m.name, sizeof m.name);
    wire_str(&in, m.version, sizeof m.version);
    wire_str(&in, m.alpn, sizeof m.alpn);

    rc = wire_end(&in);
    if (rc)
        return rc;
    if (!manifest_name_valid(m.name) || !manifest_version_valid(m.version))
        return RC_MALFORMED;
    *out = m;
    return RC_OK;
}

enum rc manifest_encode(const struct manifest *m, void *buf, size_t size, size_t *len)
{
    struct wire_out out = wire_out(buf, size);

    wire_put_u16(&out, MANIFEST_VERSION);
    wire_put_u16(&out, m->abi);
    wire_put_u32(&out, m->memory_kib);
    wire_put_str(&out, m->name);
    wire_put_str(&out, m->version);
    wire_put_str(&out, m->alpn);
    return wire_done(&out, len);
}
