#include "orchestrator/backend/sandbox/sandbox_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "common/core/check.h"
#include "common/host/fd.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/sandbox/sandbox_cgroup.h"
#include "orchestrator/backend/sandbox/sandbox_channels.h"
#include "orchestrator/backend/sandbox/sandbox_exit.h"
#include "orchestrator/backend/sandbox/sandbox_filter.h"
#include "orchestrator/backend/sandbox/sandbox_instance.h"
#include "orchestrator/backend/sandbox/sandbox_launcher.h"
#include "orchestrator/backend/sandbox/sandbox_limits.h"

static void on_done(struct sandbox_launch *l)
{
    *(bool *)l->data = true;
}

/* Everything that a start does, up to an exec of what is no program. */
static enum rc try_launch(uv_loop_t *loop, int proc, int null, char *why, size_t size)
{
    static char *const argv[] = {"probe", NULL};
    struct sandbox_channels channels;
    struct sandbox_launcher *launcher;
    struct sandbox_filter filter;
    struct sandbox_launch l = {.uid = SANDBOX_UID_BASE, .cgroup_fd = -1, .done = on_done};
    struct backend_exit text;
    bool done = false;
    enum rc rc;

    rc = sandbox_channels_make(&channels, 0);
    if (rc) {
        snprintf(why, size,
                 "sandbox: cannot make sealed shared memory: %s; the kernel needs "
                 "memfd_create",
                 rc_text(rc));
        return rc;
    }
    rc = sandbox_filter_init(&filter);
    if (rc) {
        snprintf(why, size, "sandbox: libseccomp cannot build the filter: %s", rc_text(rc));
        goto out_channels;
    }
    rc = sandbox_launcher_start(&launcher, loop, proc, why, size);
    if (rc)
        goto out_filter;

    l.data = &done;
    l.child.nfds = SANDBOX_FDS(0);
    for (unsigned i = 0; i < l.child.nfds; i++)
        l.child.fds[i] = null;
    l.child.image_fd = null;
    l.child.argv = argv;
    l.child.filter = &filter.program;
    sandbox_limits_fill(&l.child, 1u << 20, &channels);
    sandbox_launcher_submit(launcher, &l);
    while (!done)
        uv_run(loop, UV_RUN_ONCE);
    if (l.failed != STEP_EXEC || l.error != EACCES) {
        sandbox_exit_not_started(l.failed, l.error, &text);
        snprintf(why, size, "sandbox: a trial instance was %s", text.text);
        rc = RC_UNSUPPORTED;
    }
    if (l.pidfd >= 0) {
        struct pollfd p = {.fd = l.pidfd, .events = POLLIN};

        (void)poll(&p, 1, 1000);
        sandbox_exit_collect(l.pidfd, &text);
        fd_close(&l.pidfd);
    }
    sandbox_launcher_stop(launcher);
out_filter:
    sandbox_filter_dispose(&filter);
out_channels:
    sandbox_channels_dispose(&channels);
    return rc;
}

/* Adoption after a restart takes descriptors out of living instances. */
static enum rc try_pidfd_getfd(int null, char *why, size_t size)
{
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int copy = self < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, self, null, 0);
    enum rc rc;

    if (copy < 0)
        snprintf(why, size, "sandbox: pidfd_getfd: %s; needs Linux 5.6 or later", strerror(errno));
    fd_close(&self);
    rc = copy < 0 ? RC_UNSUPPORTED : RC_OK;
    fd_close(&copy);
    return rc;
}

enum rc sandbox_probe(char *why, size_t size)
{
    struct sandbox_cgroup cgroup;
    uv_loop_t loop;
    int proc, null;
    enum rc rc;

    if (geteuid() != 0) {
        snprintf(why, size,
                 "sandbox: needs root, to give each instance a user of its own; run "
                 "roomkeyd as root");
        return RC_DENIED;
    }
    proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (proc < 0 || null < 0 || uv_loop_init(&loop)) {
        snprintf(why, size, "sandbox: cannot open /proc and /dev/null: %s; mount them",
                 strerror(errno));
        rc = RC_UNSUPPORTED;
    } else {
        rc = try_pidfd_getfd(null, why, size);
        if (!rc)
            rc = try_launch(&loop, proc, null, why, size);
        if (!rc) {
            sandbox_cgroup_init(&cgroup, why, size);
            sandbox_cgroup_dispose(&cgroup);
        }
        uv_run(&loop, UV_RUN_DEFAULT);
        CHECK(uv_loop_close(&loop) == 0);
    }
    fd_close(&proc);
    fd_close(&null);
    return rc;
}
