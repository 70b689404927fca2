/* The calls of an image: all that its C library and its ground ever ask of what
 * is below.  One list, two users: the sandbox's seccomp filter lets these pass and
 * no other; the kernel of the ground pvh answers these and no other.
 *
 * A call that is not listed ends the instance.  Numbers are Linux's for x86-64,
 * values of errno and of flags are too.  Freestanding, no code.
 *
 * X(name, number, verdict, why): the verdict is 0 when the call is done, or the
 * errno with which it is always refused. */
#ifndef COMMON_IMAGE_CALLS_H
#define COMMON_IMAGE_CALLS_H

#define IMAGE_CALL_MAP(X)                                                               \
    X(read, 0, 0, "takes a doorbell's ring")                                            \
    X(write, 1, 0, "rings a doorbell; console")                                         \
    X(mmap, 9, 0, "malloc; channels (shared, of an inherited descriptor)")              \
    X(mprotect, 10, 0, "malloc; guard pages of stacks")                                 \
    X(munmap, 11, 0, "malloc")                                                          \
    X(brk, 12, 0, "malloc's own book-keeping")                                          \
    X(rt_sigaction, 13, 38, "abort(); there are no signal handlers")                    \
    X(rt_sigprocmask, 14, 0, "abort() and raise()")                                     \
    X(ioctl, 16, 25, "stdio asks whether it writes to a terminal: ENOTTY, it does not") \
    X(writev, 20, 0, "stdio: console")                                                  \
    X(mremap, 25, 38, "realloc() of large blocks; copies when refused (ENOSYS)")        \
    X(madvise, 28, 0, "gives free memory back")                                         \
    X(exit, 60, 0, "the C library's last resort")                                       \
    X(arch_prctl, 158, 0, "thread-local storage, once, at the start")                   \
    X(tkill, 200, 0, "abort(): SIGABRT to itself")                                      \
    X(set_tid_address, 218, 0, "the C library's start")                                 \
    X(clock_gettime, 228, 0, "time, where there is no vDSO")                            \
    X(exit_group, 231, 0, "the end")                                                    \
    X(ppoll, 271, 0, "waits for the doorbell or a deadline")                            \
    X(getrandom, 318, 0, "entropy")

/* Conditions on arguments, all of which must hold for the call to pass.
 * X(name, argument counted from 0, mask, value): (argument & mask) == value. */
#define IMAGE_CALL_RULE_MAP(X)                                  \
    X(mmap, 2, 0x4ull, 0x0ull)           /* never PROT_EXEC */  \
    X(mprotect, 2, 0x4ull, 0x0ull)       /* never PROT_EXEC */  \
    X(arch_prctl, 0, ~0x0ull, 0x1002ull) /* ARCH_SET_FS only */ \
    X(tkill, 1, ~0x0ull, 0x6ull)         /* SIGABRT only */

enum image_call {
#define X(name, number, verdict, why) IMAGE_CALL_##name = number,
    IMAGE_CALL_MAP(X)
#undef X
};

#endif
