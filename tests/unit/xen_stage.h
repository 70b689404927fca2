/* The ground "xen" with helpers that do what the test says: real processes
 * (xen_puppet.c), no Xen.
 *
 * A test waits for a job, answers it, and sees what the backend does: whatever it
 * waits for comes within the deadline, or the test has failed. */
#ifndef TESTS_XEN_STAGE_H
#define TESTS_XEN_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/host/packet.h"
#include "orchestrator/backend/backend.h"
#include "orchestrator/backend/xen/xen.h"
#include "tests/unit/xen_puppet.h"

/* One helper process. */
struct puppet {
    struct packet packet;
    TAILQ_ENTRY(puppet) entry;
    struct stage *stage;
    struct xen_puppet_hello hello;
    bool gone;          /* its connection is over */
    struct xen_job job; /* unanswered; type 0: none */
    int fd;             /* that came with it; -1: none */
};

struct stage {
    uv_loop_t loop;
    uv_timer_t beat; /* a turn of the loop whose timers have rung would wait on all the same */
    unsigned waited_ms;
    uv_poll_t door;
    int door_fd;
    char dir[64], socket[96], found[96];
    struct xen_settings settings;
    struct backend *backend;
    TAILQ_HEAD(, puppet) puppets;
    struct puppet *watcher;     /* the living one */
    struct xen_job watched[64]; /* WATCH jobs that the living one has, as they came */
    size_t nr_watched;
    unsigned watchers;                   /* there were */
    struct backend_instance *living[16]; /* not disposed of yet */
    bool generous;                       /* each DESTROY is answered by itself: well */
    bool closing, closed;
};

/* An instance and all that was said of it. */
struct act {
    struct stage *stage;
    struct backend_instance *instance;
    bool in_call; /* of the backend: nothing may come from inside */
    int running, started, exited, lines;
    struct backend_steps steps;
    struct backend_exit why;
    char line[256]; /* the last one */
    int console[2]; /* the domain's end, and what the helper gives away */
};

/* With what xen_settings_init() says and 2 helpers; change `settings` in between. */
void stage_init(struct stage *s);
void stage_open(struct stage *s);
/* Closes the backend, and the loop, clean. */
void stage_close(struct stage *s);
/* What is left of that after ops->close(). */
void stage_ends(struct stage *s);
/* Around one test; *state is the stage, open. */
int stage_set_up(void **state);
int stage_tear_down(void **state);

/* What LIST finds: `n` domains. */
void stage_found(struct stage *s, const struct xen_event *events, size_t n);

/* One turn of the loop. */
void stage_turn(struct stage *s);
#define stage_until(s, condition)               \
    do {                                        \
        for ((s)->waited_ms = 0; !(condition);) \
            stage_turn(s);                      \
    } while (0)

/* The oldest unanswered job of that type, when it comes. */
struct puppet *stage_job(struct stage *s, enum xen_job_type type);
/* Unanswered jobs: all, of one type. */
unsigned stage_jobs(struct stage *s);
unsigned stage_count(struct stage *s, enum xen_job_type type);
/* Answers it; `domid` and `fd` (-1: none; borrowed) are CREATE's. */
void puppet_answer(struct puppet *p, enum rc rc, const char *text, uint32_t domid, int fd);
/* Answers DESTROY: it is destroyed, and so much of it is still mapped by somebody. */
void puppet_keeps(struct puppet *p, uint64_t kib);
/* The process dies. */
void puppet_dies(struct puppet *p);
/* It says what is no event. */
void puppet_babbles(struct puppet *p);

/* The living watcher was told to watch it: its WATCH. */
const struct xen_job *stage_watched(struct stage *s, uint32_t domid);
bool stage_watches(const struct stage *s, uint32_t domid);
/* The watcher says so of a domain that it watches. */
void stage_tell(struct stage *s, const struct xen_event *event);
void stage_publish(struct stage *s, uint32_t domid, unsigned channels);
void stage_shut(struct stage *s, uint32_t domid, unsigned reason, int status);
void stage_vanish(struct stage *s, uint32_t domid);

/* An image file; the same `n`, the same file. */
int stage_image(struct stage *s, int n);

/* Into a struct act. */
extern const struct backend_events act_events;
/* Whatever was started or adopted with them is let go at the latest at the end. */
void stage_note(struct stage *s, struct backend_instance *i);

/* Asks for a start of that image; 2 channels, 16 MiB. */
void act_start(struct act *a, struct stage *s, const char *tenant, int image);
/* Answers its CREATE, with a console. */
void act_create(struct act *a, uint32_t domid);
/* … its LAUNCH: it runs; and publishes: started. */
void act_launch(struct act *a, uint32_t domid);
/* All of that. */
void act_run(struct act *a, struct stage *s, const char *tenant, uint32_t domid);
void act_kill(struct act *a);
/* Kills it, and lets go of it when it has ended. */
void act_end(struct act *a);
void act_dispose(struct act *a);

#endif
