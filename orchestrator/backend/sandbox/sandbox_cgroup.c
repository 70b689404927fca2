#include "orchestrator/backend/sandbox/sandbox_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/fd.h"

#define FOLDER "roomkey"
/* What the kernel holds for an instance: page tables, its task, descriptors. */
#define KERNEL_EXTRA (4u << 20)

static bool write_text(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

static bool read_text(int dir, const char *name, char *out, size_t size)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    return n >= 0;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = text; (p = strstr(p, word)); p += len)
        if ((p == text || p[-1] == ' ') && strchr(" \n", p[len]))
            return true; /* strchr finds the end of the text, too */
    return false;
}

/* proc(5): "… root MOUNTPOINT options [fields] - TYPE source options". */
bool sandbox_cgroup_parse_mount(const char *mountinfo, char *out, size_t size)
{
    const char *line = mountinfo;

    while (*line) {
        const char *end = strchr(line, '\n');
        size_t len = end ? (size_t)(end - line) : strlen(line);
        char text[1024], path[512];
        const char *dash;

        if (len < sizeof text) {
            memcpy(text, line, len);
            text[len] = 0;
            dash = strstr(text, " - ");
            if (dash && !strncmp(dash, " - cgroup2 ", 11) &&
                sscanf(text, "%*s %*s %*s %*s %511s", path) == 1 && strlen(path) < size) {
                strcpy(out, path);
                return true;
            }
        }
        line += len + (end != NULL);
    }
    return false;
}

static bool find_mount(char *out, size_t size)
{
    static char text[65536];
    size_t len = 0;
    ssize_t n;
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    while (len < sizeof text - 1 && (n = read(fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    text[len] = 0;
    return sandbox_cgroup_parse_mount(text, out, size);
}

/* Lets the children of `dir` be limited; harmless when they already are. */
static bool hand_down(int dir)
{
    char text[256];

    if (read_text(dir, "cgroup.subtree_control", text, sizeof text) && has_word(text, "memory") &&
        has_word(text, "pids"))
        return true;
    return write_text(dir, "cgroup.subtree_control", "+memory +pids");
}

void sandbox_cgroup_init(struct sandbox_cgroup *c, char *why, size_t size)
{
    char mount[512], controllers[256];
    int root = -1;

    c->parent_fd = -1;
    snprintf(why, size, "%s", "");
    if (find_mount(mount, sizeof mount))
        root = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || !read_text(root, "cgroup.controllers", controllers, sizeof controllers) ||
        !has_word(controllers, "memory") || !has_word(controllers, "pids")) {
        snprintf(why, size,
                 "WARNING: no cgroup v2 memory controller: instances have rlimits only, and the "
                 "kernel's memory for them is not counted; boot with "
                 "systemd.unified_cgroup_hierarchy=1");
    } else if (!hand_down(root) || (mkdirat(root, FOLDER, 0755) && errno != EEXIST) ||
               (c->parent_fd = openat(root, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
               !hand_down(c->parent_fd)) {
        snprintf(why, size,
                 "WARNING: cannot use cgroup v2 at %s: %s: instances have rlimits only; run "
                 "roomkeyd where that folder can be written",
                 mount, strerror(errno));
        sandbox_cgroup_dispose(c);
    }
    if (root >= 0)
        close(root);
}

void sandbox_cgroup_dispose(struct sandbox_cgroup *c)
{
    fd_close(&c->parent_fd);
}

enum rc sandbox_cgroup_make_at(int parent, const char *name, int *fd)
{
    /* An orchestrator that died may have left it; it is empty then. */
    if (mkdirat(parent, name, 0755) &&
        (errno != EEXIST || unlinkat(parent, name, AT_REMOVEDIR) || mkdirat(parent, name, 0755)))
        return errno == EBUSY ? RC_BUSY : RC_IO;
    *fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd >= 0)
        return RC_OK;
    unlinkat(parent, name, AT_REMOVEDIR);
    return RC_FULL;
}

enum rc sandbox_cgroup_limit(int fd, uint64_t memory)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRIu64, memory + KERNEL_EXTRA);
    if (!write_text(fd, "memory.max", text) || !write_text(fd, "pids.max", "1"))
        return RC_IO;
    (void)write_text(fd, "memory.swap.max", "0"); /* absent where there is no swap */
    return RC_OK;
}

static void name_of(uid_t uid, char out[16])
{
    snprintf(out, 16, "%u", uid);
}

enum rc sandbox_cgroup_make(struct sandbox_cgroup *c, uid_t uid, uint64_t memory, int *fd)
{
    char name[16];
    enum rc rc;

    *fd = -1;
    if (c->parent_fd < 0)
        return RC_OK;
    name_of(uid, name);
    rc = sandbox_cgroup_make_at(c->parent_fd, name, fd);
    if (rc)
        return rc;
    rc = sandbox_cgroup_limit(*fd, memory);
    if (rc) {
        fd_close(fd);
        unlinkat(c->parent_fd, name, AT_REMOVEDIR);
    }
    return rc;
}

bool sandbox_cgroup_was_full(struct sandbox_cgroup *c, uid_t uid)
{
    char path[40], text[512];
    const char *after;
    unsigned kills;

    if (c->parent_fd < 0)
        return false;
    snprintf(path, sizeof path, "%u/memory.events", uid);
    if (!read_text(c->parent_fd, path, text, sizeof text))
        return false;
    after = strstr(text, "oom_kill ");
    return after && sscanf(after, "oom_kill %u", &kills) == 1 && kills > 0;
}

void sandbox_cgroup_remove(struct sandbox_cgroup *c, uid_t uid)
{
    char name[16];

    if (c->parent_fd < 0)
        return;
    name_of(uid, name);
    unlinkat(c->parent_fd, name, AT_REMOVEDIR);
}

void sandbox_cgroup_sweep(struct sandbox_cgroup *c, uid_t first, uid_t last,
                          bool (*is_ours)(void *arg, uid_t uid), void *arg)
{
    int dir = c->parent_fd < 0 ? -1 : openat(c->parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = dir < 0 ? NULL : fdopendir(dir);
    struct dirent *e;

    if (!d) {
        fd_close(&dir);
        return;
    }
    while ((e = readdir(d))) {
        unsigned long uid = strtoul(e->d_name, NULL, 10); /* 0: one of the kernel's files */

        if (uid >= first && uid <= last && !is_ours(arg, (uid_t)uid))
            unlinkat(c->parent_fd, e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
}
