#include "tls-front/ticket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/core/secret.h"
#include "common/host/clock.h"
#include "common/host/log.h"

#define BOOT_ID      "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE 36

/* Only this program reads it, on this machine. */
struct saved {
    char magic[12];
    char boot[BOOT_ID_SIZE];
    uint64_t step_at;
    struct ticket_secrets secrets;
};

static const char magic[12] = "rk-tickets1";

static enum rc read_boot(char boot[BOOT_ID_SIZE])
{
    int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, boot, BOOT_ID_SIZE);

    if (fd >= 0)
        close(fd);
    if (n == BOOT_ID_SIZE)
        return RC_OK;
    log_error(BOOT_ID ": %s", strerror(errno));
    return RC_IO;
}

static enum rc check_file(const char *path, int fd)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st) != 0 || fstatfs(fd, &fs) != 0) {
        log_error("--ticket-file %s: %s", path, strerror(errno));
        return RC_IO;
    }
    if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC) {
        log_error("--ticket-file %s is not on a file system in memory, and its secrets must be "
                  "gone with the boot; put it under /run",
                  path);
        return RC_UNSUPPORTED;
    }
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        log_error("--ticket-file %s is not a file that only user %u may read; remove it", path,
                  (unsigned)geteuid());
        return RC_DENIED;
    }
    return RC_OK;
}

static enum rc move_on(const struct saved *saved, uint32_t period_s, struct ticket_secrets *out,
                       uint64_t *step_at)
{
    uint64_t now = clock_us(), period = (uint64_t)period_s * 1000000;
    uint64_t at = saved->step_at;

    if (at > now + period) /* the period was longer then */
        at = now + period;
    if (now >= at + period) /* no ticket of then is good any more */
        return RC_NOT_FOUND;
    *out = saved->secrets;
    if (now >= at) {
        ticket_secrets_step(out);
        at += period;
    }
    *step_at = at;
    return RC_OK;
}

enum rc ticket_file_load(const char *path, uint32_t period_s, struct ticket_secrets *out,
                         uint64_t *step_at)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct saved saved;
    char boot[BOOT_ID_SIZE];
    enum rc rc;

    if (fd < 0) {
        if (errno == ENOENT)
            return RC_NOT_FOUND;
        rc = errno == ELOOP ? RC_DENIED : RC_IO;
        log_error("--ticket-file %s: %s", path, strerror(errno));
        return rc;
    }
    rc = check_file(path, fd);
    if (!rc)
        rc = read_boot(boot);
    if (!rc && (read(fd, &saved, sizeof saved) != sizeof saved ||
                memcmp(saved.magic, magic, sizeof magic) != 0 ||
                memcmp(saved.boot, boot, sizeof boot) != 0))
        rc = RC_NOT_FOUND;
    if (!rc)
        rc = move_on(&saved, period_s, out, step_at);
    secret_wipe(&saved, sizeof saved);
    close(fd);
    return rc;
}

enum rc ticket_file_save(const char *path, const struct ticket_secrets *secrets, uint64_t step_at)
{
    struct saved saved = {.step_at = step_at};
    char beside[PATH_MAX];
    enum rc rc = read_boot(saved.boot);
    int fd;

    if (rc)
        return rc;
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside) {
        log_error("--ticket-file %s: the path is too long", path);
        return RC_DENIED;
    }
    unlink(beside); /* of one that died here */
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        log_error("--ticket-file %s: %s", path, strerror(errno));
        return RC_IO;
    }
    memcpy(saved.magic, magic, sizeof magic);
    rc = check_file(path, fd);
    if (!rc) {
        saved.secrets = *secrets;
        if (write(fd, &saved, sizeof saved) != sizeof saved || rename(beside, path) != 0) {
            log_error("--ticket-file %s: %s", path, strerror(errno));
            rc = RC_IO;
        }
        secret_wipe(&saved, sizeof saved);
    }
    close(fd);
    if (rc)
        unlink(beside);
    return rc;
}
