/* Plays `roomkey-xen` for the tests of the ground "xen": a real process that tells
 * the test of each job and says what the test wants it to say.
 *
 * What it is asked before the loop runs (LIST, PROBE) it answers by itself, from the
 * file $XEN_PUPPET_FOUND (struct xen_event, one after another; the last is the
 * answer).  For all else it connects to the test at $XEN_PUPPET_SOCKET, says who it
 * is, and passes on packets both ways until one side closes. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host/packet.h"
#include "tests/unit/xen_puppet.h"

static int test = -1;

static int meet(const char *role)
{
    struct xen_puppet_hello hello = {.pid = getpid()};
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    snprintf(hello.role, sizeof hello.role, "%s", role);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("XEN_PUPPET_SOCKET"));
    test = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(test, (struct sockaddr *)&to, sizeof to) ||
        packet_write(test, &hello, sizeof hello, NULL, 0))
        return 1;
    return 0;
}

static int recite(const struct xen_job *job)
{
    FILE *f = fopen(getenv("XEN_PUPPET_FOUND"), "re");
    struct xen_event event;

    if (!f)
        return 1;
    while (fread(&event, sizeof event, 1, f) == 1) {
        event.token = job->token;
        if (packet_write(XEN_JOB_FD, &event, sizeof event, NULL, 0))
            return 1;
    }
    fclose(f);
    return 0;
}

/* 0: go on; else the exit status, and 1. */
static int pass_on(int from, const char *role)
{
    char buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;
    const struct xen_job *job = (const void *)buf;

    if (packet_read(from, buf, sizeof buf, &len, fds, &nfds))
        return 1;
    if (from == XEN_JOB_FD && (job->type == XEN_JOB_LIST || job->type == XEN_JOB_PROBE))
        return recite(job);
    if (test < 0 && meet(role))
        return 2;
    if (packet_write(from == XEN_JOB_FD ? test : XEN_JOB_FD, buf, len, fds, nfds))
        return 1;
    while (nfds)
        close(fds[--nfds]);
    return 0;
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "watch") == 0 && meet(role))
        return 2;
    for (;;) {
        struct pollfd p[] = {{.fd = XEN_JOB_FD, .events = POLLIN}, {.fd = test, .events = POLLIN}};
        int done = 0;

        if (poll(p, 2, -1) < 0)
            return 2;
        if (p[0].revents)
            done = pass_on(XEN_JOB_FD, role);
        if (!done && p[1].revents)
            done = pass_on(test, role);
        if (done)
            return done - 1;
    }
}
