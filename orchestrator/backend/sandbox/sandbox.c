/* The ground "sandbox": an instance is a process that has its descriptors, its
 * memory and the clock, and nothing else.  What confines it: docs/SANDBOX.md.
 *
 * The happy path: start (channels, console) -> launcher thread (clone, exec) ->
 * launched(): on_started -> … -> on_pidfd(): on_exit -> dispose.
 * Failure: a start that failed after its clone leaves a process to wait for, so
 * on_exit comes from on_pidfd() then too; without a process, from launched(). */
#include "orchestrator/backend/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/sm.h"
#include "orchestrator/backend/sandbox/sandbox_cgroup.h"
#include "orchestrator/backend/sandbox/sandbox_channels.h"
#include "orchestrator/backend/sandbox/sandbox_console.h"
#include "orchestrator/backend/sandbox/sandbox_exit.h"
#include "orchestrator/backend/sandbox/sandbox_filter.h"
#include "orchestrator/backend/sandbox/sandbox_limits.h"
#include "orchestrator/backend/sandbox/sandbox_probe.h"
#include "orchestrator/backend/sandbox/sandbox_process.h"
#include "orchestrator/backend/sandbox/sandbox_sweep.h"

#define MEMORY_MIN    (1u << 20)
#define ARGS          5
#define ARG_MAX_BYTES 320

/* Host ids of instances: 0x40000000 + house (13 bits) + instance (16 bits), so
 * that neither two tenants nor two orchestrators of one host share a user. */
#define UID_BASE          0x40000000u
#define UID_HOUSE_MASK    0x1fffu
#define UID_INSTANCE_MASK 0xffffu

struct backend {
    uv_loop_t *loop;
    struct sandbox_launcher *launcher; /* owned */
    struct sandbox_filter filter;
    int proc_fd; /* owned: the host's /proc */
    int null_fd; /* owned */
    uid_t uid_base;
    struct sandbox_cgroup cgroup;
    char *state; /* owned: the state folder's resolved path */
    LIST_HEAD(, backend_instance) instances;
};

enum { STARTING, FAILING, RUNNING, GONE, STATE_NR };

static const struct sm_state states[STATE_NR] = {
    [STARTING] = {"STARTING", SM_BIT(RUNNING) | SM_BIT(FAILING) | SM_BIT(GONE)},
    [FAILING] = {"FAILING", SM_BIT(GONE)},
    [RUNNING] = {"RUNNING", SM_BIT(GONE)},
    [GONE] = {"GONE", 0},
};

struct backend_instance {
    struct backend *backend; /* borrowed */
    LIST_ENTRY(backend_instance) others;
    struct backend_events events;
    void *arg;
    struct sm sm;
    bool disposed;
    bool kill_asked; /* while STARTING */
    struct sandbox_channels channels;
    struct sandbox_console console;
    int console_fd; /* owned until launched: the instance's end */
    int image_fd;   /* owned until launched */
    int cgroup_fd;  /* owned until launched; -1: none */
    int pidfd;      /* owned */
    pid_t pid;
    uint64_t start;
    uid_t uid;
    uv_poll_t exited;
    bool polling; /* `exited` is initialised */
    unsigned open_handles;
    struct backend_exit why;
    struct sandbox_launch launch;
    char args[ARGS][ARG_MAX_BYTES];
    char *argv[ARGS + 1];
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
    const struct sandbox_console *c = h->data;

    on_handle_closed(c->arg);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The last thing done with `i`, apart from the handles' callbacks. */
static void release(struct backend_instance *i)
{
    LIST_REMOVE(i, others);
    sandbox_channels_dispose(&i->channels);
    close_fd(&i->console_fd);
    close_fd(&i->image_fd);
    close_fd(&i->cgroup_fd);
    i->open_handles = 2;
    sandbox_console_close(&i->console, on_console_closed);
    if (i->polling) {
        i->open_handles++;
        uv_close((uv_handle_t *)&i->exited, on_poll_closed);
    }
    close_fd(&i->pidfd);
}

static void sandbox_dispose(struct backend_instance *i)
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

static struct backend_instance *instance_new(struct backend *b, const struct backend_events *events,
                                             void *arg, uint64_t id)
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
    return sandbox_console_init(&i->console, i->backend->loop, ends[0], on_line, i);
}

static enum rc fill_arguments(struct backend_instance *i, const struct backend_spec *spec)
{
    int n[ARGS];

    /* The first is for `ps`. */
    n[0] = snprintf(i->args[0], ARG_MAX_BYTES, "roomkey:%s", spec->tenant);
    n[1] = snprintf(i->args[1], ARG_MAX_BYTES, LAUNCH_ARG_TENANT "%s", spec->tenant);
    n[2] = snprintf(i->args[2], ARG_MAX_BYTES, LAUNCH_ARG_GENERATION "%" PRIu64, spec->generation);
    n[3] = snprintf(i->args[3], ARG_MAX_BYTES, LAUNCH_ARG_CHANNELS "%u", spec->channels);
    n[4] = snprintf(i->args[4], ARG_MAX_BYTES, LAUNCH_ARG_MEMORY "%" PRIu64, spec->memory / 1024);
    for (int a = 0; a < ARGS; a++) {
        if (n[a] < 0 || n[a] >= ARG_MAX_BYTES)
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

/* The kernel counts them to whoever touches them first: the instance, often. */
static uint64_t channel_bytes(const struct sandbox_channels *c)
{
    uint64_t n = 0;

    for (unsigned i = 0; i <= c->n; i++)
        n += c->at[i].len;
    return n;
}

static enum rc sandbox_start(struct backend *b, const struct backend_spec *spec,
                             const struct backend_events *events, void *arg,
                             struct backend_instance **out)
{
    struct backend_instance *i;
    enum rc rc;

    if (spec->channels > LAUNCH_CHANNELS_MAX || spec->memory < MEMORY_MIN)
        return RC_INVAL;
    i = instance_new(b, events, arg, spec->instance);
    if (!i)
        return RC_NOMEM;
    i->uid = b->uid_base + (uid_t)(spec->instance & UID_INSTANCE_MASK);
    rc = fill_arguments(i, spec);
    if (!rc)
        rc = sandbox_channels_make(&i->channels, spec->channels);
    if (rc)
        goto free_instance;
    i->image_fd = fcntl(spec->image_fd, F_DUPFD_CLOEXEC, 0);
    rc = i->image_fd < 0 ? (errno == EBADF ? RC_INVAL : RC_FULL) : RC_OK;
    if (rc)
        goto close_channels;
    rc = sandbox_cgroup_make(&b->cgroup, i->uid, spec->memory + channel_bytes(&i->channels),
                             &i->cgroup_fd);
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
    close_fd(&i->cgroup_fd);
    close_fd(&i->console_fd);
    sandbox_cgroup_remove(&b->cgroup, i->uid);
close_channels:
    close_fd(&i->image_fd);
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

static bool watch_pidfd(struct backend_instance *i)
{
    if (uv_poll_init(i->backend->loop, &i->exited, i->pidfd))
        return false;
    i->exited.data = i;
    i->polling = true;
    return uv_poll_start(&i->exited, UV_READABLE, on_pidfd) == 0;
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
    struct backend_instance *i = l->data;

    i->pid = l->pid;
    i->pidfd = l->pidfd;
    i->start = l->start;
    close_fd(&i->console_fd);
    close_fd(&i->image_fd);
    close_fd(&i->cgroup_fd);
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
    CHECK(watch_pidfd(i));
    if (i->kill_asked)
        send_signal(i, SIGKILL);
    if (l->failed) {
        sm_move(&i->sm, FAILING);
        return; /* until on_pidfd */
    }
    sm_move(&i->sm, RUNNING);
    i->why.started = true;
    sandbox_console_listen(&i->console);
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
    sandbox_console_drain(&i->console);
    if (!i->disposed)
        gone(i);
}

/*----- the rest -----*/

static void sandbox_kill(struct backend_instance *i)
{
    if (i->sm.state == STARTING)
        i->kill_asked = true;
    else if (i->sm.state == RUNNING)
        send_signal(i, SIGKILL);
}

static enum rc sandbox_pause(struct backend_instance *i, bool paused)
{
    if (i->sm.state != RUNNING)
        return RC_NOT_FOUND;
    send_signal(i, paused ? SIGSTOP : SIGCONT);
    return RC_OK;
}

static void sandbox_handle(const struct backend_instance *i, struct backend_handle *out)
{
    snprintf(out->text, sizeof out->text, "pid=%d start=%" PRIu64 " uid=%u", (int)i->pid, i->start,
             i->uid);
}

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
    return sandbox_console_init(&i->console, i->backend->loop, fd, on_line, i);
}

static enum rc sandbox_adopt(struct backend *b, const struct backend_handle *handle,
                             unsigned channels, const struct backend_events *events, void *arg,
                             struct backend_instance **out)
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
    i = instance_new(b, events, arg, (uint64_t)pid);
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
    CHECK(watch_pidfd(i));
    sm_move(&i->sm, RUNNING);
    i->why.started = true;
    sandbox_console_listen(&i->console);
    LIST_INSERT_HEAD(&b->instances, i, others);
    *out = i;
    return RC_OK;

fail:
    close_fd(&i->pidfd);
    free(i);
    return rc;
}

static bool is_ours(void *arg, uid_t uid)
{
    struct backend *b = arg;
    struct backend_instance *i;

    LIST_FOREACH(i, &b->instances, others)
    if (i->uid == uid)
        return true;
    return false;
}

static void sandbox_sweep_all(struct backend *b)
{
    sandbox_sweep(b->proc_fd, b->state, b->uid_base, b->uid_base + UID_INSTANCE_MASK, is_ours, b);
}

static enum rc sandbox_usage(const struct backend_instance *i, struct backend_usage *out)
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

static void channel_at(const struct backend_instance *i, unsigned at, struct backend_channel *out)
{
    const struct sandbox_channel *c = &i->channels.at[at];

    CHECK(at <= i->channels.n);
    *out = (struct backend_channel){.memory_fd = c->memory_fd,
                                    .instance_fd = i->channels.doorbell_fd,
                                    .client_fd = c->client_fd,
                                    .len = c->len};
}

static void sandbox_control(const struct backend_instance *i, struct backend_channel *out)
{
    channel_at(i, 0, out);
}

static void sandbox_channel(const struct backend_instance *i, unsigned index,
                            struct backend_channel *out)
{
    channel_at(i, 1 + index, out);
}

const struct sandbox_launch *sandbox_launched(const struct backend_instance *i)
{
    return &i->launch;
}

/*----- the ground as a whole -----*/

static void sandbox_close(struct backend *b)
{
    if (b->launcher)
        sandbox_launcher_stop(b->launcher);
    CHECK(LIST_EMPTY(&b->instances));
    sandbox_filter_dispose(&b->filter);
    sandbox_cgroup_dispose(&b->cgroup);
    free(b->state);
    close_fd(&b->null_fd);
    close_fd(&b->proc_fd);
    free(b);
}

/* Another number for each state folder. */
static enum rc know_state(struct backend *b, const char *state_dir)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    struct stat st;

    b->state = realpath(state_dir, NULL);
    if (!b->state || stat(b->state, &st))
        return RC_NOT_FOUND;
    for (int n = 0; n < 8; n++) {
        h = (h ^ ((uint64_t)st.st_dev >> (8 * n) & 0xff)) * 1099511628211u;
        h = (h ^ ((uint64_t)st.st_ino >> (8 * n) & 0xff)) * 1099511628211u;
    }
    b->uid_base = UID_BASE + (uid_t)((h >> 32 & UID_HOUSE_MASK) << 16);
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
    .open = sandbox_open,
    .close = sandbox_close,
    .start = sandbox_start,
    .adopt = sandbox_adopt,
    .sweep = sandbox_sweep_all,
    .kill = sandbox_kill,
    .dispose = sandbox_dispose,
    .pause = sandbox_pause,
    .handle = sandbox_handle,
    .usage = sandbox_usage,
    .control = sandbox_control,
    .channel = sandbox_channel,
};
