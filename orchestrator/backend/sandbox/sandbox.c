/* The ground "sandbox": an instance is a process that has its descriptors, its
 * memory and the clock, and nothing else.  What confines it: docs/SANDBOX.md. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/fd.h"
#include "orchestrator/backend/sandbox/sandbox_instance.h"
#include "orchestrator/backend/sandbox/sandbox_probe.h"
#include "orchestrator/backend/sandbox/sandbox_sweep.h"
#include "orchestrator/backend/state_id.h"

static bool is_ours(void *arg, uid_t uid)
{
    struct backend *b = arg;
    struct backend_instance *i;

    LIST_FOREACH(i, &b->instances, others)
    if (i->uid == uid)
        return true;
    return false;
}

static void sweep_all(struct backend *b)
{
    uid_t last = b->uid_base + SANDBOX_UID_INSTANCE_MASK;

    sandbox_sweep(b->proc_fd, b->state, b->uid_base, last, is_ours, b);
    sandbox_cgroup_sweep(&b->cgroup, b->uid_base, last, is_ours, b);
}

static void sandbox_close(struct backend *b)
{
    if (b->launcher)
        sandbox_launcher_stop(b->launcher);
    CHECK(LIST_EMPTY(&b->instances));
    sandbox_filter_dispose(&b->filter);
    sandbox_cgroup_dispose(&b->cgroup);
    free(b->state);
    fd_close(&b->null_fd);
    fd_close(&b->proc_fd);
    free(b);
}

static enum rc know_state(struct backend *b, const char *state_dir)
{
    uint64_t id;
    enum rc rc = state_id(state_dir, &id);

    b->state = realpath(state_dir, NULL);
    if (rc || !b->state)
        return RC_NOT_FOUND;
    b->uid_base = SANDBOX_UID_BASE + (uid_t)((id >> 32 & SANDBOX_UID_HOUSE_MASK) << 16);
    return RC_OK;
}

static enum rc sandbox_open(uv_loop_t *loop, const char *state_dir, struct backend **out, char *why,
                            size_t size)
{
    struct backend *b = calloc(1, sizeof *b);
    enum rc rc;

    snprintf(why, size, "sandbox: out of memory");
    if (!b)
        return RC_NOMEM;
    b->loop = loop;
    LIST_INIT(&b->instances);
    sandbox_cgroup_init(&b->cgroup, why, size); /* its warning is probe()'s to tell */
    b->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    b->proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->null_fd < 0 || b->proc_fd < 0) {
        snprintf(why, size, "sandbox: cannot open /dev/null and /proc: %s; mount them",
                 strerror(errno));
        rc = RC_UNSUPPORTED;
        goto fail;
    }
    rc = know_state(b, state_dir);
    if (rc) {
        snprintf(why, size, "sandbox: state folder %s: %s; create it", state_dir, strerror(errno));
        goto fail;
    }
    rc = sandbox_filter_init(&b->filter);
    if (rc) {
        snprintf(why, size, "sandbox: could not build the system call filter: %s", rc_text(rc));
        goto fail;
    }
    rc = sandbox_launcher_start(&b->launcher, loop, b->proc_fd, why, size);
    if (rc)
        goto fail;
    *out = b;
    return RC_OK;

fail:
    sandbox_close(b);
    return rc;
}

const struct backend_ops backend_sandbox = {
    .name = "sandbox",
    .probe = sandbox_probe,
    .checks = sandbox_checks,
    .open = sandbox_open,
    .close = sandbox_close,
    .start = sandbox_instance_start,
    .adopt = sandbox_adopt,
    .sweep = sweep_all,
    .kill = sandbox_instance_kill,
    .dispose = sandbox_instance_dispose,
    .pause = sandbox_instance_pause,
    .handle = sandbox_instance_handle,
    .usage = sandbox_instance_usage,
    .control = sandbox_instance_control,
    .channel = sandbox_instance_channel,
};
