/* Instances that an earlier orchestrator left and nobody knows any more. */
#ifndef SANDBOX_SWEEP_H
#define SANDBOX_SWEEP_H

#include <stdbool.h>
#include <sys/types.h>

/* Kills, and waits (1 s for all together) for, each process that has a user of [uid_first,
 * uid_last], runs a file below `state` (an absolute, resolved path) and whose user `is_ours` does
 * not know. Both marks, since neither can be changed by an instance, and a user number alone might
 * be another orchestrator's. */
void sandbox_sweep(int proc, const char *state, uid_t uid_first, uid_t uid_last,
                   bool (*is_ours)(void *arg, uid_t uid), void *arg);

#endif
