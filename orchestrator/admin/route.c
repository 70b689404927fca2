#include "orchestrator/admin/route.h"

#include <microhttpd.h>
#include <string.h>

/* `{}` takes what is up to the next slash. */
static bool matches(const char *pattern, const char *url, char name[ADMIN_PATH_NAME_SIZE])
{
    const char *hole = strstr(pattern, "{}");
    size_t before = hole ? (size_t)(hole - pattern) : 0, len;

    if (!hole)
        return strcmp(pattern, url) == 0;
    if (strncmp(pattern, url, before) != 0)
        return false;
    len = strcspn(url + before, "/");
    if (len == 0 || len >= ADMIN_PATH_NAME_SIZE || strcmp(url + before + len, hole + 2) != 0)
        return false;
    memcpy(name, url + before, len);
    name[len] = '\0';
    return true;
}

const struct admin_route *admin_route_find(const char *method, const char *url,
                                           char name[ADMIN_PATH_NAME_SIZE], unsigned *miss)
{
    *miss = MHD_HTTP_NOT_FOUND;
    for (const struct admin_route *r = admin_routes; r->method; r++) {
        if (!matches(r->path, url, name))
            continue;
        if (strcmp(r->method, method) == 0)
            return r;
        *miss = MHD_HTTP_METHOD_NOT_ALLOWED;
    }
    return NULL;
}
