/* The life of one instance.
 *
 * The happy path: start (channels, cgroup, console) -> launcher thread (clone,
 * exec) -> launched(): on_running, on_started -> … -> on_pidfd(): on_exit -> dispose.
 * Failure: a start that failed after its clone leaves a process to wait for, so
 * on_exit comes from on_pidfd() then too; without a process, from launched(). */
#include "orchestrator/backend/sandbox/sandbox_instance.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/launch.h"
#include "common/host/fd.h"
#include "orchestrator/backend/sandbox/sandbox.h"
#include "orchestrator/backend/sandbox/sandbox_exit.h"
#include "orchestrator/backend/sandbox/sandbox_limits.h"
#include "orchestrator/backend/sandbox/sandbox_process.h"

#define MEMORY_MIN (1u << 20)

static const struct sm_state states[STATE_NR] = {
    [STARTING] = {"STARTING", SM_BIT(RUNNING) | SM_BIT(FAILING) | SM_BIT(GONE)},
    [FAILING] = {"FAILING", SM_BIT(GONE)},
    [RUNNING] = {"RUNNING", SM_BIT(GONE)},
    [GONE] = {"GONE", 0},
};

static void launched(struct sandbox_launch *l);
static void on_pidfd(uv_poll_t *poll, int status, int events);

/*----- end of life -----*/

static void on_handle_closed(struct backend_instance *i)
{
    if (--i->open_handles == 0)
        free(i);
}

static void on_poll_closed(uv_handle_t *h)
{
    on_handle_closed(h->data);
}

static void on_console_closed(uv_handle_t *h)
{
    const struct console *c = h->data;

    on_handle_closed(c->arg);
}

/* The last thing done with `i`, apart from the handles' callbacks. */
static void release(struct backend_instance *i)
{
    LIST_REMOVE(i, others);
    sandbox_channels_dispose(&i->channels);
    fd_close(&i->console_fd);
    fd_close(&i->image_fd);
    fd_close(&i->cgroup_fd);
    i->open_handles = 2;
    console_close(&i->console, on_console_closed);
    if (i->polling) {
        i->open_handles++;
        uv_close((uv_handle_t *)&i->exited, on_poll_closed);
    }
    fd_close(&i->pidfd);
}

void sandbox_instance_dispose(struct backend_instance *i)
{
    CHECK(!i->disposed);
    i->disposed = true;
    i->console.stopped = true;
    if (i->sm.state != STARTING || i->polling)
        release(i);
    /* else launched() will: the launcher thread still uses our descriptors. */
}

/*----- start -----*/

static void on_line(void *arg, const char *line, size_t len)
{
    struct backend_instance *i = arg;

    i->events.on_console(i->arg, line, len);
}

enum rc sandbox_instance_console(struct backend_instance *i, int fd)
{
    return console_init(&i->console, i->backend->loop, fd, on_line, i);
}

struct backend_instance *
sandbox_instance_new(struct backend *b, const struct backend_events *events, void *arg, uint64_t id)
{
    struct backend_instance *i = calloc(1, sizeof *i);

    if (!i)
        return NULL;
    i->backend = b;
    i->events = *events;
    i->arg = arg;
    i->console_fd = i->image_fd = i->cgroup_fd = i->pidfd = -1;
    sm_init(&i->sm, states, "sandbox", id, STARTING);
    return i;
}

static enum rc make_console(struct backend_instance *i)
{
    int ends[2];

    /* Also the instance's end: a full pipe loses lines, it stops nobody. */
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return RC_FULL;
    i->console_fd = ends[1];
    return sandbox_instance_console(i, ends[0]);
}

static enum rc fill_arguments(struct backend_instance *i, const struct backend_spec *spec)
{
    int n[SANDBOX_ARGS];

    /* The first is for `ps`. */
    n[0] = snprintf(i->args[0], SANDBOX_ARG_BYTES, "roomkey:%s", spec->tenant);
    n[1] = snprintf(i->args[1], SANDBOX_ARG_BYTES, LAUNCH_ARG_TENANT "%s", spec->tenant);
    n[2] =
        snprintf(i->args[2], SANDBOX_ARG_BYTES, LAUNCH_ARG_GENERATION "%" PRIu64, spec->generation);
    n[3] = snprintf(i->args[3], SANDBOX_ARG_BYTES, LAUNCH_ARG_CHANNELS "%u", spec->channels);
    n[4] =
        snprintf(i->args[4], SANDBOX_ARG_BYTES, LAUNCH_ARG_MEMORY "%" PRIu64, spec->memory / 1024);
    for (int a = 0; a < SANDBOX_ARGS; a++) {
        if (n[a] < 0 || n[a] >= SANDBOX_ARG_BYTES)
            return RC_INVAL;
        i->argv[a] = i->args[a];
    }
    return RC_OK;
}

static void fill_launch(struct backend_instance *i, const struct backend_spec *spec)
{
    struct sandbox_launch *l = &i->launch;
    struct sandbox_child *c = &l->child;

    c->fds[0] = i->backend->null_fd;
    c->fds[1] = c->fds[2] = i->console_fd;
    c->fds[LAUNCH_FD_DOORBELL] = i->channels.doorbell_fd;
    c->fds[LAUNCH_FD_CONTROL_MEMORY] = i->channels.at[0].memory_fd;
    c->fds[LAUNCH_FD_CONTROL_DOORBELL] = i->channels.at[0].client_fd;
    for (unsigned n = 0; n < spec->channels; n++) {
        c->fds[LAUNCH_FD_CHANNEL_MEMORY(n)] = i->channels.at[1 + n].memory_fd;
        c->fds[LAUNCH_FD_CHANNEL_DOORBELL(n)] = i->channels.at[1 + n].client_fd;
    }
    c->nfds = SANDBOX_FDS(spec->channels);
    c->image_fd = i->image_fd;
    c->argv = i->argv;
    c->filter = &i->backend->filter.program;
    sandbox_limits_fill(c, spec->memory, &i->channels);
    l->uid = i->uid;
    l->cgroup_fd = i->cgroup_fd;
    l->done = launched;
    l->data = i;
}

enum rc sandbox_instance_start(struct backend *b, const struct backend_spec *spec,
                               const struct backend_events *events, void *arg,
                               struct backend_instance **out)
{
    struct backend_instance *i;
    enum rc rc;

    if (spec->channels > LAUNCH_CHANNELS_MAX || spec->memory < MEMORY_MIN)
        return RC_INVAL;
    i = sandbox_instance_new(b, events, arg, spec->instance);
    if (!i)
        return RC_NOMEM;
    i->uid = b->uid_base + (uid_t)(spec->instance & SANDBOX_UID_INSTANCE_MASK);
    rc = fill_arguments(i, spec);
    if (!rc)
        rc = sandbox_channels_make(&i->channels, spec->channels);
    if (rc)
        goto free_instance;
    i->image_fd = fcntl(spec->image_fd, F_DUPFD_CLOEXEC, 0);
    rc = i->image_fd < 0 ? (errno == EBADF ? RC_INVAL : RC_FULL) : RC_OK;
    if (rc)
        goto close_channels;
    /* The kernel counts channels to whoever touches them first: often the instance. */
    rc = sandbox_cgroup_make(&b->cgroup, i->uid,
                             spec->memory + sandbox_channels_bytes(&i->channels), &i->cgroup_fd);
    if (rc)
        goto close_channels;
    rc = make_console(i);
    if (rc)
        goto remove_cgroup;
    fill_launch(i, spec);
    LIST_INSERT_HEAD(&b->instances, i, others);
    sandbox_launcher_submit(b->launcher, &i->launch);
    *out = i;
    return RC_OK;

remove_cgroup:
    fd_close(&i->cgroup_fd);
    fd_close(&i->console_fd);
    sandbox_cgroup_remove(&b->cgroup, i->uid);
close_channels:
    fd_close(&i->image_fd);
    sandbox_channels_dispose(&i->channels);
free_instance:
    free(i);
    return rc;
}

static void send_signal(const struct backend_instance *i, int sig)
{
    /* ESRCH: it is gone already, and on_exit on its way. */
    (void)syscall(SYS_pidfd_send_signal, i->pidfd, sig, NULL, 0);
}

void sandbox_instance_watch(struct backend_instance *i)
{
    CHECK(uv_poll_init(i->backend->loop, &i->exited, i->pidfd) == 0);
    i->exited.data = i;
    i->polling = true;
    uv_poll_start(&i->exited, UV_READABLE, on_pidfd);
}

void sandbox_instance_running(struct backend_instance *i)
{
    sm_move(&i->sm, RUNNING);
    i->why.started = true;
    console_listen(&i->console);
}

static void gone(struct backend_instance *i)
{
    sm_move(&i->sm, GONE);
    sandbox_cgroup_remove(&i->backend->cgroup, i->uid);
    i->events.on_exit(i->arg, &i->why); /* must be last: `i` may be disposed of */
}

/* Comes from the launcher, on the loop. */
static void launched(struct sandbox_launch *l)
{
    static const struct backend_steps steps; /* it has none */
    struct backend_instance *i = l->data;

    i->pid = l->pid;
    i->pidfd = l->pidfd;
    i->start = l->start;
    fd_close(&i->console_fd);
    fd_close(&i->image_fd);
    fd_close(&i->cgroup_fd);
    if (i->disposed) {
        release(i);
        return;
    }
    if (l->failed)
        sandbox_exit_not_started(l->failed, l->error, &i->why);
    if (i->pidfd < 0) {
        gone(i);
        return;
    }
    sandbox_instance_watch(i);
    if (i->kill_asked)
        send_signal(i, SIGKILL);
    if (l->failed) {
        sm_move(&i->sm, FAILING);
        return; /* until on_pidfd */
    }
    sandbox_instance_running(i);
    i->events.on_running(i->arg, &steps);
    i->events.on_started(i->arg); /* must be last */
}

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
    struct backend_instance *i = poll->data;
    struct backend_exit collected;

    (void)status, (void)events;
    uv_poll_stop(poll);
    sandbox_exit_collect(i->pidfd, i->sm.state == FAILING ? &collected : &i->why);
    if (sandbox_cgroup_was_full(&i->backend->cgroup, i->uid))
        snprintf(i->why.text, sizeof i->why.text,
                 "killed: out of memory (raise the tenant's --memory)");
    console_drain(&i->console);
    if (!i->disposed)
        gone(i);
}

/*----- the rest -----*/

void sandbox_instance_kill(struct backend_instance *i)
{
    if (i->sm.state == STARTING)
        i->kill_asked = true;
    else if (i->sm.state == RUNNING)
        send_signal(i, SIGKILL);
}

enum rc sandbox_instance_pause(struct backend_instance *i, bool paused)
{
    if (i->sm.state != RUNNING)
        return RC_NOT_FOUND;
    send_signal(i, paused ? SIGSTOP : SIGCONT);
    return RC_OK;
}

void sandbox_instance_handle(const struct backend_instance *i, struct backend_handle *out)
{
    snprintf(out->text, sizeof out->text, "pid=%d start=%" PRIu64 " uid=%u", (int)i->pid, i->start,
             i->uid);
}

enum rc sandbox_instance_usage(const struct backend_instance *i, struct backend_usage *out)
{
    struct sandbox_process p;
    enum rc rc;

    if (i->sm.state != RUNNING)
        return RC_NOT_FOUND;
    rc = sandbox_process_read(i->backend->proc_fd, i->pid, &p);
    if (rc)
        return rc;
    out->cpu_us = p.cpu_us;
    return sandbox_process_memory(i->backend->proc_fd, i->pid, &out->memory);
}

static enum rc channel_at(const struct backend_instance *i, unsigned at,
                          struct backend_channel *out)
{
    const struct sandbox_channel *c = &i->channels.at[at];
    struct backend_channel ch = {.len = c->len};
    struct doorbell bell = {.out_fd = i->channels.doorbell_fd, .in_fd = c->client_fd};
    enum rc rc;

    CHECK(at <= i->channels.n);
    rc = doorbell_dup(&bell, &ch.bell);
    if (rc)
        return rc;
    ch.memory_fd = fcntl(c->memory_fd, F_DUPFD_CLOEXEC, 0);
    if (ch.memory_fd < 0) {
        doorbell_close(&ch.bell);
        return RC_FULL;
    }
    *out = ch;
    return RC_OK;
}

enum rc sandbox_instance_control(struct backend_instance *i, struct backend_channel *out)
{
    return channel_at(i, 0, out);
}

enum rc sandbox_instance_channel(struct backend_instance *i, unsigned index,
                                 struct backend_channel *out)
{
    return channel_at(i, 1 + index, out);
}

const struct sandbox_launch *sandbox_launched(const struct backend_instance *i)
{
    return &i->launch;
}
