#include "orchestrator/backend/sandbox/sandbox_process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 2048

static enum rc read_text(int proc, pid_t pid, const char *name, char text[TEXT_MAX])
{
    char path[48];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return RC_NOT_FOUND;
    n = read(fd, text, TEXT_MAX - 1);
    close(fd);
    if (n <= 0)
        return RC_NOT_FOUND; /* ESRCH: gone since the open */
    text[n] = 0;
    return RC_OK;
}

enum rc sandbox_process_read(int proc, pid_t pid, struct sandbox_process *out)
{
    char text[TEXT_MAX];
    const char *after;
    unsigned long user, kernel;
    enum rc rc;

    rc = read_text(proc, pid, "stat", text);
    if (rc)
        return rc;
    /* The name in parentheses may hold anything, so count from its last one.
     * proc(5): state is field 3, utime 14, stime 15, starttime 22. */
    after = strrchr(text, ')');
    if (!after || sscanf(after,
                         ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d "
                         "%*d %*d %" SCNu64,
                         &out->state, &user, &kernel, &out->start) != 4)
        return RC_IO;
    out->cpu_us = (uint64_t)(user + kernel) * 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);

    /* Not from the folder's owner: that is root for a process that may not be traced. */
    rc = read_text(proc, pid, "status", text);
    if (rc)
        return rc;
    after = strstr(text, "\nUid:");
    return after && sscanf(after, "\nUid: %u", &out->uid) == 1 ? RC_OK : RC_IO;
}

enum rc sandbox_process_memory(int proc, pid_t pid, uint64_t *bytes)
{
    char text[TEXT_MAX];
    const char *after;
    uint64_t kib;
    enum rc rc;

    /* Walks the pages: what stat and statm tell of a small process may be 0. */
    rc = read_text(proc, pid, "smaps_rollup", text);
    if (rc)
        return rc;
    after = strstr(text, "\nRss:");
    if (!after || sscanf(after, "\nRss: %" SCNu64 " kB", &kib) != 1)
        return RC_IO;
    *bytes = kib * 1024;
    return RC_OK;
}
