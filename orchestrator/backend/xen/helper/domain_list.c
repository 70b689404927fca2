#include <string.h>

#include "common/host/fd.h"
#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/domain.h"
#include "orchestrator/backend/xen/helper/node_text.h"
#include "orchestrator/backend/xen/helper/nodes.h"

/* Its name is in e->name, if it has one. */
static bool is_wanted(struct host *h, const struct xen_job *job, const xc_domaininfo_t *info,
                      struct xen_event *e)
{
    static const uint8_t none[XEN_UUID_TAG];

    if (info->domain == 0 || info->flags & XEN_DOMINF_dying)
        return false;
    if (nodes_name(h->xs, info->domain, e->name) == RC_OK)
        return strncmp(e->name, job->name, strlen(job->name)) == 0;
    return memcmp(job->uuid, none, XEN_UUID_TAG) != 0 &&
           memcmp(job->uuid, info->handle, XEN_UUID_TAG) == 0;
}

static enum rc tell(struct host *h, const xc_domaininfo_t *info, struct xen_event *e)
{
    int console = -1;
    enum rc rc;

    e->domid = info->domain;
    memcpy(e->uuid, info->handle, XEN_UUID_SIZE);
    e->paused = (info->flags & XEN_DOMINF_paused) != 0;
    e->shutdown = (info->flags & XEN_DOMINF_shutdown) != 0;
    e->reason = (uint8_t)(info->flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask);
    e->status = e->shutdown ? nodes_exit_status(h->xs, e->domid) : -1;
    e->cpu_us = info->cpu_time / 1000;
    e->memory_kib = info->tot_pages * 4;
    (void)nodes_vchans(h->xs, e->domid, e);
    if (nodes_console(h->xs, e->domid, &console))
        console = -1; /* then it has none */
    rc = answer_send(e, console);
    fd_close(&console);
    return rc;
}

enum rc domain_list(struct host *h, const struct xen_job *job, struct xen_event *done)
{
    static xc_domaininfo_t list[HOST_CHUNK];
    uint32_t first = 1;
    enum rc rc;
    int n;

    if (!node_text_is_name(job->name, sizeof job->name))
        return answer_text(done, RC_INVAL, "cannot list domains without a prefix");
    do {
        n = host_domains(h, first, list);
        if (n < 0)
            return answer_text(done, RC_IO, "cannot list domains: %s", xl_log_cause(&h->log));
        for (int i = 0; i < n; i++) {
            struct xen_event e = {.type = XEN_FOUND, .token = job->token, .status = -1};

            first = list[i].domain + 1u;
            if (!is_wanted(h, job, &list[i], &e))
                continue;
            rc = tell(h, &list[i], &e);
            if (rc)
                return rc; /* nobody is there to be told why */
        }
    } while (n == HOST_CHUNK);
    return RC_OK;
}
