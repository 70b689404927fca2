/* Limits by cgroup v2, where the host has its memory controller: MOUNT/roomkey/UID,
 * one folder an instance, named by its user, which no two share.
 *
 * Beside systemd's tree as Docker's cgroupfs driver is, and not in roomkeyd's own
 * unit: an instance outlives roomkeyd, and a unit whose cgroup hands controllers
 * down cannot be started a second time. */
#ifndef SANDBOX_CGROUP_H
#define SANDBOX_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/core/rc.h"

struct sandbox_cgroup {
    int parent_fd; /* owned; -1: there are only rlimits */
};

/* `why`: empty, or the warning for an operator.  No cgroups is no failure. */
void sandbox_cgroup_init(struct sandbox_cgroup *c, char *why, size_t size);
void sandbox_cgroup_dispose(struct sandbox_cgroup *c);

/* A folder with limits, to clone into.  RC_OK and *fd = -1 where there are none;
 * else *fd is the caller's. */
RC_MUST_CHECK enum rc sandbox_cgroup_make(struct sandbox_cgroup *c, uid_t uid, uint64_t memory,
                                          int *fd);
/* Whether the kernel had to end it for its memory. */
bool sandbox_cgroup_was_full(struct sandbox_cgroup *c, uid_t uid);
/* After its process is gone. */
void sandbox_cgroup_remove(struct sandbox_cgroup *c, uid_t uid);
/* Those of these users, both included, that are not ours and empty: of instances that ended while
 * no orchestrator ran. */
void sandbox_cgroup_sweep(struct sandbox_cgroup *c, uid_t first, uid_t last,
                          bool (*is_ours)(void *arg, uid_t uid), void *arg);

/* The parts, for tests on hosts without the controller. */
bool sandbox_cgroup_parse_mount(const char *mountinfo, char *out, size_t size);
RC_MUST_CHECK enum rc sandbox_cgroup_make_at(int parent, const char *name, int *fd);
RC_MUST_CHECK enum rc sandbox_cgroup_limit(int fd, uint64_t memory);

#endif
