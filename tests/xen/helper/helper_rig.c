#include "helper_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/host/fd.h"
#include "common/host/packet.h"
#include "guest_elf.h"

#define DOMAINS_MAX 128

xc_interface *rig_xc;
struct xs_handle *rig_xs;

uint64_t rig_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*----- the process -----*/

/* roomkey-xen beside this program. */
static const char *program(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "roomkey-xen");

    assert_true(n > 0);
    path[n] = '\0';
    strcpy(strrchr(path, '/') + 1, "roomkey-xen");
    return path;
}

void helper_start(struct helper *h, const char *mode)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    h->fd = pair[0];
    h->pid = fork();
    assert_true(h->pid >= 0);
    if (h->pid == 0) {
        if (pair[1] == XEN_JOB_FD ? fcntl(pair[1], F_SETFD, 0) : dup2(pair[1], XEN_JOB_FD) < 0)
            _exit(126);
        execl(program(), "roomkey-xen", mode, (char *)NULL);
        perror(program());
        _exit(127);
    }
    close(pair[1]);
}

static int reap(struct helper *h)
{
    int status = -1;

    fd_close(&h->fd);
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    return status;
}

int helper_end(struct helper *h)
{
    return reap(h);
}

void helper_kill(struct helper *h)
{
    kill(h->pid, SIGKILL);
    (void)reap(h);
}

/*----- packets -----*/

void helper_send(struct helper *h, const struct xen_job *job, int fd)
{
    assert_int_equal(packet_write(h->fd, job, sizeof *job, &fd, fd >= 0), RC_OK);
}

bool helper_get(struct helper *h, struct xen_event *e, int *fd, int ms)
{
    struct pollfd p = {.fd = h->fd, .events = POLLIN};
    int fds[PACKET_FDS_MAX];
    size_t len = 0, nfds = 0;

    *fd = -1;
    if (poll(&p, 1, ms) != 1)
        return false;
    assert_int_equal(packet_read(h->fd, e, sizeof *e, &len, fds, &nfds), RC_OK);
    assert_int_equal(len, sizeof *e);
    assert_true(nfds <= 1);
    if (nfds == 1)
        *fd = fds[0];
    return true;
}

struct xen_event helper_wait(struct helper *h, enum xen_event_type type, uint32_t domid)
{
    uint64_t end = rig_ms() + RIG_DEADLINE;
    struct xen_event e;
    int fd;

    while (rig_ms() < end && helper_get(h, &e, &fd, (int)(end - rig_ms()))) {
        fd_close(&fd);
        if (e.type == type && e.domid == domid)
            return e;
    }
    fail_msg("no event of type %d for domain %" PRIu32, type, domid);
    abort();
}

struct xen_event helper_call(struct helper *h, const struct xen_job *job, int give, int *fd)
{
    struct xen_event e;
    int got;

    helper_send(h, job, give);
    assert_true(helper_get(h, &e, &got, RIG_DEADLINE));
    assert_int_equal(e.type, XEN_DONE);
    assert_int_equal(e.token, job->token);
    if (fd)
        *fd = got;
    else
        assert_int_equal(got, -1);
    return e;
}

/*----- jobs -----*/

struct xen_job rig_job(enum xen_job_type type)
{
    static uint64_t token;
    struct xen_job job = {.type = type, .token = ++token, .memory_kib = RIG_MEMORY};

    assert_int_equal(getrandom(job.uuid, sizeof job.uuid, 0), sizeof job.uuid);
    memcpy(job.uuid, RIG_TAG, XEN_UUID_TAG);
    snprintf(job.name, sizeof job.name, RIG_PREFIX "%" PRIu64, token);
    return job;
}

struct xen_job rig_create(struct helper *h, int image)
{
    struct xen_job job = rig_job(XEN_JOB_CREATE);
    struct xen_event e;
    int console;

    e = helper_call(h, &job, image, &console);
    if (e.rc)
        fail_msg("%s", e.text);
    fd_close(&console);
    job.domid = e.domid;
    return job;
}

void rig_destroy(struct helper *h, const struct xen_job *job)
{
    struct xen_job destroy = *job;
    struct xen_event e;

    destroy.type = XEN_JOB_DESTROY;
    e = helper_call(h, &destroy, -1, NULL);
    if (e.rc)
        fail_msg("%s", e.text);
}

/*----- the host -----*/

bool rig_info(const struct xen_job *job, xc_domaininfo_t *out)
{
    return xc_domain_getinfolist(rig_xc, job->domid, 1, out) == 1 && out->domain == job->domid &&
           !(out->flags & XEN_DOMINF_dying) && memcmp(out->handle, job->uuid, XEN_UUID_SIZE) == 0;
}

bool rig_find(const uint8_t uuid[XEN_UUID_SIZE], uint32_t *domid)
{
    static xc_domaininfo_t all[DOMAINS_MAX];
    int n = xc_domain_getinfolist(rig_xc, 1, DOMAINS_MAX, all);

    for (int i = 0; i < n; i++)
        if (memcmp(all[i].handle, uuid, XEN_UUID_SIZE) == 0) {
            *domid = all[i].domain;
            return true;
        }
    return false;
}

void rig_wait_gone(const uint8_t uuid[XEN_UUID_SIZE])
{
    uint64_t end = rig_ms() + RIG_DEADLINE;
    uint32_t domid = 0;

    while (rig_find(uuid, &domid) && rig_ms() < end)
        usleep(10000);
    if (rig_find(uuid, &domid))
        fail_msg("domain %" PRIu32 " is still there", domid);
}

unsigned rig_domains(void)
{
    static xc_domaininfo_t all[DOMAINS_MAX];
    int n = xc_domain_getinfolist(rig_xc, 1, DOMAINS_MAX, all);

    assert_true(n >= 0);
    return (unsigned)n;
}

void rig_wait_domains(unsigned max)
{
    uint64_t end = rig_ms() + RIG_DEADLINE;

    while (rig_domains() > max && rig_ms() < end)
        usleep(10000);
    assert_true(rig_domains() <= max);
}

const char *rig_read(uint32_t domid, const char *node)
{
    static char out[4096];
    char path[128], *text;
    unsigned len = 0;

    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "%s%s", domid, *node ? "/" : "", node);
    text = xs_read(rig_xs, XBT_NULL, path, &len);
    snprintf(out, sizeof out, "%s", text ? text : "");
    free(text);
    return out;
}

void rig_write(uint32_t domid, const char *node, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "/%s", domid, node);
    assert_true(xs_write(rig_xs, XBT_NULL, path, text, (unsigned)strlen(text)));
}

void rig_publish(uint32_t domid, unsigned channels)
{
    char node[96], number[16];

    for (unsigned i = 0; i < channels; i++) {
        snprintf(node, sizeof node, "data/roomkey/%u/ring-ref", i);
        snprintf(number, sizeof number, "%u", 100 + i);
        rig_write(domid, node, number);
        snprintf(node, sizeof node, "data/roomkey/%u/event-channel", i);
        snprintf(number, sizeof number, "%u", 10 + i);
        rig_write(domid, node, number);
    }
    rig_write(domid, "data/roomkey/control/ring-ref", "99");
    rig_write(domid, "data/roomkey/control/event-channel", "9");
}

int rig_open(void **state)
{
    (void)state;
    setvbuf(stdout, NULL, _IOLBF, 0);
    rig_xc = xc_interface_open(NULL, NULL, 0);
    rig_xs = xs_open(0);
    return rig_xc && rig_xs ? 0 : -1;
}

/* Whatever failed tests have left would fail others. */
int rig_close(void **state)
{
    static xc_domaininfo_t all[DOMAINS_MAX];
    int n = xc_domain_getinfolist(rig_xc, 1, DOMAINS_MAX, all);

    (void)state;
    for (int i = 0; i < n; i++)
        if (memcmp(all[i].handle, RIG_TAG, XEN_UUID_TAG) == 0)
            xc_domain_destroy(rig_xc, all[i].domain);
    xs_close(rig_xs);
    return xc_interface_close(rig_xc);
}
