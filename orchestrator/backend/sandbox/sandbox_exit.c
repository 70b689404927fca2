#include "orchestrator/backend/sandbox/sandbox_exit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "common/core/launch.h"
#include "orchestrator/backend/exit_status.h"

void sandbox_exit_collect(int pidfd, struct backend_exit *out)
{
    siginfo_t info = {0};
    const char *name;
    int r;

    do
        r = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    while (r && errno == EINTR);

    out->clean = false;
    if (r || info.si_pid == 0) {
        /* Only a parent learns the status: this one was adopted. */
        snprintf(out->text, sizeof out->text,
                 "gone, status unknown (it was started before roomkeyd was restarted)");
    } else if (info.si_code == CLD_EXITED) {
        out->clean = info.si_status == LAUNCH_EXIT_OK;
        snprintf(out->text, sizeof out->text, "exit status %d%s", info.si_status,
                 exit_status_meaning(info.si_status));
    } else if (info.si_status == SIGSYS) {
        /* Which one, nobody is told but the kernel's log: SANDBOX.md says why it is left at that.
         */
        snprintf(
            out->text, sizeof out->text,
            "killed: bad system call (seccomp); its number is in the kernel's log: dmesg | grep "
            "pid=%d",
            (int)info.si_pid);
    } else {
        name = sigabbrev_np(info.si_status);
        snprintf(out->text, sizeof out->text, "killed by SIG%s", name ? name : "?");
    }
}

void sandbox_exit_not_started(enum sandbox_step step, int error, struct backend_exit *out)
{
    static const struct {
        const char *what, *advice;
    } steps[STEP_NR] = {
#define X(id, what, advice) [id] = {what, advice},
        SANDBOX_STEPS(X)
#undef X
    };

    out->started = out->clean = false;
    snprintf(out->text, sizeof out->text, "not started: could not %s: %s; %s", steps[step].what,
             strerror(error), steps[step].advice);
}
