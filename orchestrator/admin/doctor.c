#include "orchestrator/admin/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/fd.h"
#include "orchestrator/files.h"
#include "orchestrator/image_look.h"

#define MIB                (1024ull * 1024)
#define DESCRIPTORS_ENOUGH 65536u
#define DESCRIPTORS_EACH   40u /* of an instance with 8 channels, about */
#define MEMORY_LOW         (256 * MIB)
#define DISK_LOW           (1024 * MIB)
#define DISK_FAULT         (64 * MIB)

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

/*----- the images -----*/

struct image_files {
    json_t *list;
    const atomic_bool *stop;
    int dir;
    unsigned good, bad;
};

static bool stopped(const atomic_bool *stop)
{
    return stop && atomic_load(stop);
}

static void on_image(void *arg, const char *name)
{
    struct image_files *files = arg;
    enum rc rc;
    int fd;

    if (!files_is_hash(name) || stopped(files->stop))
        return;
    fd = openat(files->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    rc = fd >= 0 ? image_look_hash(fd, name, files->stop) : files_rc(errno);
    fd_close(&fd);
    if (rc == RC_OK)
        files->good++;
    if (rc == RC_OK || rc == RC_CANCELED || rc == RC_NOT_FOUND) /* it was removed meanwhile */
        return;
    files->bad++;
    tell(files->list, "images", FAULT,
         "the file %.12s… %s; `roomkey image list --json` has its image by that SHA-256: "
         "`roomkey image add` it again",
         name, rc == RC_MALFORMED ? "does not hold what was added" : "cannot be read");
}

static unsigned gone(json_t *list, const struct doctor_host *host)
{
    const json_t *file;
    size_t i;

    json_array_foreach(host->gone, i, file)
    {
        tell(list, "images", FAULT, "%s is gone: `roomkey image add` it again",
             json_string_value(file));
    }
    return (unsigned)json_array_size(host->gone);
}

static void images(json_t *list, const struct doctor_host *host)
{
    struct image_files files = {.list = list, .stop = host->stop, .bad = gone(list, host)};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/images/sha256", host->state_dir);
    files.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files.dir < 0 || files_each(files.dir, on_image, &files) != RC_OK)
        tell(list, "images", errno == ENOENT ? OK : FAULT, "%s: %s", path, strerror(errno));
    else if (!files.bad)
        tell(list, "images", OK, "%u file%s, %s", files.good, files.good == 1 ? "" : "s",
             files.good == 1 ? "with what was added" : "each with what was added");
    fd_close(&files.dir);
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

/*----- the grounds -----*/

enum role {
    ASKED_FOR, /* it is used, or shall be */
    FIRST,     /* none is asked for, and no better one can be used */
    SPARE
};

struct ground_look {
    json_t *list;
    bool serious; /* what it lacks is a fault of this house */
};

static void on_check(void *arg, const char *check, enum backend_level level, const char *text)
{
    static const enum level levels[] = {
        [BACKEND_FINE] = OK, [BACKEND_WARNING] = WARNING, [BACKEND_FAULT] = FAULT};
    const struct ground_look *look = arg;

    tell(look->list, check, level == BACKEND_FAULT && !look->serious ? WARNING : levels[level],
         "%s", text);
}

/* True when it can be used. */
static bool ground(json_t *list, const struct doctor_host *host, const struct backend_ops *ops,
                   enum role role)
{
    bool chosen = host->ground && strcmp(host->ground, ops->name) == 0;
    char check[64], why[BACKEND_TEXT_MAX] = "";
    enum rc rc = ops->probe(why, sizeof why);
    struct ground_look look = {.list = list, .serious = role == ASKED_FOR || rc == RC_OK};
    bool other_host = rc == RC_NOT_FOUND && role != ASKED_FOR;

    snprintf(check, sizeof check, "ground %s", ops->name);
    if (rc)
        tell(list, check,
             role == ASKED_FOR ? FAULT
             : other_host      ? OK
                               : WARNING,
             "cannot be used: %s", *why ? why : rc_text(rc));
    else
        tell(list, check, *why ? WARNING : OK, "can be used%s%s%s%s", chosen ? ", and is: " : "",
             chosen && host->ground_why ? host->ground_why : "", *why ? "; " : "", why);
    /* Of a spare one that would do nobody wants to know more. */
    if (ops->checks && rc != RC_NOT_FOUND && (role != SPARE || rc))
        ops->checks(on_check, &look);
    return rc == RC_OK;
}

/* The one that is used, or was asked for; NULL: the first that can be. */
static const char *wish(const struct doctor_host *host)
{
    if (host->ground)
        return host->ground;
    return host->wish && strcmp(host->wish, "auto") != 0 ? host->wish : NULL;
}

static void grounds(json_t *list, const struct doctor_host *host)
{
    const char *name = wish(host);
    bool any = false;

    for (const struct backend_ops *const *ops = host->grounds; *ops; ops++)
        any = ground(list, host, *ops,
                     name && strcmp(name, (*ops)->name) == 0 ? ASKED_FOR
                     : !name && !any                         ? FIRST
                                                             : SPARE) ||
              any;
    if (!any)
        tell(list, "grounds", FAULT, "no instance can be run on this host: see why each cannot");
}

static void kvm(json_t *list)
{
    tell(list, "ground kvm", OK, "not built into this roomkeyd; this host %s",
         access("/dev/kvm", R_OK | W_OK) == 0 ? "has /dev/kvm (which may be a slow emulation)"
                                              : "has no /dev/kvm");
}

json_t *doctor_look(const struct doctor_host *host)
{
    json_t *list = json_array();

    CHECK(list);
    user(list);
    kernel(list);
    descriptors(list);
    memory(list);
    disk(list, host->state_dir);
    images(list, host);
    if (stopped(host->stop))
        return list;
    front(list, host);
    grounds(list, host);
    kvm(list);
    return list;
}
