/* The thread that starts instances.
 *
 * It lives in an empty, read-only root and in a network namespace without a
 * device; each instance is cloned from it and so begins there, which costs
 * nothing, and the loop never waits for a clone or an exec.  Starts are done one
 * after another, well under a millisecond each.
 *
 * The happy path: submit -> clone, id maps, exec -> done(launch) on the loop with
 * a pidfd.  Failure: done() with `failed`, and a pidfd only if a process has to be
 * waited for. */
#ifndef SANDBOX_LAUNCHER_H
#define SANDBOX_LAUNCHER_H

#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "common/core/rc.h"
#include "orchestrator/backend/sandbox/sandbox_child.h"

struct sandbox_launcher;

struct sandbox_launch {
    /* Caller fills; descriptors are borrowed until done(). */
    struct sandbox_child child; /* all but futexes and results */
    uid_t uid;                  /* the host's id for this instance, user and group */
    int cgroup_fd;              /* -1: none */
    void (*done)(struct sandbox_launch *l);
    void *data;

    /* Results. */
    enum sandbox_step failed; /* STEP_NONE: the image runs */
    int error;                /* errno */
    pid_t pid;
    int pidfd;      /* consumed by the caller; -1: no process */
    uint64_t start; /* see sandbox_process.h */
    uint64_t at_begin, at_cloned, at_mapped, at_running; /* ns, CLOCK_MONOTONIC */

    struct sandbox_launch *next; /* private */
};

/* `proc`: the host's /proc, borrowed.  `why` on failure. */
RC_MUST_CHECK enum rc sandbox_launcher_start(struct sandbox_launcher **out, uv_loop_t *loop,
                                             int proc, char *why, size_t size);
void sandbox_launcher_submit(struct sandbox_launcher *s, struct sandbox_launch *l);
/* Waits for the thread (at most one start), hands back every launch still held by
 * calling done(), with STEP_TIMEOUT where it was not begun. */
void sandbox_launcher_stop(struct sandbox_launcher *s);

#endif
