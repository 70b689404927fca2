/* What a child of the front gives up before it reads its first byte: its user, every
 * way to regain one, and each system call that it has no use for.
 *
 * Happy path: as root, the child's user and group, no supplementary groups, no
 * capabilities, an empty root folder; then, as anyone, no_new_privs, no core
 * dumps, not traceable, and a seccomp list, outside of which a call kills the
 * process.  Failure of any of it: logged, RC_DENIED, and the child must end.
 *
 * A build with a sanitizer confines nothing, with a warning: the sanitizer needs
 * /proc, a tracer and many calls of its own at the end. */
#ifndef TLS_FRONT_SANDBOX_H
#define TLS_FRONT_SANDBOX_H

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/core/rc.h"

struct sandbox {
    const char *who;           /* in the log */
    const char *user;          /* that must be there; or NULL: */
    const char *standard_user; /* this one, or the id when there is no such user */
    uid_t standard_uid;
    bool files; /* the add_calls() of workers: it serves files below an open folder */
    /* Adds what this child calls to what all do; 0 or -errno. */
    int (*add_calls)(scmp_filter_ctx ctx, const struct sandbox *s);
};

RC_MUST_CHECK enum rc sandbox_enter(const struct sandbox *s);

/* For add_calls(): `n` calls with any arguments. */
int sandbox_add_calls(scmp_filter_ctx ctx, const int *calls, size_t n);

#endif
