#include "orchestrator/backend/sandbox/sandbox_sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/host/clock.h"
#include "common/host/fd.h"
#include "orchestrator/backend/sandbox/sandbox_process.h"

#define EXE_MAX 4096
#define GONE_MS 1000ull /* a killed process takes less, but for one that the disk holds */

static bool read_exe(int proc, const char *process, char exe[EXE_MAX])
{
    char path[32];
    ssize_t n;

    snprintf(path, sizeof path, "%s/exe", process);
    n = readlinkat(proc, path, exe, EXE_MAX - 1);
    exe[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* An image of this state folder; or still the roomkeyd that was killed as it started it. */
static bool is_image(int proc, const char *process, const char *state)
{
    char exe[EXE_MAX], self[EXE_MAX];
    size_t len = strlen(state);

    if (!read_exe(proc, process, exe))
        return false;
    return (strncmp(exe, state, len) == 0 && exe[len] == '/') ||
           (read_exe(proc, "self", self) && strncmp(exe, self, strlen(self)) == 0);
}

struct killed {
    struct pollfd *fds; /* owned, and the descriptors; -1: it has gone */
    nfds_t nr;
};

/* Takes over `pidfd`.  Without memory nobody waits for it. */
static void end(struct killed *killed, int pidfd)
{
    struct pollfd *fds = NULL;

    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0)
        fds = reallocarray(killed->fds, killed->nr + 1, sizeof *fds);
    if (!fds) {
        close(pidfd);
        return;
    }
    fds[killed->nr++] = (struct pollfd){.fd = pidfd, .events = POLLIN};
    killed->fds = fds;
}

/* Their cgroups can go when they have.  For all of them together GONE_MS: the loop waits. */
static void wait_for(struct killed *killed)
{
    uint64_t now = clock_us(), until = now + GONE_MS * 1000;
    nfds_t left = killed->nr;

    while (left > 0 && now < until) {
        if (poll(killed->fds, killed->nr, (int)((until - now + 999) / 1000)) > 0)
            for (nfds_t i = 0; i < killed->nr; i++)
                if (killed->fds[i].fd >= 0 && killed->fds[i].revents) {
                    fd_close(&killed->fds[i].fd);
                    left--;
                }
        now = clock_us();
    }
    for (nfds_t i = 0; i < killed->nr; i++)
        fd_close(&killed->fds[i].fd);
    free(killed->fds);
}

void sandbox_sweep(int proc, const char *state, uid_t uid_first, uid_t uid_last,
                   bool (*is_ours)(void *arg, uid_t uid), void *arg)
{
    int dir = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = dir < 0 ? NULL : fdopendir(dir);
    struct killed killed = {.fds = NULL};
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
            p.uid <= uid_last && !is_ours(arg, p.uid) && is_image(proc, e->d_name, state))
            end(&killed, pidfd);
        else
            close(pidfd);
    }
    closedir(d);
    wait_for(&killed);
}
