#include "orchestrator/backend/sandbox/sandbox_sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "orchestrator/backend/sandbox/sandbox_process.h"

static bool runs_below(int proc, pid_t pid, const char *state)
{
    char path[32], exe[4096];
    size_t len = strlen(state);
    ssize_t n;

    snprintf(path, sizeof path, "%d/exe", (int)pid);
    n = readlinkat(proc, path, exe, sizeof exe - 1);
    if (n <= 0)
        return false;
    exe[n] = 0;
    return !strncmp(exe, state, len) && exe[len] == '/';
}

void sandbox_sweep(int proc, const char *state, uid_t uid_first, uid_t uid_last,
                   bool (*is_ours)(void *arg, uid_t uid), void *arg)
{
    int dir = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = dir < 0 ? NULL : fdopendir(dir);
    struct sandbox_process p;
    struct dirent *e;

    if (!d) {
        if (dir >= 0)
            close(dir);
        return;
    }
    while ((e = readdir(d))) {
        pid_t pid = (pid_t)atoi(e->d_name);
        int pidfd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

        if (pidfd < 0)
            continue;
        /* After pidfd_open: what is looked at is what is killed. */
        if (sandbox_process_read(proc, pid, &p) == RC_OK && p.uid >= uid_first &&
            p.uid <= uid_last && !is_ours(arg, p.uid) && runs_below(proc, pid, state))
            syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        close(pidfd);
    }
    closedir(d);
}
