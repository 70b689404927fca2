#include "orchestrator/backend/xen/xen_call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/host/clock.h"
#include "common/host/fd.h"
#include "common/host/packet.h"
#include "orchestrator/backend/xen/xen.h"
#include "orchestrator/backend/xen/xen_event.h"

#define DIE_MS 1000 /* a killed one that is not gone hangs in the kernel */

extern char **environ;

/* Its end of the socket, as XEN_JOB_FD. */
static int spawn(const char *path, int socket, pid_t *pid)
{
    char program[PATH_MAX], role[] = "work";
    char *argv[] = {program, role, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, standard;
    int r;

    snprintf(program, sizeof program, "%s", path);
    sigemptyset(&none);
    sigemptyset(&standard);
    sigaddset(&standard, SIGPIPE);
    if (posix_spawn_file_actions_init(&actions))
        return ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &standard);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!r)
        r = posix_spawn_file_actions_adddup2(&actions, 2, 1);
    if (!r)
        r = posix_spawn_file_actions_adddup2(&actions, socket, XEN_JOB_FD);
    if (!r)
        r = posix_spawn(pid, path, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return r;
}

/* Nothing that it may still do is worth waiting for. */
static void end(pid_t pid)
{
    struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

    kill(pid, SIGKILL);
    if (p.fd >= 0)
        (void)poll(&p, 1, DIE_MS);
    (void)waitpid(pid, NULL, WNOHANG);
    fd_close(&p.fd);
}

/* One packet; RC_AGAIN: go on. */
static enum rc hear(int socket, xen_call_cb *each, void *arg, char *text, size_t size)
{
    uint8_t buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    struct xen_event event;
    size_t len, nfds;
    enum rc rc = packet_read(socket, buf, sizeof buf, &len, fds, &nfds);

    if (rc == RC_AGAIN)
        return rc;
    if (rc) {
        snprintf(text, size, "roomkey-xen died before it answered; see what it says in the log");
        return RC_FAILED;
    }
    for (size_t n = 1; n < nfds; n++)
        fd_close(&fds[n]);
    if (nfds == 0)
        fds[0] = -1;
    rc = RC_AGAIN;
    if (!xen_event_take(buf, len, &event)) {
        snprintf(text, size, "roomkey-xen is not of this release; install both anew");
        rc = RC_VERSION;
    } else if (event.type == XEN_DONE) {
        snprintf(text, size, "%s", event.text);
        fd_close(&fds[0]);
        return (enum rc)event.rc;
    } else {
        each(arg, &event, &fds[0]);
    }
    fd_close(&fds[0]);
    return rc;
}

static enum rc converse(int socket, const struct xen_job *job, xen_call_cb *each, void *arg,
                        char *text, size_t size)
{
    uint64_t until = clock_us() + XEN_CALL_MS * 1000ull, now;
    struct pollfd p = {.fd = socket, .events = POLLIN};
    enum rc rc = packet_write(socket, job, sizeof *job, NULL, 0);

    if (rc && rc != RC_CLOSED) {
        snprintf(text, size, "roomkey-xen takes no question: %s", rc_text(rc));
        return rc;
    }
    while ((now = clock_us()) < until) {
        if (poll(&p, 1, (int)((until - now) / 1000) + 1) <= 0)
            continue;
        rc = hear(socket, each, arg, text, size);
        if (rc != RC_AGAIN)
            return rc;
        until = clock_us() + XEN_CALL_MS * 1000ull; /* a thousand domains take their time */
    }
    snprintf(text, size, "roomkey-xen said nothing for %u s; is xenstored running?",
             XEN_CALL_MS / 1000);
    return RC_TIMEDOUT;
}

enum rc xen_call(const struct xen_job *job, xen_call_cb *each, void *arg, char *text, size_t size)
{
    char path[PATH_MAX];
    int ends[2], r;
    pid_t pid;
    enum rc rc = xen_program(path, sizeof path);

    if (rc) {
        snprintf(text, size,
                 "cannot find roomkey-xen: the folder of roomkeyd is not known; "
                 "mount /proc");
        return rc;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        snprintf(text, size, "no socket for roomkey-xen: %s", strerror(errno));
        return RC_FULL;
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    r = spawn(path, ends[1], &pid);
    fd_close(&ends[1]);
    if (r) {
        snprintf(text, size, "%.128s does not start: %s; install it beside roomkeyd", path,
                 strerror(r));
        rc = RC_NOT_FOUND;
    } else {
        rc = converse(ends[0], job, each, arg, text, size);
        end(pid);
    }
    fd_close(&ends[0]);
    return rc;
}
