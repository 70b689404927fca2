#include "orchestrator/tenant_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/core/mux.h"
#include "common/host/fd.h"

#define PATH_SIZE 640

struct tenant_log {
    char path[PATH_SIZE], old[PATH_SIZE];
    int fd;
    uint64_t size, size_max;
};

enum rc tenant_log_path(const char *state_dir, const char *tenant, bool old, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/logs/%s.log%s", state_dir, tenant, old ? ".1" : "");

    return n < 0 || (size_t)n >= size ? RC_TOO_LARGE : RC_OK;
}

void tenant_log_line(char *out, size_t size, int64_t utc_ms, uint64_t generation, int level,
                     const char *text)
{
    const char *word = level <= MUX_LOG_ERROR     ? "error"
                       : level == MUX_LOG_WARNING ? "warning"
                       : level == MUX_LOG_INFO    ? "info"
                                                  : "debug";
    time_t seconds = (time_t)(utc_ms / 1000);
    struct tm tm;
    char date[32];

    gmtime_r(&seconds, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, size, "%s.%03uZ %" PRIu64 " %s %s", date, (unsigned)(utc_ms % 1000), generation,
             word, text);
}

static enum rc open_file(struct tenant_log *l)
{
    struct stat st;

    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (l->fd < 0)
        return RC_IO;
    l->size = fstat(l->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return RC_OK;
}

enum rc tenant_log_open(const char *state_dir, const char *tenant, uint64_t size_max,
                        struct tenant_log **out)
{
    struct tenant_log *l = calloc(1, sizeof *l);
    enum rc rc;

    if (!l)
        return RC_NOMEM;
    l->size_max = size_max;
    rc = tenant_log_path(state_dir, tenant, false, l->path, sizeof l->path);
    if (rc == RC_OK)
        rc = tenant_log_path(state_dir, tenant, true, l->old, sizeof l->old);
    if (rc == RC_OK)
        rc = open_file(l);
    if (rc) {
        free(l);
        return rc;
    }
    *out = l;
    return RC_OK;
}

enum rc tenant_log_write(struct tenant_log *l, const char *line)
{
    size_t len = strlen(line);
    struct iovec parts[2] = {{(void *)(uintptr_t)line, len}, {(void *)(uintptr_t) "\n", 1}};

    if (l->size + len + 1 > l->size_max && l->size > 0) {
        fd_close(&l->fd);
        if (rename(l->path, l->old) != 0 && errno != ENOENT)
            return RC_IO;
    }
    if (l->fd < 0 && open_file(l))
        return RC_IO;
    if (writev(l->fd, parts, 2) != (ssize_t)len + 1)
        return RC_IO;
    l->size += len + 1;
    return RC_OK;
}

void tenant_log_close(struct tenant_log *l)
{
    if (!l)
        return;
    fd_close(&l->fd);
    free(l);
}
