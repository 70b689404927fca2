#include "orchestrator/backend/xen/helper/work.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/core/secret.h"
#include "common/host/fd.h"
#include "common/host/packet.h"
#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/domain.h"
#include "orchestrator/backend/xen/helper/probe.h"

/* Takes one job; *fd is the caller's, -1: none came with it. */
static enum rc take(struct xen_job *job, int *fd)
{
    int fds[PACKET_FDS_MAX];
    size_t len, nfds = 0;
    enum rc rc = packet_read(XEN_JOB_FD, job, sizeof *job, &len, fds, &nfds);

    *fd = -1;
    if (rc)
        return rc;
    if (nfds == 1)
        *fd = fds[0];
    else
        for (size_t i = 0; i < nfds; i++)
            fd_close(&fds[i]);
    return len == sizeof *job && nfds <= 1 ? RC_OK : RC_MALFORMED;
}

static bool roomkeyd_is_gone(void)
{
    struct pollfd p = {.fd = XEN_JOB_FD};

    return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

static enum rc dispatch(struct host *h, struct xen_job *job, int image, struct xen_event *done,
                        int *console)
{
    switch ((enum xen_job_type)job->type) {
    case XEN_JOB_LIST:
        return domain_list(h, job, done);
    case XEN_JOB_CREATE:
        return domain_create(h, job, image, done, console);
    case XEN_JOB_LAUNCH:
        return domain_launch(h, job, done);
    case XEN_JOB_PAUSE:
        return domain_pause(h, job, done);
    case XEN_JOB_UNPAUSE:
        return domain_unpause(h, job, done);
    case XEN_JOB_DESTROY:
        return domain_destroy(h, job->uuid, done);
    case XEN_JOB_PROBE:
    case XEN_JOB_WATCH:
    case XEN_JOB_UNWATCH:
        break;
    }
    return answer_text(done, RC_INVAL, "no such job");
}

static enum rc perform(struct host *h, struct xen_job *job, int image, struct xen_event *done,
                       int *console)
{
    enum rc rc;

    xl_log_forget(&h->log);
    if (job->type == XEN_JOB_PROBE)
        return probe_run(h, job, done);
    if (host_cut_off(h))
        host_close(h); /* another may have taken its place */
    rc = host_open_xl(h);
    if (rc)
        return answer_text(done, rc, "cannot reach Xen: %s; see roomkey doctor",
                           xl_log_cause(&h->log));
    return dispatch(h, job, image, done, console);
}

static enum rc serve(struct host *h, struct xen_job *job, int image)
{
    struct xen_event done = {.type = XEN_DONE, .token = job->token, .domid = job->domid};
    int console = -1;
    enum rc rc;

    done.rc = (uint16_t)perform(h, job, image, &done, &console);
    secret_wipe(job->words, sizeof job->words);
    rc = answer_send(&done, console);
    fd_close(&console);
    if (rc && job->type == XEN_JOB_CREATE && !done.rc && domain_destroy(h, job->uuid, &done))
        fprintf(stderr, "roomkey-xen: %s\n", done.text);
    return rc;
}

int work_main(void)
{
    static struct host h;
    static struct xen_job job;
    int image;
    enum rc rc;

    xl_log_init(&h.log);
    do {
        rc = take(&job, &image);
        if (!rc)
            rc = roomkeyd_is_gone() ? RC_CLOSED : serve(&h, &job, image);
        fd_close(&image);
        secret_wipe(&job, sizeof job);
    } while (!rc);
    if (rc == RC_CLOSED)
        return 0;
    fprintf(stderr, "roomkey-xen: the socket to roomkeyd: %s\n", rc_text(rc));
    return 1;
}
