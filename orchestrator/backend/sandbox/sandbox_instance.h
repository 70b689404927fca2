/* The ground "sandbox" and its instances, for the files of this folder. */
#ifndef SANDBOX_INSTANCE_H
#define SANDBOX_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <uv.h>

#include "common/core/sm.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/console.h"
#include "orchestrator/backend/sandbox/sandbox_cgroup.h"
#include "orchestrator/backend/sandbox/sandbox_channels.h"
#include "orchestrator/backend/sandbox/sandbox_filter.h"
#include "orchestrator/backend/sandbox/sandbox_launcher.h"

#define SANDBOX_ARGS      5
#define SANDBOX_ARG_BYTES 320

/* Host ids of instances: 0x40000000 + 13 bits of a hash of the state folder + the
 * low 16 bits of the instance's id.  No two living instances of an orchestrator
 * share a user; two orchestrators of one host hardly ever overlap, and where they
 * would, RLIMIT_NPROC refuses the second instance. */
#define SANDBOX_UID_BASE          0x40000000u
#define SANDBOX_UID_HOUSE_MASK    0x1fffu
#define SANDBOX_UID_INSTANCE_MASK 0xffffu

struct backend {
    uv_loop_t *loop;
    struct sandbox_launcher *launcher; /* owned */
    struct sandbox_filter filter;
    int proc_fd; /* owned: the host's /proc */
    int null_fd; /* owned */
    uid_t uid_base;
    struct sandbox_cgroup cgroup;
    char *state; /* owned: the state folder's resolved path */
    LIST_HEAD(, backend_instance) instances;
};

/* Of an instance. */
enum { STARTING, FAILING, RUNNING, GONE, STATE_NR };

struct backend_instance {
    struct backend *backend; /* borrowed */
    LIST_ENTRY(backend_instance) others;
    struct backend_events events;
    void *arg;
    struct sm sm;
    bool disposed;
    bool kill_asked; /* while STARTING */
    struct sandbox_channels channels;
    struct console console;
    int console_fd; /* owned until launched: the instance's end */
    int image_fd;   /* owned until launched */
    int cgroup_fd;  /* owned until launched; -1: none */
    int pidfd;      /* owned */
    pid_t pid;
    uint64_t start;
    uid_t uid;
    uv_poll_t exited;
    bool polling; /* `exited` is initialised */
    unsigned open_handles;
    struct backend_exit why;
    struct sandbox_launch launch;
    char args[SANDBOX_ARGS][SANDBOX_ARG_BYTES];
    char *argv[SANDBOX_ARGS + 1];
};

/* See backend.h. */
enum rc sandbox_instance_start(struct backend *b, const struct backend_spec *spec,
                               const struct backend_events *events, void *arg,
                               struct backend_instance **out);
enum rc sandbox_adopt(struct backend *b, const struct backend_handle *handle, unsigned channels,
                      const struct backend_events *events, void *arg,
                      struct backend_instance **out);
void sandbox_instance_kill(struct backend_instance *i);
void sandbox_instance_dispose(struct backend_instance *i);
enum rc sandbox_instance_pause(struct backend_instance *i, bool paused);
void sandbox_instance_handle(const struct backend_instance *i, struct backend_handle *out);
enum rc sandbox_instance_usage(const struct backend_instance *i, struct backend_usage *out);
enum rc sandbox_instance_control(struct backend_instance *i, struct backend_channel *out);
enum rc sandbox_instance_channel(struct backend_instance *i, unsigned index,
                                 struct backend_channel *out);

/* What starting and adopting share.  A new instance has nothing in it: free() undoes it. */
struct backend_instance *sandbox_instance_new(struct backend *b,
                                              const struct backend_events *events, void *arg,
                                              uint64_t id);
/* Its console, silent until it runs; `fd` is consumed. */
RC_MUST_CHECK enum rc sandbox_instance_console(struct backend_instance *i, int fd);
/* Its end will be seen. */
void sandbox_instance_watch(struct backend_instance *i);
/* It runs. */
void sandbox_instance_running(struct backend_instance *i);

#endif
