/* The sandbox of a worker: as user roomkey-front, or WORKER_UID without one. */
#ifndef TLS_FRONT_WORKER_SANDBOX_H
#define TLS_FRONT_WORKER_SANDBOX_H

#include "common/core/rc.h"

#define WORKER_USER "roomkey-front"
#define WORKER_UID  64321u

/* `user` may be NULL.  `files`: the open folder of the worker that serves files; -1: none. */
RC_MUST_CHECK enum rc worker_sandbox_enter(const char *user, int files);

#endif
