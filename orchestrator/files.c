#include "orchestrator/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool files_is_hash(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

void files_hex(const unsigned char hash[32], char hex[65])
{
    for (size_t i = 0; i < 32; i++) {
        hex[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    hex[64] = '\0';
}

enum rc files_rc(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return RC_FULL;
    case ENOENT:
    case ENOTDIR:
        return RC_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return RC_DENIED;
    case ENOMEM:
        return RC_NOMEM;
    default:
        return RC_IO;
    }
}

enum rc files_refuse_folder(struct refusal *no, const char *path, const char *option)
{
    int err = errno;

    refusal_what(no, files_rc(err), "cannot use the folder %s", path);
    refusal_why(no, "%s", strerror(err));
    return refusal_todo(no, "give one that may be written to with %s", option);
}

/* A new folder's name is in the one above it. */
static bool make_folder(const char *path)
{
    char above[PATH_MAX];
    bool ok;
    int fd;

    if (mkdir(path, 0700) != 0)
        return errno == EEXIST;
    snprintf(above, sizeof above, "%s", path);
    *strrchr(above, '/') = '\0';
    fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

enum rc files_folder(const char *state_dir, const char *name, int *fd, struct refusal *no)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", state_dir, name);
    if (make_folder(path)) {
        *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*fd >= 0)
            return RC_OK;
    }
    return files_refuse_folder(no, path, "--state");
}

enum rc files_lock(const char *dir, const char *option, int *fd, struct refusal *no)
{
    char path[PATH_MAX + 16], pid[32] = "";
    ssize_t n;

    snprintf(path, sizeof path, "%s/roomkeyd.lock", dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return files_refuse_folder(no, dir, option);
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        n = read(*fd, pid, sizeof pid - 1);
        pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
        refusal_what(no, RC_BUSY, "cannot use the folder %s", dir);
        refusal_why(no, "another roomkeyd works in it (pid %s)", pid[0] ? pid : "unknown");
        return refusal_todo(no, "stop that one, or give another folder with %s", option);
    }
    n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(*fd, 0) != 0 || pwrite(*fd, pid, (size_t)n, 0) != n)
        return files_refuse_folder(no, dir, option);
    return RC_OK;
}

enum rc files_create(int dir, const char *name, unsigned mode, int *fd)
{
    *fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    return *fd < 0 ? files_rc(errno) : RC_OK;
}

enum rc files_write(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno != EINTR)
            return files_rc(errno);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return RC_OK;
}

enum rc files_each(int dir, void (*cb)(void *arg, const char *name), void *arg)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *entry;
    DIR *list;

    if (fd < 0)
        return files_rc(errno);
    list = fdopendir(fd);
    if (!list) {
        close(fd);
        return RC_NOMEM;
    }
    while ((entry = readdir(list)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            cb(arg, entry->d_name);
    closedir(list);
    return RC_OK;
}
