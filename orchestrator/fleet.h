/* The fleet: all that runs, for whoever has to do with it.  The front's workers
 * come in by workers.c's calls, admins by the others, daemon.c opens and closes it.
 *
 * The happy path: fleet_open -> fleet_adopt -> fleet_worker_hello … fleet_wake …
 * -> fleet_stop -> fleet_close.
 *
 * Everything here is for the loop thread, never blocks it, and no callback comes
 * from inside the call that asked for it unless it says so.  A wake is refused
 * only for an unknown or suspended tenant, for a first version that does not
 * start, or when its deadline passes. */
#ifndef ORCHESTRATOR_FLEET_H
#define ORCHESTRATOR_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/core/control.h"
#include "common/core/launch.h"
#include "common/core/rc.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/cert_store.h"
#include "orchestrator/histogram.h"
#include "orchestrator/image_store.h"
#include "orchestrator/registry.h"

struct fleet;

/* Every bound and every deadline (ms), by their names in roomkey.toml; each is
 * explained in docs/CONFIG.md.  X(name, default, least, most) */
#define FLEET_BOUNDS(X)                    \
    X(channels, 8, 1, LAUNCH_CHANNELS_MAX) \
    X(max_running, 2000, 1, 1000000)       \
    X(max_memory_mib, 0, 0, 1u << 30)      \
    X(max_starting, 32, 1, 10000)          \
    X(max_waiting, 16384, 1, 1u << 24)     \
    X(crashes, 3, 1, 1000)                 \
    X(trial_crashes, 3, 1, 1000)           \
    X(log_lines, 200, 1, 8192)             \
    X(log_size_kib, 1024, 4, 1u << 20)

#define FLEET_DEADLINES(X)             \
    X(start, 10000, 10, 600000)        \
    X(trial_start, 5000, 10, 600000)   \
    X(drain, 10000, 10, 600000)        \
    X(retire, 3600000, 10, 604800000)  \
    X(stop, 5000, 10, 600000)          \
    X(stop_grace, 1000, 0, 60000)      \
    X(kill, 5000, 10, 600000)          \
    X(health, 2000, 10, 60000)         \
    X(busy_max, 3600000, 0, 604800000) \
    X(reset, 5000, 10, 60000)          \
    X(worker_grace, 3000, 0, 60000)    \
    X(pause, 500, 1, 60000)            \
    X(pause_max, 60000, 1, 3600000)    \
    X(crash_soon, 5000, 0, 600000)     \
    X(proof, 10000, 0, 3600000)        \
    X(max_wait, 600000, 0, 604800000)  \
    X(slow_wake, 1000, 1, 600000)      \
    X(shutdown, 20000, 10, 600000)

struct fleet_limits {
#define X(name, standard, least, most) uint32_t name;
    FLEET_BOUNDS(X)
#undef X
#define X(name, standard, least, most) uint32_t name##_ms;
    FLEET_DEADLINES(X)
#undef X
};

void fleet_limits_init(struct fleet_limits *limits);

/* How the fleet speaks to a worker.  `fds` are borrowed.  A worker that is not
 * there hears nothing; a failure is the front's to handle, later. */
struct fleet_front {
    void (*send)(void *arg, unsigned worker, const struct control_msg *m, const int *fds,
                 size_t nfds);
    void *arg;
};

struct fleet_config {
    uv_loop_t *loop;
    bool virtual_time; /* tests: alarms ring by fleet_alarms() only */
    struct registry *registry;
    struct image_store *images;
    struct cert_store *certs; /* NULL: routes carry no certificates */
    const struct backend_ops *ops;
    struct backend *backend;
    struct fleet_front front;
    struct fleet_limits limits;
    const char *state_dir;
};

/* All in `config` but the texts is borrowed until fleet_close(). */
RC_MUST_CHECK enum rc fleet_open(const struct fleet_config *config, struct fleet **out);
/* Takes over what an earlier roomkeyd left running; ends the rows of what is gone. */
void fleet_adopt(struct fleet *f);

typedef void fleet_cb(void *arg, enum rc rc);

/* Ends all instances (`leave`: leaves them running, for the next roomkeyd), within
 * shutdown_ms; new wakes are refused.  Then `cb`. */
void fleet_stop(struct fleet *f, bool leave, fleet_cb *cb, void *arg);
/* After fleet_stop()'s callback, or at any time for instances that live on. */
void fleet_close(struct fleet *f);

struct alarms *fleet_alarms(struct fleet *f);

/*----- workers -----*/

/* The peer said HELLO: its version is right, and there is a channel for it. */
void fleet_worker_hello(struct fleet *f, unsigned worker);
/* Any later message of it.  RC_MALFORMED: it makes no sense, close the connection. */
RC_MUST_CHECK enum rc fleet_worker_message(struct fleet *f, unsigned worker,
                                           const struct control_msg *m);
/* Its connection is over; it may come back within worker_grace_ms. */
void fleet_worker_lost(struct fleet *f, unsigned worker);

/*----- admins -----*/

/* The row has changed by another's hand: settings, host names, certificates,
 * suspended, resumed.  Workers forget their routes; what must go, goes. */
void fleet_tenant_changed(struct fleet *f, uint64_t tenant);

/* Before its row goes: no wake any more, all instances go, then `cb`: remove the
 * row and say so with fleet_tenant_removed() (its log goes), or take it back by
 * fleet_tenant_changed(). */
RC_MUST_CHECK enum rc fleet_tenant_remove(struct fleet *f, uint64_t tenant, fleet_cb *cb,
                                          void *arg);
void fleet_tenant_removed(struct fleet *f, uint64_t tenant);

/* How an upgrade ended, with a line for people. */
enum fleet_upgraded {
    FLEET_UPGRADE_DONE,        /* new connections go to the new version, or asleep
                                  or suspended: the next wake runs it */
    FLEET_UPGRADE_ROLLED_BACK, /* it failed; the last good version serves */
    FLEET_UPGRADE_CANCELED,    /* another upgrade or a removal came in between */
};
typedef void fleet_upgrade_cb(void *arg, enum fleet_upgraded how, const char *text);

#define FLEET_WAIT_DEFAULT UINT64_MAX /* max_wait_ms of the configuration */

/* Writes the wish and acts on it.  `max_wait_ms` from now; 0: for ever.  RC_OK: `cb`
 * (or NULL) comes once; else a refusal. */
RC_MUST_CHECK enum rc fleet_upgrade(struct fleet *f, const char *tenant, const char *image_ref,
                                    uint64_t max_wait_ms, fleet_upgrade_cb *cb, void *arg,
                                    struct refusal *no);

/* Ends the tenant's instances as if idle; a wake meanwhile starts the next one.
 * `cb` when they are gone; RC_NOT_FOUND (no callback) when it sleeps. */
RC_MUST_CHECK enum rc fleet_instance_stop(struct fleet *f, uint64_t tenant, fleet_cb *cb,
                                          void *arg);

/*----- looking -----*/

/* What a start went through; µs after it was asked for, 0: no such step. */
struct fleet_start_steps {
    uint32_t created_us;  /* its machine stood; 0 also for one out of a pool */
    uint32_t unpaused_us; /* … and was let run */
    uint32_t entered_us;  /* the image's first instruction, by its own clock */
    uint32_t ready_us;    /* on_start had returned; 0: not yet, or taken over when it was */
};

struct fleet_instance_info {
    uint64_t id, tenant, generation;
    const char *tenant_name, *image, *state, *ground; /* borrowed during the call */
    uint32_t connections;
    int64_t started_at, ready_at;
    uint64_t memory; /* bytes resident; 0: not known */
    uint64_t cpu_us; /* of processor time since its start */
    struct fleet_start_steps start;
};
typedef void fleet_instance_cb(void *arg, const struct fleet_instance_info *info);
/* Of a tenant (0: all), by id. */
void fleet_instances(struct fleet *f, uint64_t tenant, fleet_instance_cb *cb, void *arg);
/* "absent", "failed", or its current instance's state. */
const char *fleet_tenant_state(struct fleet *f, uint64_t tenant);

/* Names are those of /metrics: roomkey_<name>. */
#define FLEET_COUNTERS(X)                                               \
    X(wakes_total)         /* WAKEs that found the tenant asleep */     \
    X(wake_requests_total) /* all WAKEs */                              \
    X(wakes_slow_total)                                                 \
    X(wakes_refused_total)                                              \
    X(wakes_timedout_total)                                             \
    X(starts_total)                                                     \
    X(starts_failed_total)                                              \
    X(crashes_total)                                                    \
    X(reaped_total)     /* stopped for being idle */                    \
    X(taken_back_total) /* a release that a wake took back */           \
    X(held_busy_total)  /* idle, but a request or a lease held it */    \
    X(rollbacks_total)                                                  \
    X(upgrades_total)                                                   \
    X(broken_total)     /* instances that broke a ring or a frame */    \
    X(complaints_total) /* … as a worker found */                     \
    X(stale_total)      /* messages about instances that are no more */ \
    X(log_lines_total)                                                  \
    X(log_lines_lost_total) /* could not be written */

struct fleet_counters {
#define X(name) uint64_t name;
    FLEET_COUNTERS(X)
#undef X
};

struct fleet_histograms {
    struct histogram queue; /* the WAKE came in -> the backend was asked */
    struct histogram spawn; /* -> the process or domain is there */
    struct histogram boot;  /* -> READY */
    struct histogram wake;  /* the WAKE came in -> its worker was told READY */
};

struct fleet_gauges {
    unsigned running, starting, queued, workers;
    uint64_t memory_bound; /* bytes, of the running ones */
    uint64_t waiting;      /* wakes that are not answered */
};

const struct fleet_counters *fleet_counters(const struct fleet *f);
const struct fleet_histograms *fleet_histograms(const struct fleet *f);
void fleet_gauges(const struct fleet *f, struct fleet_gauges *out);
/* The worker's last STATS; NULL: there is no such worker. */
const uint64_t *fleet_worker_counters(const struct fleet *f, unsigned worker);
const struct fleet_limits *fleet_limits(const struct fleet *f);
const char *fleet_ground(const struct fleet *f);

/*----- following -----*/

/* A subscriber; its memory is its own, from fleet_watch() to fleet_unwatch().
 * The callbacks may come from inside any call: note and return. */
struct fleet_watch {
    /* The registry has new events: registry_events() after the last one seen. */
    void (*on_event)(struct fleet_watch *w);
    /* A line of a tenant's log, as it is in the file, without newline. */
    void (*on_log)(struct fleet_watch *w, uint64_t tenant, const char *line);
    void *data;
    struct fleet_watch *next;
};
void fleet_watch(struct fleet *f, struct fleet_watch *w); /* either callback may be NULL */
void fleet_unwatch(struct fleet *f, struct fleet_watch *w);
/* Whoever has put an event into the registry says so. */
void fleet_events_changed(struct fleet *f);

/* STATE/logs/<tenant>.log, and its predecessor of the same size, <tenant>.log.1. */
RC_MUST_CHECK enum rc fleet_log_path(const struct fleet *f, const char *tenant, bool old, char *out,
                                     size_t size);

#endif
