#include "orchestrator/backend/xen/helper/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum rc host_rc(int error)
{
    switch (error) {
    case ENOMEM:
        return RC_NOMEM;
    case EACCES:
    case EPERM:
        return RC_DENIED;
    case ENOENT:
    case ESRCH:
        return RC_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        return RC_FULL;
    case ENOSYS:
    case ENODEV:
    case ENXIO:
        return RC_UNSUPPORTED;
    default:
        return RC_IO;
    }
}

/* No device, no Xen. */
static enum rc open_rc(void)
{
    return errno == ENOENT ? RC_UNSUPPORTED : host_rc(errno);
}

enum rc host_open(struct host *h)
{
    if (!h->xc)
        h->xc = xc_interface_open(&h->log.logger, &h->log.logger, 0);
    if (!h->xc)
        return open_rc();
    if (!h->xs)
        h->xs = xs_open(0);
    return h->xs ? RC_OK : open_rc();
}

enum rc host_open_xl(struct host *h)
{
    enum rc rc = host_open(h);

    if (rc || h->xl)
        return rc;
    if (libxl_ctx_alloc(&h->xl, LIBXL_VERSION, 0, &h->log.logger) != 0) {
        h->xl = NULL;
        return RC_UNSUPPORTED;
    }
    return RC_OK;
}

bool host_cut_off(const struct host *h)
{
    char *path = h->xs ? xs_get_domain_path(h->xs, 0) : NULL;
    bool answers = path != NULL;

    free(path);
    return h->xs && !answers;
}

void host_close(struct host *h)
{
    if (h->xl)
        libxl_ctx_free(h->xl);
    if (h->xs)
        xs_close(h->xs);
    h->xl = NULL;
    h->xs = NULL;
}

int host_domains(struct host *h, uint32_t first, xc_domaininfo_t *out)
{
    return xc_domain_getinfolist(h->xc, first, HOST_CHUNK, out);
}

bool host_is(const xc_domaininfo_t *info, const uint8_t uuid[XEN_UUID_SIZE])
{
    _Static_assert(sizeof info->handle == XEN_UUID_SIZE, "a handle is a uuid");
    return info->domain != 0 && !(info->flags & XEN_DOMINF_dying) &&
           memcmp(info->handle, uuid, XEN_UUID_SIZE) == 0;
}

enum rc host_find(struct host *h, const uint8_t uuid[XEN_UUID_SIZE], uint32_t *domid)
{
    static xc_domaininfo_t list[HOST_CHUNK];
    uint32_t first = 1;
    int n;

    do {
        n = host_domains(h, first, list);
        if (n < 0)
            return RC_IO;
        for (int i = 0; i < n; i++) {
            if (host_is(&list[i], uuid)) {
                *domid = list[i].domain;
                return RC_OK;
            }
            first = list[i].domain + 1u;
        }
    } while (n == HOST_CHUNK);
    return RC_NOT_FOUND;
}

enum rc host_look(struct host *h, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE],
                  xc_domaininfo_t *out)
{
    int n = xc_domain_getinfolist(h->xc, domid, 1, out);

    if (n < 0)
        return RC_IO;
    return n == 1 && out->domain == domid && host_is(out, uuid) ? RC_OK : RC_NOT_FOUND;
}
