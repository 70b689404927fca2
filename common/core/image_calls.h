/* The calls of an image: all that its C library and its ground ever ask of what
 * is below.  One list, two users: the sandbox's seccomp filter lets these pass,
 * the kernel of the grounds xen and pvh answers these.  A call that is in neither
 * list, or breaks a rule, ends the instance on both.
 *
 * Numbers, errno and flags are Linux's for x86-64.  Freestanding, no code. */
#ifndef COMMON_IMAGE_CALLS_H
#define COMMON_IMAGE_CALLS_H

/* X(name, number, why) */
#define IMAGE_CALL_MAP(X)                                               \
    X(read, 0, "takes a doorbell's ring")                               \
    X(write, 1, "rings a doorbell; console")                            \
    X(mmap, 9, "malloc; channels (shared, of an inherited descriptor)") \
    X(mprotect, 10, "malloc; guard pages of stacks")                    \
    X(munmap, 11, "malloc")                                             \
    X(brk, 12, "malloc's book-keeping")                                 \
    X(rt_sigprocmask, 14, "a gone console is no SIGPIPE")               \
    X(writev, 20, "stdio: console")                                     \
    X(madvise, 28, "gives free memory back")                            \
    X(exit, 60, "the C library's last resort")                          \
    X(arch_prctl, 158, "thread-local storage, once, at the start")      \
    X(set_tid_address, 218, "the C library's start")                    \
    X(clock_gettime, 228, "time, where there is no vDSO")               \
    X(exit_group, 231, "the end")                                       \
    X(ppoll, 271, "waits for the doorbell or a deadline")               \
    X(getrandom, 318, "entropy")

/* Calls that the C library makes and can do without: always refused, harmlessly.
 * X(name, number, errno, why) */
#define IMAGE_CALL_REFUSED_MAP(X)                                                        \
    X(rt_sigaction, 13, 38 /* ENOSYS */, "signal(): there is nobody who would send any") \
    X(ioctl, 16, 25 /* ENOTTY */, "stdio asks whether it writes to a terminal: no")      \
    X(mremap, 25, 38 /* ENOSYS */, "realloc() of a large block, which copies then")

/* Conditions on arguments; all of them must hold.
 * X(name, argument counted from 0, mask, value, why): (argument & mask) == value */
#define IMAGE_CALL_RULE_MAP(X)                                    \
    X(mmap, 2, 0x4ull, 0x0ull, "no PROT_EXEC: no new code, ever") \
    X(mprotect, 2, 0x4ull, 0x0ull, "likewise")                    \
    X(arch_prctl, 0, 0xffffffffull, 0x1002ull, "ARCH_SET_FS")

enum image_call {
#define X(name, number, ...) IMAGE_CALL_##name = number,
    IMAGE_CALL_MAP(X) IMAGE_CALL_REFUSED_MAP(X)
#undef X
};

#endif
