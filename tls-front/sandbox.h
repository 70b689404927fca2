/* What a worker gives up before it reads its first byte: its user, every way to
 * regain one, and each system call that it has no use for.
 *
 * Happy path: as root, the worker's user and group, no supplementary groups, no
 * capabilities, an empty root folder; then, as anyone, no_new_privs, no core
 * dumps, not traceable, and a seccomp list, outside of which a call kills the
 * process.  Failure of any of it: logged, RC_DENIED, and the worker must end.
 *
 * A build with a sanitizer confines nothing, with a warning: the sanitizer needs
 * /proc, a tracer and many calls of its own at the end. */
#ifndef TLS_FRONT_SANDBOX_H
#define TLS_FRONT_SANDBOX_H

#include <stdbool.h>

#include "common/core/rc.h"

/* `user` NULL: roomkey-front, or SANDBOX_UID when there is no such user. */
#define SANDBOX_USER "roomkey-front"
#define SANDBOX_UID  64321u

/* `files`: the one that serves files below an open folder. */
RC_MUST_CHECK enum rc sandbox_enter(const char *user, bool files);

#endif
