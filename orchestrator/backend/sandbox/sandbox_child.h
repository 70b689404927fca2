/* What happens between clone3 and exec, in the new process.
 *
 * The child shares the parent's memory (CLONE_VM: copying the page tables of a
 * daemon would cost more than all the rest) and runs while the parent does, so it
 * calls the kernel and nothing else: no C library, no errno, no allocation.
 *
 * The happy path: descriptors -> session, signals, host name -> wait until the
 * parent has written the id maps -> limits, ids, capabilities -> seccomp ->
 * execveat.  Failure: `failed` and `error` say which step and why, and it exits; also when
 * roomkeyd dies before it is its own user. */
#ifndef SANDBOX_CHILD_H
#define SANDBOX_CHILD_H

#include <linux/filter.h>
#include <linux/sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>

#include "common/core/launch.h"

/* X(id, what was being done, what a person can do about it) */
#define SANDBOX_STEPS(X)                                                                        \
    X(STEP_CLONE, "create its namespaces",                                                      \
      "roomkeyd needs root, and user.max_*_namespaces above 0")                                 \
    X(STEP_PROC, "write its id maps", "/proc must be mounted and roomkeyd root")                \
    X(STEP_DESCRIPTORS, "place its descriptors", "raise roomkeyd's limit of open files")        \
    X(STEP_SESSION, "leave roomkeyd's session", "see `roomkey doctor`")                         \
    X(STEP_HOSTNAME, "set its host name", "see `roomkey doctor`")                               \
    X(STEP_LIMITS, "set its resource limits", "raise roomkeyd's own hard limits")               \
    X(STEP_CAPABILITIES, "drop capabilities", "see `roomkey doctor`")                           \
    X(STEP_USER, "become its own user", "see `roomkey doctor`")                                 \
    X(STEP_SECCOMP, "install the system call filter", "the kernel needs CONFIG_SECCOMP_FILTER") \
    X(STEP_EXEC, "execute the image",                                                           \
      "it must be a static x86-64 program that others may execute (mode 0511), "                \
      "on a file system without noexec")                                                        \
    X(STEP_TIMEOUT, "start within 5 s", "the host is overloaded")

enum sandbox_step {
    STEP_NONE,
#define X(id, what, advice) id,
    SANDBOX_STEPS(X)
#undef X
        STEP_NR
};

/* Descriptors an instance of so many channels has: 0 … n - 1. */
#define SANDBOX_FDS(channels) ((unsigned)LAUNCH_FD_CHANNEL_MEMORY(channels))
#define SANDBOX_FDS_MAX       SANDBOX_FDS(LAUNCH_CHANNELS_MAX)

/* Where the image is while it is executed: above all that an instance can have,
 * and the same for each, so that one filter fits all. */
#define SANDBOX_IMAGE_FD ((int)SANDBOX_FDS_MAX)

/* The path that execveat gets; the filter knows its address. */
extern const char sandbox_child_path[1];

/* The id of an instance inside its user namespace. */
#define SANDBOX_INSIDE_ID 1000

/* From its clone to its image. */
#define SANDBOX_START_SECONDS 5

#define SANDBOX_LIMITS 12
struct sandbox_limit {
    int resource;
    struct rlimit value;
};

/* Parent and child; all borrowed, valid until the child has executed the image. */
struct sandbox_child {
    /* Parent, before. */
    int fds[SANDBOX_FDS_MAX]; /* by number in the child */
    unsigned nfds;
    int image_fd;
    char *const *argv;
    const struct sock_fprog *filter;
    struct sandbox_limit limits[SANDBOX_LIMITS];
    unsigned nlimits;

    _Atomic uint32_t mapped;  /* futex, parent: 1 = go on, 2 = give up */
    _Atomic uint32_t running; /* futex, kernel: 0 once it has executed or is gone */

    /* Child. */
    _Atomic int failed; /* enum sandbox_step */
    _Atomic int error;  /* errno */
};

/* clone3 into sandbox_child's story.  Returns the pid, or -errno. */
long sandbox_child_clone(struct clone_args *args, struct sandbox_child *c);

#endif
