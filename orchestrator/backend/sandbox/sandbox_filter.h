/* The system calls of an instance, as a seccomp filter: the image's own table
 * (common/core/image_calls.h), arguments checked, and the one execveat that turns
 * the child into the image.  Anything else kills the instance: an attack that is
 * answered with an error looks like a bug and may be tried again.
 *
 * Built once by libseccomp; installed by each child with the bare system call. */
#ifndef SANDBOX_FILTER_H
#define SANDBOX_FILTER_H

#include <linux/filter.h>

#include "common/core/rc.h"

struct sandbox_filter {
    struct sock_fprog program; /* owned */
};

RC_MUST_CHECK enum rc sandbox_filter_init(struct sandbox_filter *f);
void sandbox_filter_dispose(struct sandbox_filter *f);

#endif
