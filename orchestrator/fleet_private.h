/* What the files of the fleet share: fleet*.c, tenant*.c, instance*.c, slots.c,
 * workers.c.  Everybody else includes fleet.h. */
#ifndef ORCHESTRATOR_FLEET_PRIVATE_H
#define ORCHESTRATOR_FLEET_PRIVATE_H

#include "common/core/container_of.h"
#include "common/core/control.h"
#include "orchestrator/alarm.h"
#include "orchestrator/fleet.h"
#include "orchestrator/instance.h"
#include "orchestrator/tenant.h"

RB_HEAD(tenant_tree, tenant);
RB_HEAD(instance_tree, instance);

struct worker {
    bool connected;
    bool known;  /* connected once, and not yet given up */
    bool synced; /* on this connection */
    uint64_t counters[CONTROL_COUNTER_NR];
    unsigned waiting; /* wakes of it that are not answered */
    struct fleet *fleet;
    struct alarm grace; /* until it is taken for dead */
};

struct fleet {
    uv_loop_t *loop;                       /* borrowed */
    struct alarms alarms;                  /* the time of all machines */
    struct registry *registry;             /* borrowed */
    struct image_store *images;            /* borrowed */
    struct cert_store *certs;              /* borrowed; NULL: none are sent */
    const struct backend_ops *backend_ops; /* borrowed */
    struct backend *backend;               /* borrowed */
    struct fleet_front front;
    struct fleet_limits limits;
    char state_dir[512];

    struct tenant_tree tenants;              /* active ones only */
    struct instance_tree instances;          /* all, by id */
    struct tenant *queue_first, *queue_last; /* want a start, oldest first */
    unsigned running, starting;
    uint64_t memory;      /* bounds of the running ones, bytes */
    bool short_of_memory; /* a start has found too little: none before somebody has gone */
    struct worker workers[LAUNCH_CHANNELS_MAX];

    struct fleet_counters counters;
    struct fleet_histograms histograms;
    struct fleet_watch *watches; /* subscribers */
    uint64_t random;             /* for jitter: not a secret */

    bool stopping, leave, killed;
    fleet_cb *on_stopped;
    void *stopped_arg;
    struct alarm stop_alarm, pump_alarm;
    struct alarm rows_alarm; /* rows whose end could not be written */
};

/*----- workers.c -----*/

void fleet_send(struct fleet *f, unsigned worker, const struct control_msg *m, const int *fds,
                size_t nfds);
void workers_init(struct fleet *f);
void workers_dispose(struct fleet *f);
/* Instances were taken over: workers say within worker_grace_ms what they hold. */
void workers_awaited(struct fleet *f);
/* Nobody waits any more for workers that are away. */
void workers_stopping(struct fleet *f);

/*----- fleet_queue.c -----*/

void fleet_queue_init(struct fleet *f);
/* Puts the tenant into the queue of starts; its tenant_start_now() will come, not
 * from inside this call. */
void fleet_enqueue(struct fleet *f, struct tenant *t);
void fleet_dequeue(struct fleet *f, struct tenant *t);
/* An instance began, or came to be ready, or ended. */
void fleet_started(struct fleet *f, struct instance *i);
void fleet_start_over(struct fleet *f, struct instance *i);
void fleet_ended(struct fleet *f, struct instance *i);
/* One is idle, or goes no more: another gives way to those who want a start. */
void fleet_room_changed(struct fleet *f);
/* A start lacks so many bytes of this host's memory: whether idle instances, which then give
 * way one by one before the next start, and those that end soon, may have that much. */
bool fleet_give_way(struct fleet *f, uint64_t lacking);

/*----- fleet.c -----*/

/* To every worker: forget what is cached of this tenant. */
void fleet_invalidate(struct fleet *f, uint64_t tenant);
/* Notes an event and tells the subscribers. */
void fleet_event(struct fleet *f, const char *tenant, const char *kind, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Being stopped, and nothing runs any more.  The fleet may be gone: last statement. */
void fleet_stopped(struct fleet *f);
/* The tenant has nothing left to do: forgets it.  Last statement. */
void fleet_forget(struct fleet *f, struct tenant *t);
/* A line of a tenant's console or log, clean text. */
void fleet_log(struct fleet *f, struct tenant *t, const struct instance *i, int level,
               const char *text);
uint32_t fleet_random(struct fleet *f);

/* The row of an instance that is gone; when the registry cannot be written, then later. */
void fleet_end_row(struct fleet *f, uint64_t id, const char *why);
void fleet_on_rows(struct alarm *a);

/* What goes wrong inside our own house: logged, and the daemon goes on. */
void fleet_db(struct fleet *f, enum rc rc, const char *what);

struct tenant *fleet_tenant(struct fleet *f, uint64_t id);
/* Makes the actor when there is none; NULL: no memory. */
struct tenant *fleet_tenant_active(struct fleet *f, uint64_t id, const char *name);
struct instance *fleet_instance(struct fleet *f, const struct control_instance *id);

RB_PROTOTYPE(tenant_tree, tenant, by_id, tenant_order)
RB_PROTOTYPE(instance_tree, instance, by_id, instance_order)

#endif
