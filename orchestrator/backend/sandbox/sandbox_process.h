/* What /proc tells of a process.  `proc` is a descriptor of the host's /proc. */
#ifndef SANDBOX_PROCESS_H
#define SANDBOX_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "common/core/rc.h"

struct sandbox_process {
    uint64_t start;  /* clock ticks since the host's boot: with the pid, unique */
    uint64_t cpu_us; /* user and system */
    uid_t uid;       /* as the host sees it */
    char state;      /* R, S, T, Z, … */
};

/* Both: RC_NOT_FOUND when there is no such process. */
RC_MUST_CHECK enum rc sandbox_process_read(int proc, pid_t pid, struct sandbox_process *out);
/* Bytes resident. */
RC_MUST_CHECK enum rc sandbox_process_memory(int proc, pid_t pid, uint64_t *bytes);

#endif
