#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/domain.h"
#include "orchestrator/backend/xen/helper/nodes.h"

/* More than one domain of a uuid is somebody's mistake, but none of ours. */
#define SAME_MAX 8

/* libxl cannot end what it has hardly begun to build. */
static enum rc destroy_raw(struct host *h, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE])
{
    (void)xc_domain_pause(h->xc, domid);
    nodes_remove(h->xs, domid, uuid);
    return xc_domain_destroy(h->xc, domid) == 0 || errno == ESRCH ? RC_OK : host_rc(errno);
}

static enum rc destroy_one(struct host *h, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE])
{
    xc_domaininfo_t info;
    enum rc rc;

    (void)libxl_domain_destroy(h->xl, domid, NULL);
    rc = host_look(h, domid, uuid, &info);
    if (!rc)
        rc = destroy_raw(h, domid, uuid);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

/* A destroyed one stays, dying, for as long as somebody maps its memory; and one whose end was
 * broken off in the middle only goes on when it is asked for again. */
static enum rc finish_dying(struct host *h, const uint8_t uuid[XEN_UUID_SIZE],
                            struct xen_event *done)
{
    static xc_domaininfo_t list[HOST_CHUNK];
    uint32_t first = 1;
    xc_domaininfo_t left;
    int n;

    do {
        n = host_domains(h, first, list);
        if (n < 0)
            return answer_text(done, RC_IO, "cannot list domains: %s", xl_log_cause(&h->log));
        for (int i = 0; i < n; i++) {
            first = list[i].domain + 1u;
            if (!(list[i].flags & XEN_DOMINF_dying) ||
                memcmp(list[i].handle, uuid, XEN_UUID_SIZE) != 0)
                continue;
            (void)xc_domain_destroy(h->xc, list[i].domain);
            if (xc_domain_getinfolist(h->xc, list[i].domain, 1, &left) != 1 ||
                left.domain != list[i].domain)
                continue;
            done->domid = left.domain;
            done->memory_kib += left.tot_pages * 4;
        }
    } while (n == HOST_CHUNK);
    return RC_OK;
}

enum rc domain_destroy(struct host *h, const uint8_t uuid[XEN_UUID_SIZE], struct xen_event *done)
{
    static const uint8_t none[XEN_UUID_SIZE];
    uint32_t domid = 0;
    enum rc rc;

    if (memcmp(uuid, none, XEN_UUID_SIZE) == 0)
        return answer_text(done, RC_INVAL, "cannot destroy a domain without its uuid");
    for (int i = 0; i < SAME_MAX; i++) {
        rc = host_find(h, uuid, &domid);
        if (rc == RC_NOT_FOUND)
            return finish_dying(h, uuid, done);
        if (!rc)
            rc = destroy_one(h, domid, uuid);
        if (rc)
            return answer_text(done, rc, "cannot destroy domain %" PRIu32 ": %s; see xl list",
                               domid, h->log.cause[0] ? h->log.cause : rc_text(rc));
    }
    return answer_text(done, RC_FAILED, "domain %" PRIu32 " does not go away; see xl list", domid);
}
