#include "orchestrator/backend/sandbox/sandbox_launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/core/check.h"
#include "orchestrator/backend/sandbox/sandbox_process.h"

#define STACK_BYTES (64u << 10)
/* Where the empty root is mounted: any folder that every host has. */
#define ROOT "/proc"
/* Of instances, so that the kernel takes one of them before it takes a daemon. */
#define OOM_SCORE_ADJ "500"

struct queue {
    struct sandbox_launch *first, **last;
};

struct sandbox_launcher {
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t wake;
    uv_async_t async;
    uv_sem_t ready; /* the thread has its namespaces, or failed */
    int proc;       /* borrowed */
    char *stack;
    const char *failed; /* what the thread could not do at its start */
    int error;
    bool stopping;           /* under lock */
    struct queue todo, done; /* under lock */
};

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
}

static void queue_put(struct queue *q, struct sandbox_launch *l)
{
    l->next = NULL;
    *q->last = l;
    q->last = &l->next;
}

static struct sandbox_launch *queue_take(struct queue *q)
{
    struct sandbox_launch *l = q->first;

    if (l && !(q->first = l->next))
        q->last = &q->first;
    return l;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*----- the thread -----*/

/* Private to this thread: the process keeps its own root and network. */
static void enter_namespaces(struct sandbox_launcher *s)
{
#define TRY(what, expr)   \
    if ((expr) != 0) {    \
        s->failed = what; \
        s->error = errno; \
        return;           \
    }
    TRY("create a mount and a network namespace", unshare(CLONE_NEWNS | CLONE_NEWNET))
    TRY("make its mounts private", mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL))
    TRY("mount an empty root",
        mount("roomkey", ROOT, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0555,size=4k,nr_inodes=2"))
    TRY("enter the empty root", chdir(ROOT))
    TRY("make the empty root its root", syscall(SYS_pivot_root, ".", "."))
    TRY("leave the old root", umount2(".", MNT_DETACH))
    TRY("enter the empty root", chdir("/"))
#undef TRY
}

static bool write_proc(int proc, pid_t pid, const char *name, const char *text)
{
    char path[48];
    size_t len = strlen(text);
    bool ok;
    int fd;

    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    fd = openat(proc, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ok = write(fd, text, len) == (ssize_t)len;
    close(fd);
    return ok;
}

static bool write_maps(struct sandbox_launcher *s, pid_t pid, uid_t uid)
{
    char map[48];

    snprintf(map, sizeof map, "%d %u 1\n", SANDBOX_INSIDE_ID, uid);
    return write_proc(s->proc, pid, "uid_map", map) && write_proc(s->proc, pid, "gid_map", map) &&
           write_proc(s->proc, pid, "oom_score_adj", OOM_SCORE_ADJ);
}

/* Until the child has left our memory: it executed the image, or is gone. */
static bool wait_running(struct sandbox_child *c)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += SANDBOX_START_SECONDS;
    while (atomic_load(&c->running) != 0) {
        uint32_t v = atomic_load(&c->running);

        if (v != 0 &&
            syscall(SYS_futex, &c->running, FUTEX_WAIT_BITSET, v, &end, NULL,
                    FUTEX_BITSET_MATCH_ANY) < 0 &&
            errno == ETIMEDOUT)
            return false;
    }
    return true;
}

static void launch(struct sandbox_launcher *s, struct sandbox_launch *l)
{
    struct sandbox_child *c = &l->child;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_CHILD_CLEARTID |
                 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
        .pidfd = (uintptr_t)&l->pidfd,
        .child_tid = (uintptr_t)&c->running,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)s->stack,
        .stack_size = STACK_BYTES,
    };
    struct sandbox_process p;
    long r;

    l->at_begin = now_ns();
    l->pidfd = -1;
    atomic_store(&c->mapped, 0);
    atomic_store(&c->running, 1);
    atomic_store(&c->failed, STEP_NONE);
    if (l->cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)l->cgroup_fd;
    }

    r = sandbox_child_clone(&args, c);
    l->at_cloned = now_ns();
    if (r < 0) {
        l->failed = STEP_CLONE;
        l->error = (int)-r;
        l->pidfd = -1;
        return;
    }
    l->pid = (pid_t)r;

    if (!write_maps(s, l->pid, l->uid)) {
        l->failed = STEP_PROC;
        l->error = errno;
    }
    atomic_store(&c->mapped, l->failed ? 2 : 1);
    syscall(SYS_futex, &c->mapped, FUTEX_WAKE, 1, NULL, NULL, 0);
    l->at_mapped = now_ns();

    if (!wait_running(c)) {
        l->failed = STEP_TIMEOUT;
        l->error = ETIMEDOUT;
        syscall(SYS_pidfd_send_signal, l->pidfd, SIGKILL, NULL, 0);
        /* It still has our memory, and its stack is the next one's. */
        while (atomic_load(&c->running) != 0)
            syscall(SYS_futex, &c->running, FUTEX_WAIT, 1, NULL, NULL, 0);
    }
    l->at_running = now_ns();
    if (!l->failed) {
        l->failed = (enum sandbox_step)atomic_load(&c->failed);
        l->error = atomic_load(&c->error);
    }
    if (!l->failed && sandbox_process_read(s->proc, l->pid, &p) == RC_OK)
        l->start = p.start;
}

static void thread_main(void *arg)
{
    struct sandbox_launcher *s = arg;
    struct sandbox_launch *l;
    sigset_t all;

    /* The child begins with this mask, before its handlers are gone for good. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    enter_namespaces(s);
    uv_sem_post(&s->ready);
    if (s->failed)
        return;

    uv_mutex_lock(&s->lock);
    while (!s->stopping) {
        l = queue_take(&s->todo);
        if (!l) {
            uv_cond_wait(&s->wake, &s->lock);
            continue;
        }
        uv_mutex_unlock(&s->lock);
        launch(s, l);
        uv_mutex_lock(&s->lock);
        queue_put(&s->done, l);
        uv_async_send(&s->async);
    }
    uv_mutex_unlock(&s->lock);
}

/*----- the loop -----*/

static void on_async(uv_async_t *async)
{
    struct sandbox_launcher *s = async->data;
    struct sandbox_launch *l;

    for (;;) {
        uv_mutex_lock(&s->lock);
        l = queue_take(&s->done);
        uv_mutex_unlock(&s->lock);
        if (!l)
            return;
        l->done(l);
    }
}

static void on_closed(uv_handle_t *h)
{
    struct sandbox_launcher *s = h->data;

    munmap(s->stack, STACK_BYTES);
    uv_mutex_destroy(&s->lock);
    uv_cond_destroy(&s->wake);
    uv_sem_destroy(&s->ready);
    free(s);
}

enum rc sandbox_launcher_start(struct sandbox_launcher **out, uv_loop_t *loop, int proc, char *why,
                               size_t size)
{
    struct sandbox_launcher *s = calloc(1, sizeof *s);

    if (!s)
        return RC_NOMEM;
    s->proc = proc;
    queue_init(&s->todo);
    queue_init(&s->done);
    s->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (s->stack == MAP_FAILED) {
        free(s);
        return RC_NOMEM;
    }
    CHECK(uv_mutex_init(&s->lock) == 0 && uv_cond_init(&s->wake) == 0);
    CHECK(uv_sem_init(&s->ready, 0) == 0);
    CHECK(uv_async_init(loop, &s->async, on_async) == 0);
    s->async.data = s;
    CHECK(uv_thread_create(&s->thread, thread_main, s) == 0);

    uv_sem_wait(&s->ready);
    if (s->failed) {
        snprintf(why, size,
                 "sandbox: could not %s: %s; run roomkeyd as root, outside of a chroot, and of a "
                 "container that forbids namespaces",
                 s->failed, strerror(s->error));
        uv_thread_join(&s->thread);
        uv_close((uv_handle_t *)&s->async, on_closed);
        return RC_DENIED;
    }
    *out = s;
    return RC_OK;
}

void sandbox_launcher_submit(struct sandbox_launcher *s, struct sandbox_launch *l)
{
    uv_mutex_lock(&s->lock);
    queue_put(&s->todo, l);
    uv_cond_signal(&s->wake);
    uv_mutex_unlock(&s->lock);
}

void sandbox_launcher_stop(struct sandbox_launcher *s)
{
    struct sandbox_launch *l;

    uv_mutex_lock(&s->lock);
    s->stopping = true;
    uv_cond_signal(&s->wake);
    uv_mutex_unlock(&s->lock);
    uv_thread_join(&s->thread);

    on_async(&s->async);
    while ((l = queue_take(&s->todo))) {
        l->failed = STEP_TIMEOUT;
        l->error = ECANCELED;
        l->pidfd = -1;
        l->done(l);
    }
    uv_close((uv_handle_t *)&s->async, on_closed); /* frees s later */
}
