/* A fleet in a world where everybody is late: two front workers, their clients and the
 * tenants of the fake ground, each of which moves only when a schedule lets it.
 *
 * The happy path: race_begin() -> race_tenant_new() … -> any of the moves below, in any
 * order -> race_end(), which lets everybody finish, wakes each tenant once more, lets all
 * sleep, and looks at what is left.
 * Failure: what must always hold (race_check.c) does not: the moves so far are printed, and
 * the test fails.
 *
 * The workers are models of tls-front/: what is said on the control socket, and done to the
 * rings, is what channel.c, wake.c, opening.c and orch.c there say and do; messages wait in
 * two queues a worker.  Who asks for trouble (a crash, a mute instance) notes whom that
 * excuses; anything that befalls others is a failure.  Milliseconds unless named _us. */
#ifndef TESTS_RACE_HOUSE_H
#define TESTS_RACE_HOUSE_H

#include "common/core/ring.h"
#include "fleet_house.h"

#define RACE_TENANTS 4
#define RACE_CONNS   16
#define RACE_WAKES   64
#define RACE_LIVES   512
#define RACE_STOPS   64

/* "web:1" to "web:3" are good, the others fail to start, each in its way. */
extern const char *const race_good[3], *const race_bad[4];

struct race_tenant {
    struct race *race;
    unsigned n;
    char name[REGISTRY_NAME_SIZE], host[80];
    uint64_t id;
    bool there;          /* its row is */
    bool removing;       /* asked, and not yet told that it is gone */
    bool suspended;      /* by its row */
    bool first_bad;      /* made with an image that does not start */
    bool excused;        /* a refusal or a long wait is no fault of ours */
    bool harmed;         /* an instance of it was: a roll back is right */
    bool held;           /* its rows could not be written, for a time */
    unsigned crashes;    /* that a test asked for */
    uint64_t slow_us[2]; /* the last two starts that hung, by image or ground */
    uint64_t served;     /* the newest generation that a READY named */
    bool ran[3];         /* that good image was ready */
    uint64_t last_good;  /* of its row, when last looked at */
    uint64_t generation; /* likewise */
    char first[REGISTRY_REF_SIZE], wish[REGISTRY_REF_SIZE]; /* the last one */
};

/* One instance, from its start to its end; by what is seen of it. */
struct race_life {
    uint64_t id, generation;
    struct race_tenant *tenant;
    char ref[REGISTRY_REF_SIZE];
    bool ready;           /* it was */
    bool spare;           /* begun after one of another version, which may yet serve */
    bool excused;         /* it may end in any way at any time */
    bool hurried;         /* somebody asked for its end: drain_ms is enough */
    bool forced;          /* its successor is there: retire_ms */
    bool stopping;        /* it had its time to end connections */
    bool ended;           /* the fleet has let go of it */
    uint64_t draining_us; /* 0: it is not */
};

enum race_channel_state { RACE_ACTIVE, RACE_RETIRED, RACE_RELEASED };

/* A worker's channel to an instance. */
struct race_channel {
    struct race_channel *next;
    struct race_tenant *tenant;
    struct control_instance id;
    enum race_channel_state state;
    struct ring ring;
    void *memory; /* owned mapping */
    size_t len;
    uint32_t connections, told;
    uint64_t bytes; /* not yet told */
    bool late;      /* its worker was away for too long: it is the next one's */
};

enum race_conn_state { RACE_NONE, RACE_ROUTE, RACE_HANDSHAKE, RACE_WAKING, RACE_OPEN };

struct race_conn {
    enum race_conn_state state;
    unsigned worker;
    struct race_tenant *tenant;
    struct race_channel *channel; /* OPEN */
    bool waits;                   /* on its worker's wake of the tenant */
    bool refused, excused;
    uint64_t deadline_us;
};

struct race_message {
    struct race_message *next;
    struct control_msg m;
    int fd; /* owned: memory of a READY; or -1 */
};

struct race_queue {
    struct race_message *first, **last;
    unsigned nr;
};

/* What the fleet owes an answer. */
struct race_request {
    uint64_t request, since_us;
    struct race_tenant *tenant;
};

struct race_worker {
    bool connected;
    uint64_t away_us;          /* since then */
    struct race_queue out, in; /* to the fleet, from it */
    struct race_channel *channels;
    uint64_t wake[RACE_TENANTS]; /* its request; 0: none */
    bool route[RACE_TENANTS];
    struct race_channel *active[RACE_TENANTS]; /* takes new connections */
    struct race_request asked[RACE_WAKES];
    unsigned asked_nr;
};

/* Who waits for `instance stop`. */
struct race_stop {
    struct race_tenant *tenant;
    uint64_t generation;
};

struct race {
    struct house *house;
    uint64_t random; /* state of race_random() */
    uint64_t requests;
    struct race_worker workers[HOUSE_WORKERS];
    struct race_tenant tenants[RACE_TENANTS];
    unsigned tenants_nr;
    struct race_conn conns[RACE_CONNS];
    struct race_life lives[RACE_LIVES];
    unsigned lives_nr;
    struct race_stop stop[RACE_STOPS];
    unsigned stop_nr;
    bool full;             /* there is not room for all: waits may be in vain */
    struct sqlite3 *other; /* connection to the registry: another program's */
    bool held;             /* by that: nothing can be written */
    bool refusing;         /* the host starts nothing */
    bool stopping;         /* fleet_stop() */
    bool deaf;             /* roomkeyd is dead, and says nothing */
    uint32_t boot_ms, exit_ms;
    unsigned upgrades, upgraded, stops, stopped, removals, removed; /* asked; answered */
    unsigned rolled_back; /* of fleet_counters(), over restarts */
    unsigned descriptors;
    struct {
        uint64_t schedules, moves, ready, refused, lost, rollbacks, taken_back, spares;
    } sum;
    char title[128];
    char *trace; /* the moves, in words */
    size_t trace_len, trace_size;
};

/*----- race_house.c -----*/

int race_set_up(void **state); /* *state is a struct race */
int race_tear_down(void **state);

/* A schedule begins and ends; nothing of an earlier one is left.  `title` is for people. */
void race_begin(struct race *r, uint64_t seed, const char *title);
void race_end(struct race *r);

/* Prints what was done, and fails. */
__attribute__((noreturn, format(printf, 2, 3))) void race_broken(struct race *r, const char *fmt,
                                                                 ...);
/* A move, for that print; ends the one before with a look at everything. */
__attribute__((format(printf, 2, 3))) void race_note(struct race *r, const char *fmt, ...);

uint64_t race_random(struct race *r, uint64_t below); /* 0 … below - 1 */
bool race_chance(struct race *r, unsigned percent);
uint64_t race_now(const struct race *r); /* µs; also while there is no fleet */

/* The loop's one turn; an alarm that is due rings. */
void race_turn(struct race *r);
/* Everybody moves until nobody does. */
void race_settle(struct race *r);
/* Time passes: for alarms only, or with everybody doing what there is to do. */
void race_drift(struct race *r, uint64_t ms);
void race_pass(struct race *r, uint64_t ms);

/* roomkeyd dies; comes back; or both with its instances left as `fleet_stop(leave)` does. */
void race_roomkeyd_dies(struct race *r, bool leave);
void race_roomkeyd_starts(struct race *r);
/* It is stopped, and ends all instances first. */
void race_roomkeyd_stops(struct race *r);

/*----- race_admin.c -----*/

struct race_tenant *race_tenant_new(struct race *r, const char *ref);
void race_upgrade(struct race *r, struct race_tenant *t, const char *ref, uint64_t max_wait);
void race_stop(struct race *r, struct race_tenant *t);
void race_suspend(struct race *r, struct race_tenant *t, bool suspended);
void race_remove(struct race *r, struct race_tenant *t);
void race_set_idle(struct race *r, struct race_tenant *t, uint32_t ms);
/* The instance comes to harm, or is about to; whom that excuses is noted. */
void race_harm(struct race *r, struct backend_instance *i);
void race_crash(struct race *r, struct backend_instance *i);
/* The host starts nothing, or again. */
void race_refuse(struct race *r, bool refusing);
/* The ground takes long for the next start; the image does for each. */
void race_ground_hangs(struct race *r, uint32_t ms);
void race_slow_boot(struct race *r, const char *ref, uint32_t ms);
/* Another program holds the database: nothing can be written; or no more. */
void race_hold(struct race *r, bool held);
bool race_is_bad(const char *ref);
struct race_tenant *race_tenant_of(struct race *r, const char *name);

/*----- race_worker.c -----*/

void race_connect(struct race *r, unsigned w);
void race_lose(struct race *r, unsigned w); /* its connection only */
void race_kill(struct race *r, unsigned w); /* the process: the next one knows nothing */
/* Its channels are the next one's, when it has been away for too long. */
void race_note_late(struct race *r, unsigned w);
/* One message; false when there is none. */
bool race_say(struct race *r, unsigned w);
bool race_hear(struct race *r, unsigned w);
void race_second(struct race *r, unsigned w); /* ACTIVITY of what moved */

/* A client's hello; NULL: the world is full of them. */
struct race_conn *race_open(struct race *r, unsigned w, struct race_tenant *t);
void race_shake(struct race *r, struct race_conn *c); /* its handshake is over */
void race_bytes(struct race *r, struct race_conn *c);
void race_close(struct race *r, struct race_conn *c);
void race_complain(struct race *r, unsigned w, struct race_channel *ch);
/* Those whose deadline has passed give up. */
void race_late(struct race *r);
uint64_t race_next_late(const struct race *r); /* UINT64_MAX: nobody's */

void race_told(void *arg, unsigned w, const struct control_msg *m, const int *fds);
void race_worker_dispose(struct race *r, unsigned w);

/*----- race_check.c -----*/

/* After each move. */
void race_check(struct race *r);
/* When nobody has anything to do. */
void race_check_settled(struct race *r);
void race_check_rows(struct race *r); /* the registry agrees */
/* When all sleep. */
void race_check_asleep(struct race *r);

struct race_life *race_life(struct race *r, uint64_t id);
/* Told to a worker: whether it may be. */
void race_check_ready(struct race *r, unsigned w, const struct control_ready *m);
void race_check_refused(struct race *r, const struct race_request *q,
                        const struct control_refused *m);
/* A worker said that it is in use: it is not let go for being idle. */
void race_check_used(struct race *r, const struct control_instance *id);
/* A connection ends though nobody wanted that: its instance is gone; or it waited in vain. */
void race_check_lost(struct race *r, const struct race_conn *c);
void race_check_late(struct race *r, const struct race_conn *c);
struct backend_instance *race_backend(struct race *r, uint64_t id);

#endif
