/* Every operation against every other, the second begun at each step of the first: see
 * race_house.h for the world, race_check.c for what must hold.
 *
 * A step is the least that one of them does: a message is heard, an instance looks at its
 * rings, a handshake ends, an alarm rings.  ROOMKEY_SCHEDULES=1 tries each pair with both
 * orders of who moves first, and with a tenant that nobody uses and one that is in use;
 * else two of these four are taken in turn.
 *
 * It can fail: with no fence after READY (slots.c) a release that is taken back loses a
 * connection to a stop; with a late worker's slot left FREE it maps a ring that was not
 * cleared; with a retired instance not drained after its adoption (instance.c) an upgrade
 * loses its connections to a death of roomkeyd; with UNKNOWN not counted as held ten of
 * these fail. */
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/alarm.h"
#include "race_house.h"

#define STEPS_MAX 60
#define SOON_MS   1000u /* an alarm that is further off is no step */

struct op {
    const char *name;
    /* Before the first of two, beyond waking it; NULL: nothing.  `used`: the tenant has an
     * open connection. */
    void (*prepare)(struct race *r, struct race_tenant *t, bool used);
    void (*begin)(struct race *r, struct race_tenant *t);
    bool asleep; /* as the first: it begins with a tenant that sleeps, if it is not in use */
};

/*----- what each does -----*/

static void begin_wake(struct race *r, struct race_tenant *t)
{
    (void)race_open(r, 1, t);
}

static void begin_idle(struct race *r, struct race_tenant *t)
{
    race_note(r, "%s is idle", t->name);
    for (unsigned n = 0; n < 6; n++) {
        race_drift(r, 500);
        (void)fake_backend_turn(r->house->backend);
        race_turn(r);
    }
}

/* To where workers have been asked to let go. */
static void prepare_release(struct race *r, struct race_tenant *t, bool used)
{
    (void)t, (void)used;
    race_second(r, 0);
    race_settle(r);
    race_drift(r, 3000);
    for (unsigned n = 0; n < 6; n++) {
        (void)fake_backend_turn(r->house->backend);
        race_turn(r);
    }
}

static void begin_release(struct race *r, struct race_tenant *t)
{
    race_note(r, "%s is being released", t->name);
    while (race_hear(r, 0))
        ;
}

/* A WAKE of a client whose route was invalidated is ahead of the RELEASED. */
static void prepare_crossing(struct race *r, struct race_tenant *t, bool used)
{
    race_set_idle(r, t, 2999);
    race_settle(r);
    prepare_release(r, t, used);
    (void)race_open(r, 0, t);
}

static void begin_crossing(struct race *r, struct race_tenant *t)
{
    begin_release(r, t);
    (void)race_say(r, 0);
}

static void begin_stop(struct race *r, struct race_tenant *t)
{
    race_stop(r, t);
}

static void begin_upgrade(struct race *r, struct race_tenant *t)
{
    race_upgrade(r, t, "web:2", 50);
}

static void begin_upgrade_bad(struct race *r, struct race_tenant *t)
{
    race_upgrade(r, t, "web:fails", 50);
}

/* An upgrade waits, or its version boots. */
static void prepare_way_back(struct race *r, struct race_tenant *t, bool used)
{
    race_upgrade(r, t, "web:2", used ? 600000 : 0);
    for (unsigned n = 0; n < 4; n++)
        race_turn(r);
}

static void begin_way_back(struct race *r, struct race_tenant *t)
{
    race_upgrade(r, t, "web:1", 50);
}

static struct backend_instance *newest(struct race *r, const struct race_tenant *t)
{
    return fake_living(r->house->backend, t->name);
}

static void begin_crash(struct race *r, struct race_tenant *t)
{
    struct backend_instance *i = newest(r, t);

    if (i)
        race_crash(r, i);
}

static struct race_conn *get_in(struct race *r, struct race_tenant *t)
{
    struct race_conn *c = race_open(r, 0, t);

    race_settle(r);
    if (c->state == RACE_HANDSHAKE)
        race_shake(r, c);
    race_pass(r, 100);
    return c;
}

/* On trial, it has crashed twice. */
static void prepare_rollback(struct race *r, struct race_tenant *t, bool used)
{
    (void)used;
    race_upgrade(r, t, "web:3", 1);
    race_pass(r, 100);
    for (unsigned n = 0; n < 2; n++) {
        (void)get_in(r, t);
        race_crash(r, newest(r, t));
        race_settle(r);
    }
    (void)get_in(r, t);
}

/* It sleeps, and its new version will have a spare. */
static void prepare_spare(struct race *r, struct race_tenant *t, bool used)
{
    race_stop(r, t);
    race_pass(r, r->house->limits.drain_ms + r->house->limits.stop_ms);
    race_upgrade(r, t, used ? "web:2" : "web:hangs", 0);
    race_slow_boot(r, "web:2", 4300); /* 300 ms after the spare is begun */
    race_ground_hangs(r, 4000);
    (void)race_open(r, 0, t);
    race_pass(r, 7990);
}

static void begin_spare(struct race *r, struct race_tenant *t)
{
    race_note(r, "%s gets a spare", t->name);
}

static void begin_remove(struct race *r, struct race_tenant *t)
{
    race_remove(r, t);
}

static void begin_suspend(struct race *r, struct race_tenant *t)
{
    race_suspend(r, t, true);
}

static void prepare_resume(struct race *r, struct race_tenant *t, bool used)
{
    (void)used;
    race_suspend(r, t, true);
    race_turn(r);
    race_turn(r);
}

static void begin_resume(struct race *r, struct race_tenant *t)
{
    race_suspend(r, t, false);
    (void)race_open(r, 1, t);
}

static void begin_loss(struct race *r, struct race_tenant *t)
{
    (void)t;
    race_lose(r, 0);
    race_connect(r, 0);
}

/* It was taken for dead, and hears all that it is told before its tenant moves. */
static void begin_late(struct race *r, struct race_tenant *t)
{
    race_lose(r, 0);
    race_pass(r, r->house->limits.worker_grace_ms + 10);
    race_connect(r, 0);
    (void)race_open(r, 0, t);
    while (race_say(r, 0))
        ;
    while (race_hear(r, 0))
        ;
}

static void begin_kill(struct race *r, struct race_tenant *t)
{
    (void)t;
    race_kill(r, 0);
    race_connect(r, 0);
}

static void begin_death(struct race *r, struct race_tenant *t)
{
    (void)t;
    race_roomkeyd_dies(r, false);
    race_roomkeyd_starts(r);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_connect(r, w);
}

static const struct op ops[] = {
    {"a wake", NULL, begin_wake, true},
    {"an idle time", NULL, begin_idle, false},
    {"a release", prepare_release, begin_release, false},
    {"a release that is taken back", prepare_crossing, begin_crossing, false},
    {"a stop", NULL, begin_stop, false},
    {"an upgrade", NULL, begin_upgrade, false},
    {"an upgrade that fails", NULL, begin_upgrade_bad, false},
    {"a way back", prepare_way_back, begin_way_back, false},
    {"a crash", NULL, begin_crash, false},
    {"a rollback", prepare_rollback, begin_crash, false},
    {"a spare", prepare_spare, begin_spare, false},
    {"a removal", NULL, begin_remove, false},
    {"a suspension", NULL, begin_suspend, false},
    {"a resumption", prepare_resume, begin_resume, false},
    {"a loss of a worker's connection", NULL, begin_loss, false},
    {"a late return of a worker", NULL, begin_late, false},
    {"a death of a worker", NULL, begin_kill, false},
    {"a death of roomkeyd", NULL, begin_death, false},
};

#define OPS (sizeof ops / sizeof *ops)

/*----- steps -----*/

#define ACTORS 6u

static bool act(struct race *r, unsigned actor)
{
    switch (actor) {
    case 0:
    case 1:
        return race_say(r, actor);
    case 2:
    case 3:
        return race_hear(r, actor - 2);
    case 4:
        for (struct backend_instance *i = fake_all(r->house->backend); i; i = i->next)
            if (fake_turn(i)) {
                race_note(r, "%s moves, generation %llu", i->tenant,
                          (unsigned long long)i->generation);
                race_check(r);
                return true;
            }
        return false;
    default:
        for (unsigned n = 0; n < RACE_CONNS; n++)
            if (r->conns[n].state == RACE_HANDSHAKE) {
                race_shake(r, &r->conns[n]);
                return true;
            }
        return false;
    }
}

struct order {
    bool backwards;
    bool acted; /* then roomkeyd has its turn */
    unsigned turn;
};

/* False: there is nothing to do soon. */
static bool step(struct race *r, struct order *o)
{
    struct alarms *alarms = fleet_alarms(r->house->fleet);

    if (o->acted) {
        o->acted = false;
        race_turn(r);
        return true;
    }
    for (unsigned tries = 0; tries < 3; tries++) {
        for (unsigned n = 0; n < ACTORS; n++) {
            unsigned actor = (o->turn + n) % ACTORS;

            if (act(r, o->backwards ? ACTORS - 1 - actor : actor)) {
                o->turn += n + 1;
                o->acted = true;
                return true;
            }
        }
        race_turn(r);
    }
    if (alarms_next_us(alarms) > race_now(r) + SOON_MS * 1000ull)
        return false;
    race_drift(r, (alarms_next_us(alarms) - race_now(r) + 999) / 1000);
    return true;
}

/*----- pairs -----*/

/* False: the first was over before the second began. */
static bool try_pair(struct race *r, const struct op *first, const struct op *second, unsigned at,
                     bool used, bool backwards)
{
    struct race_tenant *t;
    struct order order = {.backwards = backwards};
    unsigned n = 0;
    bool over = false;
    char title[sizeof r->title];

    snprintf(title, sizeof title, "%s, and %s at its step %u, %s%s", first->name, second->name, at,
             used ? "in use" : "not in use", backwards ? ", backwards" : "");
    race_begin(r, 1, title);
    race_roomkeyd_starts(r);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_connect(r, w);
    t = race_tenant_new(r, "web:1");
    race_set_idle(r, t, 3000);
    if (used || !first->asleep) {
        struct race_conn *c = get_in(r, t);

        CHECK(c->state == RACE_OPEN);
        if (!used)
            race_close(r, c);
        race_second(r, 0);
        race_settle(r);
    }
    if (first->prepare)
        first->prepare(r, t, used);
    race_note(r, "----- %s", first->name);
    first->begin(r, t);
    while (!over && n++ < at)
        over = !step(r, &order);
    if (!over) {
        race_note(r, "----- %s", second->name);
        second->begin(r, t);
        for (n = 0; n < STEPS_MAX * 3 && step(r, &order); n++)
            ;
    }
    race_end(r);
    return !over;
}

static void against_all(void **state, unsigned first)
{
    struct race *r = *state;
    bool all = getenv("ROOMKEY_SCHEDULES") != NULL;
    unsigned steps = 0;

    memset(&r->sum, 0, sizeof r->sum);
    for (unsigned second = 0; second < OPS; second++)
        for (unsigned how = 0; how < 4; how++) {
            unsigned at = 0;

            /* One of each: used or not, backwards or not. */
            if (!all && ((first + second) % 2 ? how % 3 != 0 : how % 3 == 0))
                continue;
            while (at < STEPS_MAX && try_pair(r, &ops[first], &ops[second], at, how & 1, how & 2))
                at++;
            steps = at > steps ? at : steps;
        }
    print_message("             %llu schedules, at most %u steps, %llu moves, %llu spares\n",
                  (unsigned long long)r->sum.schedules, steps, (unsigned long long)r->sum.moves,
                  (unsigned long long)r->sum.spares);
}

#define AGAINST_ALL(name, first)     \
    static void name(void **state)   \
    {                                \
        against_all(state, (first)); \
    }

AGAINST_ALL(a_wake_stands_against_all, 0)
AGAINST_ALL(an_idle_time_stands_against_all, 1)
AGAINST_ALL(a_release_stands_against_all, 2)
AGAINST_ALL(a_release_taken_back_stands_against_all, 3)
AGAINST_ALL(a_stop_stands_against_all, 4)
AGAINST_ALL(an_upgrade_stands_against_all, 5)
AGAINST_ALL(an_upgrade_that_fails_stands_against_all, 6)
AGAINST_ALL(a_way_back_stands_against_all, 7)
AGAINST_ALL(a_crash_stands_against_all, 8)
AGAINST_ALL(a_rollback_stands_against_all, 9)
AGAINST_ALL(a_spare_stands_against_all, 10)
AGAINST_ALL(a_removal_stands_against_all, 11)
AGAINST_ALL(a_suspension_stands_against_all, 12)
AGAINST_ALL(a_resumption_stands_against_all, 13)
AGAINST_ALL(a_lost_worker_stands_against_all, 14)
AGAINST_ALL(a_late_worker_stands_against_all, 15)
AGAINST_ALL(a_dead_worker_stands_against_all, 16)
AGAINST_ALL(a_dead_roomkeyd_stands_against_all, 17)

#define T(f) cmocka_unit_test_setup_teardown(f, race_set_up, race_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_wake_stands_against_all),
        T(an_idle_time_stands_against_all),
        T(a_release_stands_against_all),
        T(a_release_taken_back_stands_against_all),
        T(a_stop_stands_against_all),
        T(an_upgrade_stands_against_all),
        T(an_upgrade_that_fails_stands_against_all),
        T(a_way_back_stands_against_all),
        T(a_crash_stands_against_all),
        T(a_rollback_stands_against_all),
        T(a_spare_stands_against_all),
        T(a_removal_stands_against_all),
        T(a_suspension_stands_against_all),
        T(a_resumption_stands_against_all),
        T(a_lost_worker_stands_against_all),
        T(a_late_worker_stands_against_all),
        T(a_dead_worker_stands_against_all),
        T(a_dead_roomkeyd_stands_against_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
