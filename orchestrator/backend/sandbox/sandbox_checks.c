#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/host/first_line.h"

#include "orchestrator/backend/sandbox/sandbox_probe.h"

#define CGROUP_CONTROLLERS "/sys/fs/cgroup/cgroup.controllers"

__attribute__((format(printf, 5, 6))) static void say(backend_check_cb *tell, void *arg,
                                                      const char *check, enum backend_level level,
                                                      const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    tell(arg, check, level, text);
}

static void namespaces(backend_check_cb *tell, void *arg)
{
    char text[64];

    if (access("/proc/self/ns/user", F_OK) != 0)
        say(tell, arg, "user namespaces", BACKEND_FAULT,
            "this kernel has none; use one with CONFIG_USER_NS=y");
    else if (first_line("/proc/sys/user/max_user_namespaces", text, sizeof text) &&
             strtoull(text, NULL, 10) == 0)
        say(tell, arg, "user namespaces", BACKEND_FAULT,
            "they are switched off; sysctl user.max_user_namespaces=100000");
    else
        say(tell, arg, "user namespaces", BACKEND_FINE, "there");
}

static void seccomp(backend_check_cb *tell, void *arg)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;

    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
        say(tell, arg, "seccomp", BACKEND_FINE, "there, with kill-process");
    else
        say(tell, arg, "seccomp", BACKEND_FAULT,
            "not there (%s): nothing would confine an instance's calls; use a kernel with "
            "CONFIG_SECCOMP_FILTER=y",
            strerror(errno));
}

static void memfd(backend_check_cb *tell, void *arg)
{
    int fd = memfd_create("roomkey-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
        say(tell, arg, "memfd", BACKEND_FINE, "there, with seals");
    else
        say(tell, arg, "memfd", BACKEND_FAULT,
            "no sealed memory files (%s): rings cannot be shared safely; use a kernel with "
            "CONFIG_MEMFD_CREATE=y",
            strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void pidfd(backend_check_cb *tell, void *arg)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);

    if (fd >= 0) {
        say(tell, arg, "pidfd", BACKEND_FINE, "there");
        close((int)fd);
    } else {
        say(tell, arg, "pidfd", BACKEND_FAULT,
            "not there (%s): instances could not be found again safely; use Linux 5.10 or later",
            strerror(errno));
    }
}

static void cgroup(backend_check_cb *tell, void *arg)
{
    char text[512] = " ", padded[520];

    if (first_line(CGROUP_CONTROLLERS, text, sizeof text)) {
        snprintf(padded, sizeof padded, " %s ", text);
        if (strstr(padded, " memory ")) {
            say(tell, arg, "cgroup memory", BACKEND_FINE, "cgroup v2 with its memory controller");
            return;
        }
    }
    say(tell, arg, "cgroup memory", BACKEND_WARNING,
        "NO cgroup v2 memory controller: a tenant's memory is bounded by its address space alone, "
        "and the kernel's share for it is not counted, so that a hostile tenant can take more of "
        "this host than its --memory says; boot with systemd.unified_cgroup_hierarchy=1 (and "
        "without cgroup_disable=memory), or give this machine a cgroup v2 with memory");
}

void sandbox_checks(backend_check_cb *tell, void *arg)
{
    namespaces(tell, arg);
    seccomp(tell, arg);
    memfd(tell, arg);
    pidfd(tell, arg);
    cgroup(tell, arg);
}
