#include "orchestrator/backend/xen/helper/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/core/secret.h"
#include "common/host/fd.h"
#include "common/host/packet.h"
#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/host.h"
#include "orchestrator/backend/xen/helper/node_text.h"
#include "orchestrator/backend/xen/helper/nodes.h"
#include "orchestrator/backend/xen/helper/watch_list.h"

#define RELEASE_PATH  "@releaseDomain" /* xenstored's word for: some domain stopped or went */
#define RELEASE_TOKEN "release"
/* A guest writes the node once; libxenstore's own servers write it twice. */
#define LOOKS_MAX 16
/* A guest's writes must not keep us from roomkeyd's jobs. */
#define NEWS_PER_WAKE 64

struct watch {
    struct host host;
    struct watch_list list;
    uint64_t usage_ms; /* when the next XEN_USAGE is due; CLOCK_MONOTONIC */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct xen_event event(enum xen_event_type type, const struct watched *d)
{
    return (struct xen_event){.type = type, .domid = d->domid, .token = d->token, .status = -1};
}

/*----- the node that the guest writes last -----*/

static void token_of(const struct watched *d, char out[16])
{
    snprintf(out, 16, "%" PRIu32, d->domid);
}

static enum rc listen_to(struct watch *w, struct watched *d)
{
    char path[NODES_PATH_MAX], token[16];

    nodes_control_path(path, d->domid);
    token_of(d, token);
    d->listening = xs_watch(w->host.xs, path, token);
    return d->listening ? RC_OK : host_rc(errno);
}

static void stop_listening(struct watch *w, struct watched *d)
{
    char path[NODES_PATH_MAX], token[16];

    if (!d->listening)
        return;
    nodes_control_path(path, d->domid);
    token_of(d, token);
    (void)xs_unwatch(w->host.xs, path, token);
    d->listening = false;
}

static enum rc look_for_channels(struct watch *w, struct watched *d)
{
    struct xen_event e = event(XEN_PUBLISHED, d);

    if (d->published)
        return RC_OK;
    if (!nodes_vchans(w->host.xs, d->domid, &e)) {
        if (++d->looks == LOOKS_MAX) {
            fprintf(stderr, "roomkey-xen: domain %" PRIu32 " publishes nonsense: ignored\n",
                    d->domid);
            stop_listening(w, d);
        }
        return RC_OK;
    }
    d->published = true;
    stop_listening(w, d);
    nodes_forget_launch(w->host.xs, d->domid);
    return answer_send(&e, -1);
}

/*----- what the hypervisor says -----*/

static enum rc tell_shutdown(struct watch *w, struct watched *d, const xc_domaininfo_t *info)
{
    struct xen_event e = event(XEN_SHUTDOWN, d);
    enum rc rc = look_for_channels(w, d);

    if (rc)
        return rc;
    stop_listening(w, d);
    d->shutdown = true;
    e.shutdown = 1;
    e.reason = (uint8_t)(info->flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask);
    e.status = nodes_exit_status(w->host.xs, d->domid);
    return answer_send(&e, -1);
}

static enum rc tell_usage(struct watched *d, const xc_domaininfo_t *info)
{
    struct xen_event e = event(XEN_USAGE, d);

    e.cpu_us = info->cpu_time / 1000;
    e.memory_kib = info->tot_pages * 4;
    return answer_send(&e, -1);
}

/* `info`: NULL when there is no such domain. */
static enum rc see(struct watch *w, struct watched *d, const xc_domaininfo_t *info, bool usage)
{
    enum rc rc = RC_OK;

    if (!info || !host_is(info, d->uuid)) {
        struct xen_event e = event(XEN_GONE, d);

        stop_listening(w, d);
        d->gone = true;
        return answer_send(&e, -1);
    }
    if (info->flags & XEN_DOMINF_shutdown && !d->shutdown)
        rc = tell_shutdown(w, d, info);
    if (!rc && usage)
        rc = tell_usage(d, info);
    return rc;
}

static void drop_gone(struct watch_list *l)
{
    for (size_t i = l->nr; i-- > 0;)
        if (l->at[i].gone)
            watch_list_remove(l, &l->at[i]);
}

/* All that are watched, a hypercall for HOST_CHUNK domains. */
static enum rc sweep(struct watch *w, bool usage)
{
    static xc_domaininfo_t found[HOST_CHUNK];
    size_t i = 0;
    enum rc rc = RC_OK;

    while (!rc && i < w->list.nr) {
        int n = host_domains(&w->host, w->list.at[i].domid, found), k = 0;

        if (n < 0)
            return RC_IO;
        for (; !rc && i < w->list.nr; i++) {
            struct watched *d = &w->list.at[i];

            while (k < n && found[k].domain < d->domid)
                k++;
            if (k == n && n == HOST_CHUNK)
                break; /* the next chunk knows */
            rc = see(w, d, k < n && found[k].domain == d->domid ? &found[k] : NULL, usage);
        }
    }
    drop_gone(&w->list);
    return rc;
}

/*----- jobs -----*/

static enum rc watch_one(struct watch *w, const struct xen_job *job)
{
    struct watched *d = watch_list_add(&w->list, job->domid);
    xc_domaininfo_t info;
    enum rc rc;

    if (!d)
        return RC_NOMEM;
    stop_listening(w, d);
    *d = (struct watched){.domid = job->domid, .token = job->token};
    memcpy(d->uuid, job->uuid, XEN_UUID_SIZE);
    rc = host_look(&w->host, d->domid, d->uuid, &info);
    if (rc && rc != RC_NOT_FOUND)
        return rc;
    if (!rc) {
        rc = listen_to(w, d);
        if (!rc)
            rc = look_for_channels(w, d);
        if (!rc)
            rc = see(w, d, &info, true);
    } else {
        rc = see(w, d, NULL, false);
    }
    drop_gone(&w->list);
    return rc;
}

static enum rc unwatch_one(struct watch *w, uint32_t domid)
{
    struct watched *d = watch_list_find(&w->list, domid);

    if (d) {
        stop_listening(w, d);
        watch_list_remove(&w->list, d);
    }
    return RC_OK;
}

static enum rc on_job(struct watch *w)
{
    struct xen_job job;
    int fds[PACKET_FDS_MAX];
    size_t len, nfds = 0;
    enum rc rc = packet_read(XEN_JOB_FD, &job, sizeof job, &len, fds, &nfds);

    if (rc)
        return rc;
    for (size_t i = 0; i < nfds; i++)
        fd_close(&fds[i]);
    if (len == sizeof job && job.type == XEN_JOB_WATCH)
        rc = watch_one(w, &job);
    else if (len == sizeof job && job.type == XEN_JOB_UNWATCH)
        rc = unwatch_one(w, job.domid);
    else
        rc = RC_MALFORMED;
    secret_wipe(&job, sizeof job); /* should somebody have sent words here */
    return rc;
}

/*----- news from xenstore -----*/

static enum rc on_node(struct watch *w, const char *token)
{
    struct watched *d = NULL;
    uint32_t domid;

    if (node_text_number(token, strlen(token), UINT32_MAX, &domid))
        d = watch_list_find(&w->list, domid);
    return d && d->listening ? look_for_channels(w, d) : RC_OK;
}

static enum rc on_news(struct watch *w)
{
    bool released = false;
    enum rc rc = RC_OK;

    for (int i = 0; !rc && i < NEWS_PER_WAKE; i++) {
        char **news = xs_check_watch(w->host.xs);

        if (!news)
            break;
        if (strcmp(news[XS_WATCH_TOKEN], RELEASE_TOKEN) == 0)
            released = true;
        else
            rc = on_node(w, news[XS_WATCH_TOKEN]);
        free(news);
    }
    return !rc && released ? sweep(w, false) : rc;
}

/*----- the loop -----*/

static int until_usage(const struct watch *w)
{
    uint64_t now = now_ms();

    if (w->list.nr == 0)
        return -1;
    return w->usage_ms > now ? (int)(w->usage_ms - now) : 0;
}

static enum rc turn(struct watch *w)
{
    struct pollfd p[] = {{.fd = XEN_JOB_FD, .events = POLLIN},
                         {.fd = xs_fileno(w->host.xs), .events = POLLIN}};
    enum rc rc = RC_OK;

    if (poll(p, 2, until_usage(w)) < 0 && errno != EINTR)
        return RC_IO;
    if (p[0].revents)
        rc = on_job(w);
    if (!rc && p[1].revents)
        rc = on_news(w);
    if (!rc && now_ms() >= w->usage_ms) {
        w->usage_ms = now_ms() + XEN_USAGE_MS;
        rc = host_cut_off(&w->host) ? RC_IO : sweep(w, true);
    }
    return rc;
}

int watch_main(void)
{
    static struct watch w;
    enum rc rc;

    xl_log_init(&w.host.log);
    rc = host_open(&w.host);
    if (!rc && !xs_watch(w.host.xs, RELEASE_PATH, RELEASE_TOKEN))
        rc = host_rc(errno);
    w.usage_ms = now_ms() + XEN_USAGE_MS;
    while (!rc)
        rc = turn(&w);
    watch_list_dispose(&w.list);
    if (rc == RC_CLOSED)
        return 0;
    fprintf(stderr, "roomkey-xen: cannot watch domains: %s\n", rc_text(rc));
    return 1;
}
