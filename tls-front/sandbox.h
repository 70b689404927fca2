/* What a child of the front gives up before it reads its first byte: its user, every
 * way to regain one, and each system call that it has no use for.
 *
 * Happy path: as root, the child's user and group, no supplementary groups, no
 * capabilities, a root folder that is empty or holds what it serves; then, as anyone, no_new_privs,
 * no core dumps, not traceable, and a seccomp list, outside of which a call kills the process.
 * Failure of any of it: logged, RC_DENIED, and the child must end.
 *
 * A build with a sanitizer confines nothing, with a warning: the sanitizer needs
 * /proc, a tracer and many calls of its own at the end. */
#ifndef TLS_FRONT_SANDBOX_H
#define TLS_FRONT_SANDBOX_H

#include <seccomp.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/core/rc.h"

struct sandbox {
    const char *who;           /* in the log */
    const char *user;          /* that must be there; or NULL: */
    const char *standard_user; /* this one, or the id when there is no such user */
    uid_t standard_uid;
    int files; /* an open folder: it serves files there, and this is its root; -1: none */
    /* Adds what this child calls to what all do; 0 or -errno. */
    int (*add_calls)(scmp_filter_ctx ctx, const struct sandbox *s);
};

RC_MUST_CHECK enum rc sandbox_enter(const struct sandbox *s);

/* For add_calls(): `n` calls with any arguments. */
int sandbox_add_calls(scmp_filter_ctx ctx, const int *calls, size_t n);

#endif
