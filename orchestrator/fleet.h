/* The fleet: all that runs, for whoever has to do with it.  The front's workers
 * come in by workers.c's calls, admins by the others, main.c opens and closes it.
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
#include "common/core/rc.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/cert_store.h"
#include "orchestrator/histogram.h"
#include "orchestrator/image_store.h"
#include "orchestrator/registry.h"

struct fleet;

/* Every deadline and bound, by its name in roomkey.toml (docs/CONFIG.md).
 * X(name, default, least, most) */
#define FLEET_LIMITS(X)                                                                        \
    X(channels, 8, 1, 64)               /* front workers an instance can serve */              \
    X(max_running, 2000, 1, 1000000)    /* instances */                                        \
    X(max_memory_mib, 0, 0, 1u << 30)   /* sum of their bounds; 0: none */                     \
    X(max_starting, 32, 1, 10000)       /* starts at a time */                                 \
    X(max_waiting, 16384, 1, 1u << 24)  /* wakes a worker may have open */                     \
    X(start_ms, 10000, 10, 600000)      /* from the start to READY */                          \
    X(trial_start_ms, 5000, 10, 600000) /* the same while wakes wait for a version on trial */ \
    X(drain_ms, 10000, 10, 600000)      /* for workers to release an idle instance */          \
    X(retire_ms, 3600000, 10, 7u * 86400000)  /* for the old version's connections to end */   \
    X(stop_ms, 5000, 10, 600000)              /* for the app's on_stop */                      \
    X(stop_grace_ms, 1000, 0, 60000)          /* then until it is killed */                    \
    X(kill_ms, 5000, 10, 600000)              /* for a killed one to be gone */                \
    X(health_ms, 2000, 10, 60000)             /* to answer a health question */                \
    X(busy_max_ms, 3600000, 0, 7u * 86400000) /* that busy leases hold an idle instance */     \
    X(reset_ms, 5000, 10, 60000)              /* to clear a dead worker's channel */           \
    X(worker_grace_ms, 3000, 0, 60000)        /* for a worker to come back */                  \
    X(pause_ms, 500, 1, 60000)                /* after the first failed start; then doubled */ \
    X(pause_max_ms, 60000, 1, 3600000)                                                         \
    X(crash_soon_ms, 5000, 0, 600000)        /* after READY: such a crash counts */            \
    X(crashes, 3, 1, 1000)                   /* such crashes in a row, then a pause */         \
    X(proof_ms, 10000, 0, 3600000)           /* READY that long: the version is good */        \
    X(trial_crashes, 3, 1, 1000)             /* before that: rolled back */                    \
    X(max_wait_ms, 600000, 0, 7u * 86400000) /* of an upgrade, unless it says otherwise */     \
    X(slow_wake_ms, 1000, 1, 600000)         /* what counts as slow */                         \
    X(shutdown_ms, 20000, 10, 600000)        /* to end all instances at SIGTERM */             \
    X(log_lines, 200, 1, 100000)             /* of an instance in a second */                  \
    X(log_size_kib, 1024, 4, 1u << 20)       /* of a tenant's log; twice that is kept */

struct fleet_limits {
#define X(name, standard, least, most) uint32_t name;
    FLEET_LIMITS(X)
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

/* The peer said HELLO (its version is right): RC_OK, or RC_INVAL: no such channel. */
RC_MUST_CHECK enum rc fleet_worker_hello(struct fleet *f, unsigned worker, uint32_t pid);
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
 * row and say so with fleet_tenant_removed(), or take it back by
 * fleet_tenant_changed(). */
RC_MUST_CHECK enum rc fleet_tenant_remove(struct fleet *f, uint64_t tenant, fleet_cb *cb,
                                          void *arg);
void fleet_tenant_removed(struct fleet *f, uint64_t tenant);

/* How an upgrade ended, with a line for people. */
enum fleet_upgraded {
    FLEET_UPGRADE_DONE,        /* new connections go to the new version, or asleep:
                                  the next wake runs it */
    FLEET_UPGRADE_ROLLED_BACK, /* it failed; the last good version serves */
    FLEET_UPGRADE_CANCELED,    /* another upgrade, suspend or remove came in between */
};
typedef void fleet_upgrade_cb(void *arg, enum fleet_upgraded how, const char *text);

#define FLEET_WAIT_DEFAULT UINT64_MAX /* max_wait_ms of the configuration */

/* Writes the wish and acts on it.  `max_wait_ms` from now; 0: for ever.  RC_OK: `cb`
 * (or NULL) comes once; else a refusal. */
RC_MUST_CHECK enum rc fleet_upgrade(struct fleet *f, const char *tenant, const char *image_ref,
                                    uint64_t max_wait_ms, fleet_upgrade_cb *cb, void *arg,
                                    struct refusal *no);
/* Whoever asked has gone: its callback will not come. */
void fleet_upgrade_forget(struct fleet *f, void *arg);

/* Ends the tenant's instances as if idle; a wake meanwhile starts the next one.
 * `cb` when they are gone; RC_NOT_FOUND (no callback) when it sleeps. */
RC_MUST_CHECK enum rc fleet_instance_stop(struct fleet *f, uint64_t tenant, fleet_cb *cb,
                                          void *arg);
/* Likewise for fleet_instance_stop() and fleet_tenant_remove(). */
void fleet_forget_waiter(struct fleet *f, void *arg);

/*----- looking -----*/

struct fleet_instance_info {
    uint64_t id, tenant, generation;
    const char *tenant_name, *image, *state, *ground; /* borrowed during the call */
    uint32_t connections;
    int64_t started_at, ready_at;
    uint64_t memory; /* bytes resident; 0: not known */
};
typedef void fleet_instance_cb(void *arg, const struct fleet_instance_info *info);
/* Of a tenant (0: all), by id. */
void fleet_instances(struct fleet *f, uint64_t tenant, fleet_instance_cb *cb, void *arg);
/* "absent", "failed", or its current instance's state; `why` (may be NULL) tells of
 * a failure. */
const char *fleet_tenant_state(struct fleet *f, uint64_t tenant, const char **why);

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
