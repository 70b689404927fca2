/* The ground "xen" and its instances, for the files of this folder. */
#ifndef XEN_INSTANCE_H
#define XEN_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/core/sm.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/xen/xen_channel.h"
#include "orchestrator/backend/xen/xen_helpers.h"
#include "orchestrator/backend/xen/xen_listener.h"
#include "orchestrator/backend/xen/xen_name.h"
#include "orchestrator/backend/xen/xen_pool.h"
#include "orchestrator/backend/xen/xen_reaper.h"
#include "orchestrator/backend/xen/xen_watcher.h"

/* A domain that was there when the daemon came. */
struct xen_found {
    struct xen_event event;
    int console; /* owned; -1: taken, or none */
    bool adopted;
};

struct backend {
    uv_loop_t *loop; /* borrowed */
    struct alarms alarms;
    struct xen_house house;
    struct xen_helpers helpers;
    struct xen_reaper reaper;
    struct xen_watcher watcher;
    struct xen_pool pool;
    struct xen_found *found; /* owned, until the sweep */
    size_t nr_found, room_found;
    LIST_HEAD(, backend_instance) instances;
    void (*on_trouble)(void *arg, const char *text); /* NULL: nobody listens */
    void *trouble_arg;
    bool closing;
    bool ended;        /* `end` rings */
    struct alarm late; /* it is closing: what is left is left */
    uv_timer_t end;
};

/* Of an instance, in time order. */
enum {
    CREATING,   /* a job is out: CREATE */
    CLEARING,   /* waits until what failed, or others, are destroyed: then it is tried again */
    LAUNCHING,  /* a job is out: LAUNCH */
    BOOTING,    /* on_running was called; it publishes its channels */
    RUNNING,    /* on_started was called */
    SETTLING,   /* it has shut down; its last words come */
    DESTROYING, /* killed */
    GONE,       /* on_exit was called */
    STATE_NR
};

struct backend_instance {
    struct backend *backend; /* borrowed */
    LIST_ENTRY(backend_instance) others;
    struct backend_events events;
    void *arg;
    struct sm sm;
    bool disposed;

    /* What is to be started. */
    char name[XEN_NAME_MAX];
    char words[XEN_WORDS_MAX]; /* without the seed */
    uint64_t memory_kib;
    unsigned channels;
    int image_fd; /* owned until it runs */

    /* The domain. */
    struct xen_domain domain;   /* its console is the listener's */
    struct xen_task task;       /* CREATING, LAUNCHING */
    struct xen_mourner mourner; /* CLEARING, DESTROYING */
    struct xen_watch watch;
    struct xen_vchan vchan[XEN_CHANNELS];
    struct xen_bell *bells;        /* owned: [0] control, [1 + i] worker i's */
    struct xen_grants *grants;     /* owned: likewise; NULL: not looked at yet */
    struct xen_listener *listener; /* owned; NULL: nobody listens to a console */
    struct alarm alarm;            /* SETTLING */

    /* Facts; xen_instance_step() decides. */
    bool answered; /* the job's: in `answer` */
    struct xen_event answer;
    bool cleared;         /* the mourner's */
    bool rang;            /* the alarm's */
    bool published, shut; /* the watcher's */
    bool vanished;        /* likewise */
    bool kill_asked;
    bool adopted;
    bool pooled;                /* the domain came out of the pool */
    bool retried, made_room;    /* each but once */
    uint64_t reaped;            /* by the reaper, when CREATE was asked for */
    struct backend_usage usage; /* last seen */
    bool has_usage;

    /* Pauses, one after another. */
    struct xen_task pause_task;
    bool pausing, pause_wanted, paused;

    uint64_t asked_us;
    struct backend_steps steps;
    struct backend_exit why;
};

/* See backend.h.  From pause on: xen_running.c. */
enum rc xen_instance_start(struct backend *b, const struct backend_spec *spec,
                           const struct backend_events *events, void *arg,
                           struct backend_instance **out);
enum rc xen_adopt(struct backend *b, const struct backend_handle *handle, unsigned channels,
                  const struct backend_events *events, void *arg, struct backend_instance **out);
void xen_instance_kill(struct backend_instance *i);
void xen_instance_dispose(struct backend_instance *i);
enum rc xen_instance_pause(struct backend_instance *i, bool paused);
void xen_instance_handle(const struct backend_instance *i, struct backend_handle *out);
enum rc xen_instance_usage(const struct backend_instance *i, struct backend_usage *out);
enum rc xen_instance_control(struct backend_instance *i, struct backend_channel *out);
bool xen_instance_lacks_mappings(struct backend_instance *i, int index);
enum rc xen_instance_channel(struct backend_instance *i, unsigned index,
                             struct backend_channel *out);

/* What starting and adopting share.  A new one has nothing in it: xen_instance_drop()
 * undoes it. */
struct backend_instance *xen_instance_new(struct backend *b, const struct backend_events *events,
                                          void *arg, uint64_t id, unsigned channels);
void xen_instance_drop(struct backend_instance *i);
/* The last thing done with one that has been disposed of. */
void xen_instance_release(struct backend_instance *i);
/* It runs already, in its `domain`, and has published: its console is heard, its end
 * will be seen. */
void xen_instance_resume(struct backend_instance *i, const struct xen_event *published);

/* By the facts: what comes next; it may be disposed of. */
void xen_instance_step(struct backend_instance *i);

/*----- xen_start.c -----*/

/* What is to be started; `i` has its memory already. */
enum rc xen_start_fill(struct backend_instance *i, const struct backend_spec *spec);
/* Asks for a new domain; that its own be let run.  `answered` comes from the loop. */
void xen_start_create(struct backend_instance *i);
void xen_start_launch(struct backend_instance *i);

/*----- xen.c -----*/

/* Something ended: perhaps the last that a closing backend waits for. */
void xen_backend_step(struct backend *b);

#endif
