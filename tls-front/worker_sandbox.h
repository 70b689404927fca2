/* The sandbox of a worker: as user roomkey-front, or WORKER_UID without one. */
#ifndef TLS_FRONT_WORKER_SANDBOX_H
#define TLS_FRONT_WORKER_SANDBOX_H

#include <stdbool.h>

#include "common/core/rc.h"

#define WORKER_USER "roomkey-front"
#define WORKER_UID  64321u

/* `user` may be NULL.  `files`: the worker that serves files below an open folder. */
RC_MUST_CHECK enum rc worker_sandbox_enter(const char *user, bool files);

#endif
