/* One instance: from the backend's start (or adoption) to its exit.
 *
 * The happy path:  STARTING -> READY <-> IDLE -> DRAINING -> STOPPING -> ENDED
 * where READY is in use, IDLE is running without a connection, DRAINING waits for
 * the workers to let go, STOPPING for the exit.  A wake takes DRAINING back to
 * READY, unless the instance is being retired.
 * Failures: it exits, breaks its channel, or misses a deadline in any state: then
 * it is killed, `why` says what happened, and it is ENDED once the backend has
 * said so.  There is no state without a deadline but READY and IDLE, whose alarm
 * is the idle clock.
 *
 * Callbacks note a fact and call tenant_step(), which calls instance_step(): all
 * decisions are in the one step function, in time order.  Milliseconds unless a
 * name ends in _us. */
#ifndef ORCHESTRATOR_INSTANCE_H
#define ORCHESTRATOR_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv/tree.h>

#include "common/core/launch.h"
#include "common/core/mux.h"
#include "common/core/sm.h"
#include "orchestrator/alarm.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/registry.h"

struct fleet;
struct link;
struct tenant;

enum instance_state {
    INSTANCE_STARTING,
    INSTANCE_READY,
    INSTANCE_IDLE,
    INSTANCE_DRAINING,
    INSTANCE_STOPPING,
    INSTANCE_ENDED,
    INSTANCE_STATE_NR
};

/* Channel i, seen from here: who has it.  See slots.c. */
enum slot_state {
    SLOT_FREE,      /* the tenant waits for a client */
    SLOT_HELD,      /* the worker was given it */
    SLOT_RELEASING, /* the worker was asked to let go */
    SLOT_RELEASED,  /* it has, but keeps it mapped */
    SLOT_RESETTING, /* the tenant was told; it owes us a SLOT */
    SLOT_UNKNOWN,   /* one of us was away: the worker has not yet said */
    SLOT_LEAVING,   /* the worker came back too late: it is told to let go */
};

struct slot {
    enum slot_state state;
    uint32_t connections; /* as the worker last said */
    uint32_t given;       /* READYs of which it has not said that they cannot be mapped */
    bool fenced;          /* what it says is older than our last word */
    struct instance *owner;
    struct alarm alarm; /* RESETTING */
};

/* The health question that comes before an end. */
enum instance_question {
    QUESTION_NONE,
    QUESTION_OUT,      /* `alarm` is its deadline */
    QUESTION_ANSWERED, /* `health` is the answer */
    QUESTION_BUSY,     /* it was "busy": look again at `alarm` */
};

struct instance {
    struct sm sm;
    struct fleet *fleet;   /* borrowed */
    struct tenant *tenant; /* borrowed; the owner */
    struct instance *next; /* in the tenant's list */
    RB_ENTRY(instance) by_id;

    uint64_t id, generation;
    uint64_t image;
    char image_ref[REGISTRY_REF_SIZE];
    char image_name[REGISTRY_NAME_SIZE], image_version[REGISTRY_NAME_SIZE]; /* of its READY */
    uint64_t memory;                                                        /* bytes, its bound */
    uint32_t idle_ms;
    uint32_t own_ms; /* it may take to be ready once it runs */

    struct backend_instance *backend; /* owned; NULL: the start was refused */
    struct link *link;                /* owned; NULL until started */
    struct alarm alarm;               /* of the state: see above */
    unsigned channels;
    struct slot *slots; /* owned */

    /* Wishes of the tenant. */
    bool retire;        /* stop for good; connections may finish until the deadline */
    bool patient;       /* … and busy leases too */
    uint64_t retire_us; /* that deadline, monotonic */

    /* Facts. */
    bool adopted, started, ready, exited, rang;
    bool leaving; /* adopted, and an earlier roomkeyd has told it to stop */
    bool killed;
    enum instance_question question;
    uint64_t token;
    struct mux_health health;
    struct backend_exit exit;
    char why[BACKEND_TEXT_MAX]; /* we end it; empty: we do not */
    bool stopped;               /* it ended as we asked */
    bool left_badly;            /* … but had to be killed, or failed on its way out */
    bool hindered;      /* … before it had a fair time to be ready in, or by lack of mappings */
    bool accounted;     /* … and what that means for the tenant is done */
    bool proved;        /* the tenant has seen that it is ready */
    bool told_unmapped; /* there is an event about instance_lacks_mappings() */

    /* Monotonic, the wake's timeline; 0: not yet.  It runs from the second on. */
    uint64_t asked_us, running_us, started_us, ready_us;
    struct backend_steps steps;   /* … between the first two */
    int64_t started_at, ready_at; /* UTC; 0: not yet */
    uint64_t quiet_us;            /* since then nothing moved */
    uint64_t drain_us;            /* DRAINING ends at the latest */
    uint32_t boot_us;             /* as the image counted it */
    unsigned log_tokens;          /* lines that it may still write now */
    uint64_t log_us;              /* when they were last filled up */
    uint64_t log_dropped;
};

/* What the backend is to start; the row is in the registry. */
struct instance_start {
    const struct registry_instance *row;
    const struct registry_image *image;
    uint64_t memory;
    uint32_t idle_ms;
    uint32_t own_ms; /* from when it runs to ready */
    int image_fd;    /* borrowed */
};

/* RC_OK: owned by the tenant until it is ENDED and instance_free().  Else there is
 * no instance (the row is the caller's to end). */
RC_MUST_CHECK enum rc instance_start(struct fleet *f, struct tenant *t,
                                     const struct instance_start *start, struct instance **out);
/* Takes over one that an earlier roomkeyd left; RC_NOT_FOUND when it is gone. */
RC_MUST_CHECK enum rc instance_adopt(struct fleet *f, struct tenant *t,
                                     const struct instance_start *start, struct instance **out);
/* A channel of it could not be mapped (backend.h): true, with an event, when this host has no
 * mappings left, and that is no fault of it. */
bool instance_lacks_mappings(struct instance *i, int index);
/* ENDED, or at the daemon's end: lets go without ending it. */
void instance_free(struct instance *i);

/* Does what the facts and wishes ask for; only tenant_step() calls it. */
void instance_step(struct instance *i);

/* Whether it takes new connections, now or once its channel is free. */
bool instance_serves(const struct instance *i);
/* Something moved: the idle clock starts anew, and a release is taken back. */
void instance_touch(struct instance *i);
/* The tenant's idle time has changed. */
void instance_set_idle(struct instance *i, uint32_t ms);
/* While it starts: it has `ms` from when it runs to be ready in, if that is less than it had. */
void instance_hurry(struct instance *i, uint32_t ms);
/* Whether it is this host's fault, and not its image's, that it did not come to be ready. */
bool instance_wronged(const struct instance *i);
/* Stop for good; calling again may shorten the deadline. */
void instance_retire(struct instance *i, uint32_t ms, bool patient);
/* End it at once, for that reason. */
void instance_fail(struct instance *i, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint32_t instance_connections(const struct instance *i);
const char *instance_state_text(const struct instance *i);

/*----- between instance.c and instance_events.c -----*/

extern const struct sm_state instance_states[INSTANCE_STATE_NR];
/* Sets the alarm of STARTING: `start` after it was asked for, and its own time after it runs. */
void instance_arm_start(struct instance *i);

/*----- slots.c -----*/

/* Whether worker `w` may have its channel; RC_AGAIN: ask again when something has changed. */
RC_MUST_CHECK enum rc slots_give(const struct instance *i, unsigned w);
/* It was told READY: it holds the channel. */
void slots_given(struct instance *i, unsigned w);
/* Asks every worker that holds one to let go. */
void slots_release(struct instance *i, bool force);
/* How many have not let go. */
unsigned slots_held(const struct instance *i);
/* Whether some worker has not yet said what it holds. */
bool slots_unknown(const struct instance *i);
/* The worker said RELEASED, or BUSY, or is gone for good. */
void slots_on_released(struct instance *i, unsigned w);
/* … or RELEASED of a generation 0: it has heard all that it was told before. */
void slots_on_fence(struct instance *i, unsigned w);
void slots_on_busy(struct instance *i, unsigned w);
void slots_on_worker_gone(struct instance *i, unsigned w);
/* The same worker has connected again; then it said HOLDING; then SYNCED. */
void slots_on_worker_back(struct instance *i, unsigned w);
void slots_on_holding(struct instance *i, unsigned w, uint32_t connections);
void slots_on_synced(struct instance *i, unsigned w);
/* The tenant said SLOT. */
void slots_on_slot(struct instance *i, uint32_t w);
/* The instance is dead: tells every worker that uses it. */
void slots_on_end(struct instance *i);
RC_MUST_CHECK enum rc slots_init(struct instance *i, unsigned channels, bool adopted);
void slots_dispose(struct instance *i);

#endif
