#include "orchestrator/admin/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/core/check.h"

#define MIB                (1024ull * 1024)
#define DESCRIPTORS_ENOUGH 65536u
#define DESCRIPTORS_EACH   40u /* of an instance with 8 channels, about */
#define MEMORY_LOW         (256 * MIB)
#define DISK_LOW           (1024 * MIB)
#define DISK_FAULT         (64 * MIB)
#define CGROUP_CONTROLLERS "/sys/fs/cgroup/cgroup.controllers"

enum level { OK, WARNING, FAULT };

__attribute__((format(printf, 4, 5))) static void tell(json_t *list, const char *check,
                                                       enum level level, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "warning", "fault"};
    char text[1024];
    json_t *line;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    line = json_pack("{s:s, s:b, s:s, s:s}", "check", check, "ok", level == OK, "level",
                     words[level], "text", text);
    CHECK(line);
    json_array_append_new(list, line);
}

/* The first line of a small file; false when it cannot be read. */
static bool first_line(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    bool got = f && fgets(out, (int)size, f);

    if (f)
        fclose(f);
    if (got)
        out[strcspn(out, "\n")] = '\0';
    return got;
}

static void user(json_t *list)
{
    if (geteuid() == 0)
        tell(list, "user", OK, "runs as root");
    else
        tell(list, "user", FAULT,
             "runs as user %u: roomkeyd cannot make namespaces and keep keys apart; run it as root",
             (unsigned)geteuid());
}

static void kernel(json_t *list)
{
    struct utsname name;
    int major = 0, minor = 0;

    if (uname(&name) != 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2)
        tell(list, "kernel", WARNING, "its version cannot be told; Linux 5.10 or later is needed");
    else if (major < 5 || (major == 5 && minor < 10))
        tell(list, "kernel", FAULT, "Linux %s is too old; install 5.10 or later", name.release);
    else
        tell(list, "kernel", OK, "Linux %s", name.release);
}

static void namespaces(json_t *list)
{
    char text[64];

    if (access("/proc/self/ns/user", F_OK) != 0)
        tell(list, "user namespaces", FAULT, "this kernel has none; use one with CONFIG_USER_NS=y");
    else if (first_line("/proc/sys/user/max_user_namespaces", text, sizeof text) &&
             strtoull(text, NULL, 10) == 0)
        tell(list, "user namespaces", FAULT,
             "they are switched off; sysctl user.max_user_namespaces=100000");
    else
        tell(list, "user namespaces", OK, "there");
}

static void seccomp(json_t *list)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;

    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
        tell(list, "seccomp", OK, "there, with kill-process");
    else
        tell(list, "seccomp", FAULT,
             "not there (%s): nothing would confine an instance's calls; use a kernel with "
             "CONFIG_SECCOMP_FILTER=y",
             strerror(errno));
}

static void memfd(json_t *list)
{
    int fd = memfd_create("roomkey-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
        tell(list, "memfd", OK, "there, with seals");
    else
        tell(list, "memfd", FAULT,
             "no sealed memory files (%s): rings cannot be shared safely; use a kernel with "
             "CONFIG_MEMFD_CREATE=y",
             strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void pidfd(json_t *list)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);

    if (fd >= 0) {
        tell(list, "pidfd", OK, "there");
        close((int)fd);
    } else {
        tell(list, "pidfd", FAULT,
             "not there (%s): instances could not be found again safely; use Linux 5.10 or later",
             strerror(errno));
    }
}

static void cgroup(json_t *list)
{
    char text[512] = " ", padded[520];

    if (first_line(CGROUP_CONTROLLERS, text, sizeof text)) {
        snprintf(padded, sizeof padded, " %s ", text);
        if (strstr(padded, " memory ")) {
            tell(list, "cgroup memory", OK, "cgroup v2 with its memory controller");
            return;
        }
    }
    tell(list, "cgroup memory", WARNING,
         "NO cgroup v2 memory controller: a tenant's memory is bounded by its address space alone, "
         "and the kernel's share for it is not counted, so that a hostile tenant can take more of "
         "this host than its --memory says; boot with systemd.unified_cgroup_hierarchy=1 (and "
         "without cgroup_disable=memory), or give this machine a cgroup v2 with memory");
}

static void descriptors(json_t *list)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        tell(list, "descriptors", WARNING, "their limit cannot be told: %s", strerror(errno));
    else if (limit.rlim_max < DESCRIPTORS_ENOUGH)
        tell(list, "descriptors", WARNING,
             "at most %llu may be open, enough for about %llu instances at a time; raise it "
             "(LimitNOFILE=1048576 in the unit, or ulimit -Hn)",
             (unsigned long long)limit.rlim_max,
             (unsigned long long)limit.rlim_max / DESCRIPTORS_EACH);
    else
        tell(list, "descriptors", OK, "%llu may be open, enough for about %llu instances",
             (unsigned long long)limit.rlim_max,
             (unsigned long long)limit.rlim_max / DESCRIPTORS_EACH);
}

static void memory(json_t *list)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");

    while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
        ;
    if (f)
        fclose(f);
    if (!kib)
        tell(list, "memory", WARNING, "how much is free cannot be told");
    else if (kib * 1024 < MEMORY_LOW)
        tell(list, "memory", WARNING,
             "only %llu MiB are free: starts may fail; stop something or add memory", kib / 1024);
    else
        tell(list, "memory", OK, "%llu MiB are free", kib / 1024);
}

static void disk(json_t *list, const char *state_dir)
{
    struct statvfs fs;
    unsigned long long room;

    if (statvfs(state_dir, &fs) != 0) {
        tell(list, "disk", errno == ENOENT ? OK : FAULT, "%s: %s%s", state_dir, strerror(errno),
             errno == ENOENT ? "; roomkeyd makes it" : "; give another folder with --state");
        return;
    }
    room = (unsigned long long)fs.f_bavail * fs.f_frsize;
    tell(list, "disk",
         room < DISK_FAULT ? FAULT
         : room < DISK_LOW ? WARNING
                           : OK,
         "%llu MiB are free in %s%s", room / MIB, state_dir,
         room < DISK_LOW ? ": make room, or changes will be refused" : "");
}

static void front(json_t *list, const struct doctor_host *host)
{
    if (host->workers == DOCTOR_NO_DAEMON)
        tell(list, "front", WARNING,
             "no roomkeyd answers in %s, so nobody is served; start roomkeyd, then roomkey-front",
             host->run_dir);
    else if (host->workers == 0)
        tell(list, "front", WARNING,
             "no worker of roomkey-front is connected, so nobody is served; start it: "
             "roomkey-front --run %s --listen ADDR:PORT",
             host->run_dir);
    else
        tell(list, "front", OK, "%d worker%s connected", host->workers,
             host->workers == 1 ? "" : "s");
}

static void ground(json_t *list, const struct doctor_host *host, const struct backend_ops *ops)
{
    bool chosen = host->ground && strcmp(host->ground, ops->name) == 0;
    char check[64], why[BACKEND_TEXT_MAX] = "";
    enum rc rc = ops->probe(why, sizeof why);

    snprintf(check, sizeof check, "ground %s", ops->name);
    if (rc)
        tell(list, check, chosen || !host->ground ? FAULT : WARNING, "cannot be used: %s",
             *why ? why : rc_text(rc));
    else
        tell(list, check, *why ? WARNING : OK, "can be used%s%s%s%s", chosen ? ", and is: " : "",
             chosen && host->ground_why ? host->ground_why : "", *why ? "; " : "", why);
}

static bool built_in(const struct doctor_host *host, const char *name)
{
    for (const struct backend_ops *const *ops = host->grounds; *ops; ops++)
        if (strcmp((*ops)->name, name) == 0)
            return true;
    return false;
}

static void other_grounds(json_t *list, const struct doctor_host *host)
{
    bool xen = access("/proc/xen/capabilities", F_OK) == 0 || access("/dev/xen", F_OK) == 0;
    bool kvm = access("/dev/kvm", R_OK | W_OK) == 0;

    if (!built_in(host, "xen"))
        tell(list, "ground xen", OK, "not built into this roomkeyd; this host %s",
             xen ? "runs on Xen" : "does not run on Xen");
    if (!built_in(host, "kvm"))
        tell(list, "ground kvm", OK, "not built into this roomkeyd; this host %s",
             kvm ? "has /dev/kvm (which may be a slow emulation)" : "has no /dev/kvm");
}

json_t *doctor_look(const struct doctor_host *host)
{
    json_t *list = json_array();

    CHECK(list);
    user(list);
    kernel(list);
    namespaces(list);
    seccomp(list);
    memfd(list);
    pidfd(list);
    cgroup(list);
    descriptors(list);
    memory(list);
    disk(list, host->state_dir);
    front(list, host);
    for (const struct backend_ops *const *ops = host->grounds; *ops; ops++)
        ground(list, host, *ops);
    other_grounds(list, host);
    return list;
}
