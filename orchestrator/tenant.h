/* The actor of one tenant that has something to do: connections wait for it, an
 * instance of it lives, a failed start is waited out, or it changes its image.  A
 * tenant that sleeps has none: it is a row of the registry.
 *
 * The happy path: a wake waits -> a start is queued -> the instance is ready ->
 * the waiting workers get their channels -> … -> it is idle and gone -> the actor
 * is forgotten.  An upgrade boots `trial` beside `current`, and changes over.  A
 * version on trial that has connections wait gets the last good one as a spare.
 * Failure modes: a start that fails (back to the last good image, or a pause that
 * doubles), a crash (woken again by the next wake), an image that fails while it
 * is on trial (rolled back: tenant_upgrade.c).
 *
 * tenant_step() is the only place where it is decided what comes next; every
 * event notes its facts and calls it as the last statement, since it may free the
 * actor and its instances. */
#ifndef ORCHESTRATOR_TENANT_H
#define ORCHESTRATOR_TENANT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv/tree.h>

#include "orchestrator/alarm.h"
#include "orchestrator/fleet.h"
#include "orchestrator/instance.h"
#include "orchestrator/registry.h"

/* A connection at a worker that waits for the channel. */
struct waiter {
    struct waiter *next;
    uint64_t request;
    uint64_t since_us; /* the WAKE came in */
    unsigned worker;
    bool woke; /* it found the tenant asleep */
};

/* Somebody who is told when the instances up to a generation are gone. */
struct gone_wait {
    struct gone_wait *next;
    uint64_t generation;
    fleet_cb *cb;
    void *arg;
};

struct tenant {
    RB_ENTRY(tenant) by_id;
    struct fleet *fleet; /* borrowed */
    uint64_t id;
    char name[REGISTRY_NAME_SIZE];

    /* Of the row, as of the last look (tenant_refresh). */
    bool suspended;
    uint64_t image, last_good;
    char image_ref[REGISTRY_REF_SIZE];
    uint32_t idle_ms, wake_timeout_ms;
    enum registry_upgrade upgrade;
    int64_t upgrade_deadline; /* as in the row */
    uint64_t upgrade_due_us;  /* when that is, if nobody sets the clock; 0: never */

    struct instance *current; /* takes new connections; owned */
    struct instance *trial;   /* boots to take current's place; owned */
    struct instance *retired; /* list: finish and go; owned */

    struct waiter *first, **last; /* owned, oldest first */
    struct alarm wake_alarm;      /* the oldest one's deadline */

    bool queued; /* in the fleet's queue of starts */
    struct tenant *queue_next;

    /* Failures. */
    unsigned failures;      /* pauses since it last worked */
    unsigned crashes;       /* in a row, soon after READY */
    unsigned trial_crashes; /* before the version was proved */
    char why[REGISTRY_TEXT_SIZE];
    struct alarm pause;   /* set: no start before it rings */
    struct alarm held;    /* the same, but those who wait go on waiting */
    struct alarm forgive; /* then failures and crashes are forgotten */
    struct alarm proof;   /* `current` is good when it rings */
    struct alarm upgrade_alarm;
    struct alarm soon; /* a step that must not come from inside a call */
    struct alarm late; /* then those who wait need a spare */

    bool wants_trial; /* `trial` is to be started */
    bool wants_spare; /* the last good version is, and `current` to be `trial` beside it */
    bool had_spare;   /* for those who wait */
    bool removing;
    bool stepping, again;
    fleet_upgrade_cb *upgrade_cb; /* NULL: nobody waits */
    void *upgrade_arg;
    struct gone_wait *gone_waits; /* owned */

    struct tenant_log *log; /* owned; NULL: nothing written yet */
};

struct tenant *tenant_new(struct fleet *f, uint64_t id, const char *name);
/* It holds no instance, or only such as shall live on without roomkeyd. */
void tenant_free(struct tenant *t);

/* Reads the row again. */
RC_MUST_CHECK enum rc tenant_refresh(struct tenant *t);

/* One that has no place goes: into `retired`. */
void tenant_retire(struct tenant *t, struct instance *i, uint32_t ms, bool patient);
/* One goes: out of its place, into `retired`. */
void tenant_retire_current(struct tenant *t, uint32_t ms, bool patient);
void tenant_retire_trial(struct tenant *t);
/* All its instances go; connections may finish for `ms`. */
void tenant_retire_all(struct tenant *t, uint32_t ms);

void tenant_step(struct tenant *t);

/* Failures and crashes count no more. */
void tenant_forgive(struct tenant *t);

/*----- tenant_wait.c -----*/

/* A worker waits.  tenant_step() follows. */
RC_MUST_CHECK enum rc tenant_wait(struct tenant *t, unsigned worker, uint64_t request);
/* The worker's connection is over: it waits for nothing any more. */
void tenant_unwait(struct tenant *t, unsigned worker);
/* Ends all waits. */
void tenant_refuse(struct tenant *t, enum rc why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Ends those whose deadline has passed. */
void tenant_refuse_late(struct tenant *t);
/* `current` serves: everybody whose channel is free gets it. */
void tenant_serve(struct tenant *t);

/*----- tenant_start.c -----*/

/* Whether it still wants a start. */
bool tenant_wants_start(const struct tenant *t);
/* The queue of starts has come to it: starts one instance if that is still wanted. */
void tenant_start_now(struct tenant *t);
/* How long an instance that runs may take to be ready, alone or beside one that serves. */
uint32_t tenant_start_deadline(const struct tenant *t, bool beside);
/* What the end of an instance means; once for each. */
void tenant_on_end(struct tenant *t, struct instance *i);

/*----- tenant_upgrade.c -----*/

/* The image is not the last good one, and there is one to go back to. */
bool tenant_on_trial(const struct tenant *t);
/* Begins, goes on with, or calls off the change of `current`'s image. */
void tenant_upgrade_step(struct tenant *t);
/* `trial` is ready: new connections go to it, `current` finishes its own. */
void tenant_change_over(struct tenant *t);
/* `current` is on trial, and may not be ready, nor have failed, in time for those who wait. */
void tenant_spare_step(struct tenant *t);
/* An image failed: true when the tenant went back to another. */
bool tenant_roll_back(struct tenant *t, uint64_t image, const char *why);
/* `current` has been ready long enough, or has left as it was asked. */
void tenant_prove(struct tenant *t, const struct instance *i);
/* Tells who asked for the upgrade. */
void tenant_upgrade_done(struct tenant *t, enum fleet_upgraded how, const char *text);

#endif
