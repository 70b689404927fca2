#include "orchestrator/backend/sandbox/sandbox_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

const char sandbox_child_path[1] = "";

/* Not the C library's: that one writes errno, which here is the parent's. */
static long call(long nr, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return r;
}

static long call3(long nr, long a, long b, long c)
{
    return call(nr, a, b, c, 0, 0);
}

__attribute__((noreturn)) static void give_up(struct sandbox_child *c, enum sandbox_step step,
                                              long r)
{
    atomic_store(&c->error, (int)-r);
    atomic_store(&c->failed, (int)step);
    for (;;)
        call3(SYS_exit_group, 127, 0, 0);
}

static void need(struct sandbox_child *c, enum sandbox_step step, long r)
{
    if (r < 0)
        give_up(c, step, r);
}

/* Sources are first moved above all targets, so that no step overwrites one. */
static void place_descriptors(struct sandbox_child *c)
{
    const long above = SANDBOX_IMAGE_FD + 1;
    long r;

    for (unsigned i = 0; i <= c->nfds; i++) {
        int *fd = i < c->nfds ? &c->fds[i] : &c->image_fd;

        if (*fd < above) {
            r = call3(SYS_fcntl, *fd, F_DUPFD, above);
            need(c, STEP_DESCRIPTORS, r);
            *fd = (int)r;
        }
    }
    for (unsigned i = 0; i < c->nfds; i++)
        need(c, STEP_DESCRIPTORS, call3(SYS_dup3, c->fds[i], (long)i, 0));
    need(c, STEP_DESCRIPTORS, call3(SYS_dup3, c->image_fd, SANDBOX_IMAGE_FD, O_CLOEXEC));

    if (c->nfds < (unsigned)SANDBOX_IMAGE_FD)
        need(c, STEP_DESCRIPTORS, call3(SYS_close_range, (long)c->nfds, SANDBOX_IMAGE_FD - 1, 0));
    need(c, STEP_DESCRIPTORS, call3(SYS_close_range, above, ~0u, 0));
}

struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

static void reset_signals(struct sandbox_child *c)
{
    struct kernel_sigaction a = {.handler = (void *)SIG_DFL};
    uint64_t none = 0;

    /* CLONE_CLEAR_SIGHAND leaves what the daemon ignores ignored. */
    for (int sig = 1; sig <= 64; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP)
            continue;
        a.handler = sig == SIGPIPE ? (void *)SIG_IGN : (void *)SIG_DFL;
        need(c, STEP_SESSION, call(SYS_rt_sigaction, sig, (long)&a, 0, sizeof a.mask, 0));
    }
    need(c, STEP_SESSION, call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof none, 0));
}

static void wait_for_maps(struct sandbox_child *c)
{
    const struct timespec most = {.tv_sec = SANDBOX_START_SECONDS};

    while (atomic_load(&c->mapped) == 0)
        if (call(SYS_futex, (long)&c->mapped, FUTEX_WAIT, 0, (long)&most, 0) == -ETIMEDOUT)
            call3(SYS_exit_group, 127, 0, 0); /* roomkeyd died before die_with_parent() */
    if (atomic_load(&c->mapped) != 1)
        call3(SYS_exit_group, 127, 0, 0);
}

static void drop_capabilities(struct sandbox_child *c)
{
    /* EINVAL: past the kernel's last one. */
    for (long cap = 0; cap <= 63; cap++) {
        long r = call3(SYS_prctl, PR_CAPBSET_DROP, cap, 0);

        if (r == -EINVAL)
            break;
        need(c, STEP_CAPABILITIES, r);
    }
    need(c, STEP_CAPABILITIES, call3(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0));
}

static void become_user(struct sandbox_child *c)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    const long id = SANDBOX_INSIDE_ID;

    need(c, STEP_USER, call3(SYS_setgroups, 0, 0, 0));
    need(c, STEP_USER, call3(SYS_setresgid, id, id, id));
    need(c, STEP_USER, call3(SYS_setresuid, id, id, id));
    need(c, STEP_CAPABILITIES, call3(SYS_capset, (long)&head, (long)none, 0));
}

/* Of a roomkeyd that is killed now nobody would know it.  To become its own user ends this: then
 * a sweep knows it by that. */
static void die_with_parent(struct sandbox_child *c)
{
    need(c, STEP_SESSION, call3(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0));
}

__attribute__((noreturn)) static void child_main(struct sandbox_child *c)
{
    static const char name[] = "instance";
    static char *const no_env[] = {NULL};

    die_with_parent(c);
    place_descriptors(c);
    need(c, STEP_SESSION, call3(SYS_setsid, 0, 0, 0));
    reset_signals(c);
    need(c, STEP_HOSTNAME, call3(SYS_sethostname, (long)name, sizeof name - 1, 0));
    need(c, STEP_HOSTNAME, call3(SYS_setdomainname, (long)"", 0, 0));
    drop_capabilities(c);
    wait_for_maps(c);
    become_user(c);
    for (unsigned i = 0; i < c->nlimits; i++)
        need(c, STEP_LIMITS,
             call(SYS_prlimit64, 0, c->limits[i].resource, (long)&c->limits[i].value, 0, 0));
    need(c, STEP_SECCOMP, call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    need(c, STEP_SECCOMP, call3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)c->filter));
    give_up(c, STEP_EXEC,
            call(SYS_execveat, SANDBOX_IMAGE_FD, (long)sandbox_child_path, (long)c->argv,
                 (long)no_env, AT_EMPTY_PATH));
}

long sandbox_child_clone(struct clone_args *args, struct sandbox_child *c)
{
    register struct sandbox_child *arg __asm__("r12") = c;
    long r;

    /* The child starts on a stack of its own, with all other registers alike. */
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%[fn]\n\t"
                     "1:"
                     : "=a"(r)
                     : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), [fn] "b"(child_main), "r"(arg)
                     : "rcx", "r11", "memory");
    return r;
}
