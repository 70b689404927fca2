#include "tls-front/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static enum rc fail(const struct sandbox *s, const char *what)
{
    log_error("%s: %s: %s", s->who, what, strerror(errno));
    return RC_DENIED;
}

/* A folder that has no name any more: nothing can be put there. */
static enum rc empty_root(const struct sandbox *s)
{
    char path[] = "/tmp/roomkey-front.XXXXXX";

    if (!mkdtemp(path))
        return fail(s, "a folder to be locked into cannot be made in /tmp");
    if (chdir(path) != 0 || rmdir(path) != 0 || chroot(".") != 0)
        return fail(s, "it cannot be locked into an empty folder");
    return RC_OK;
}

/* Above an open folder that is not the root, there is a way up. */
static enum rc enter_root(const struct sandbox *s)
{
    if (s->files < 0)
        return empty_root(s);
    return fchdir(s->files) == 0 && chroot(".") == 0
               ? RC_OK
               : fail(s, "it cannot be locked into the folder that it serves");
}

static enum rc drop_user(const struct sandbox *s)
{
    const struct passwd *pw = getpwnam(s->user ? s->user : s->standard_user);
    uid_t uid = s->standard_uid;
    gid_t gid = s->standard_uid;

    if (!pw && s->user) {
        log_error("--user %s: there is no such user", s->user);
        return RC_DENIED;
    }
    if (pw) {
        uid = pw->pw_uid;
        gid = pw->pw_gid;
    }
    if (uid == 0) {
        log_error("%s: it does not run as root: give it another user", s->who);
        return RC_DENIED;
    }
    if (enter_root(s))
        return RC_DENIED;
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return fail(s, "it cannot change its user");
    /* Leaving user id 0 for good has emptied the capability sets (capabilities(7)). */
    return RC_OK;
}

static enum rc limit(const struct sandbox *s, __rlimit_resource_t what, rlim_t to)
{
    struct rlimit r = {to, to};

    return setrlimit(what, &r) == 0 ? RC_OK : fail(s, "a resource limit cannot be set");
}

/*----- the system calls -----*/

int sandbox_add_calls(scmp_filter_ctx ctx, const int *calls, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
    return r;
}

/* What the C library and CHECK() need in each process. */
static int add_calls(scmp_filter_ctx ctx, const struct sandbox *s)
{
    static const int calls[] = {
        SCMP_SYS(clock_gettime),   SCMP_SYS(write),
        SCMP_SYS(recvmsg),         SCMP_SYS(close),
        SCMP_SYS(fstat),           SCMP_SYS(pread64),
        SCMP_SYS(munmap),          SCMP_SYS(brk),
        SCMP_SYS(mremap),          SCMP_SYS(madvise),
        SCMP_SYS(futex),           SCMP_SYS(getrandom),
        SCMP_SYS(getpid),          SCMP_SYS(gettid),
        SCMP_SYS(rt_sigprocmask),  SCMP_SYS(exit),
        SCMP_SYS(exit_group),      SCMP_SYS(rt_sigreturn),
        SCMP_SYS(restart_syscall),
    };
    int r = sandbox_add_calls(ctx, calls, sizeof calls / sizeof calls[0]);

    /* Not sendmsg(): whoever closes a descriptor that is passed to him waits as long as SO_LINGER
     * says.  And to nobody but the peer, as MSG_FASTOPEN is a connect(). */
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 2,
                             SCMP_A3(SCMP_CMP_MASKED_EQ, UINT32_MAX, MSG_NOSIGNAL),
                             SCMP_A4(SCMP_CMP_EQ, 0, 0));
    /* Memory is never made executable. */
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    /* fstat() of newer libcs; a path could only lead into the empty root. */
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                             SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
    /* Aborting: CHECK() tells the parent by a signal. */
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(rt_sigaction), 0);
    return r ? r : s->add_calls(ctx, s);
}

static enum rc filter(const struct sandbox *s)
{
    scmp_filter_ctx ctx;
    int r;

    ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!ctx)
        return fail(s, "no system call filter");
    r = add_calls(ctx, s);
    /* A binary search, not a walk along forty rules for each call. */
    if (!r)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!r)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    if (r) {
        errno = -r;
        return fail(s, "the system call filter cannot be installed");
    }
    return RC_OK;
}

enum rc sandbox_enter(const struct sandbox *s)
{
    if (SANITIZED) {
        log_warning("%s: built with a sanitizer, so not confined at all", s->who);
        return RC_OK;
    }
    if (geteuid() == 0) {
        if (drop_user(s))
            return RC_DENIED;
    } else if (s->user) {
        log_error("--user %s: only root can change to another user", s->user);
        return RC_DENIED;
    }
    /* No bound on files: it opens none, and its standard error may be one. */
    if (limit(s, RLIMIT_CORE, 0) || limit(s, RLIMIT_NPROC, 0))
        return RC_DENIED;
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(s, "it cannot give up its privileges");
    /* Changing the user has cleared it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return fail(s, "it cannot be tied to its parent");
    return filter(s);
}
