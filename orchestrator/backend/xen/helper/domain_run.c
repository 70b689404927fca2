#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/domain.h"
#include "orchestrator/backend/xen/helper/node_text.h"
#include "orchestrator/backend/xen/helper/nodes.h"

/* Pauses nest: libxl's, ours, and those of an operator's `xl pause`. */
#define PAUSES_MAX 256

static enum rc look(struct host *h, const struct xen_job *job, struct xen_event *done, bool *paused)
{
    xc_domaininfo_t info;
    enum rc rc = host_look(h, job->domid, job->uuid, &info);

    if (rc)
        return answer_text(done, rc, "domain %" PRIu32 ": %s", job->domid,
                           rc == RC_NOT_FOUND ? "it is gone" : rc_text(rc));
    *paused = info.flags & XEN_DOMINF_paused;
    return RC_OK;
}

static enum rc refused(const struct xen_job *job, struct xen_event *done, const char *what)
{
    return answer_text(done, host_rc(errno), "cannot %s domain %" PRIu32 ": %s", what, job->domid,
                       strerror(errno));
}

enum rc domain_pause(struct host *h, const struct xen_job *job, struct xen_event *done)
{
    bool paused = false;
    enum rc rc = look(h, job, done, &paused);

    if (!rc && !paused && xc_domain_pause(h->xc, job->domid) != 0)
        rc = refused(job, done, "pause");
    return rc;
}

enum rc domain_unpause(struct host *h, const struct xen_job *job, struct xen_event *done)
{
    bool paused = false;
    enum rc rc = look(h, job, done, &paused);

    for (int i = 0; !rc && paused && i < PAUSES_MAX; i++)
        if (xc_domain_unpause(h->xc, job->domid) != 0)
            rc = refused(job, done, "unpause");
        else
            rc = look(h, job, done, &paused);
    return rc;
}

enum rc domain_launch(struct host *h, const struct xen_job *job, struct xen_event *done)
{
    bool paused;
    enum rc rc = look(h, job, done, &paused);

    if (rc)
        return rc;
    if (!node_text_is_name(job->name, sizeof job->name) ||
        !node_text_is_words(job->words, sizeof job->words))
        return answer_text(done, RC_INVAL, "cannot launch a domain: the job makes no sense");
    rc = nodes_launch(h->xs, job->domid, job->words);
    if (!rc)
        rc = nodes_rename(h->xs, job->domid, job->uuid, job->name);
    if (rc)
        return answer_text(done, rc, "cannot launch domain %" PRIu32 ": xenstore: %s", job->domid,
                           rc_text(rc));
    return domain_unpause(h, job, done);
}
