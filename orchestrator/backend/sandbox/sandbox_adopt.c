/* Taking over an instance that an earlier orchestrator started: found by pid and
 * start time, its channels taken out of it, its console opened anew. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "orchestrator/backend/sandbox/sandbox_instance.h"
#include "orchestrator/backend/sandbox/sandbox_process.h"

/* The same process as `handle` says, and alive. */
static enum rc find(struct backend *b, struct backend_instance *i)
{
    struct sandbox_process p;
    enum rc rc;

    i->pidfd = (int)syscall(SYS_pidfd_open, i->pid, 0);
    if (i->pidfd < 0)
        return RC_NOT_FOUND;
    /* After pidfd_open: what is compared is what the descriptor stands for. */
    rc = sandbox_process_read(b->proc_fd, i->pid, &p);
    if (rc)
        return rc;
    if (p.start != i->start || p.uid != i->uid || p.state == 'Z' || p.state == 'X')
        return RC_NOT_FOUND;
    return RC_OK;
}

static enum rc take_console(struct backend_instance *i)
{
    char path[32];
    int fd;

    /* Opened anew: the pipe's read end died with the last orchestrator. */
    snprintf(path, sizeof path, "%d/fd/1", (int)i->pid);
    fd = openat(i->backend->proc_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return RC_NOT_FOUND;
    return sandbox_instance_console(i, fd);
}

enum rc sandbox_adopt(struct backend *b, const struct backend_handle *handle, unsigned channels,
                      const struct backend_events *events, void *arg, struct backend_instance **out)
{
    struct backend_instance *i;
    uint64_t start;
    int pid, end = 0;
    uid_t uid;
    enum rc rc;

    if (channels > LAUNCH_CHANNELS_MAX ||
        sscanf(handle->text, "pid=%d start=%" SCNu64 " uid=%u%n", &pid, &start, &uid, &end) != 3 ||
        handle->text[end] || pid <= 1)
        return RC_INVAL;
    i = sandbox_instance_new(b, events, arg, (uint64_t)pid);
    if (!i)
        return RC_NOMEM;
    i->pid = pid;
    i->start = start;
    i->uid = uid;

    rc = find(b, i);
    if (rc)
        goto fail;
    rc = sandbox_channels_take(&i->channels, channels, i->pidfd);
    if (rc)
        goto fail;
    rc = take_console(i);
    if (rc) {
        sandbox_channels_dispose(&i->channels);
        goto fail;
    }
    sandbox_instance_watch(i);
    sandbox_instance_running(i);
    LIST_INSERT_HEAD(&b->instances, i, others);
    *out = i;
    return RC_OK;

fail:
    if (i->pidfd >= 0)
        close(i->pidfd);
    free(i);
    return rc;
}
