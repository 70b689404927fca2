/* Schedules by chance: see race_house.h for the world, race_check.c for what must hold.
 *
 * ROOMKEY_SEED=N runs the schedule with that seed of each test, as a failure prints it;
 * ROOMKEY_SCHEDULES=N runs so many of each.  ROOMKEY_LOG=1 shows what roomkeyd logs.
 *
 * It can fail.  A line of the fleet was broken, and this is the first seed of all tests that
 * showed it, by which invariant:
 *   a dead worker's channel FREE without clearing it     4  given, and not cleared
 *   DRAINING not taken back by a wake                    2  a connection is lost
 *   BUSY ignored                                         3  in use, and being let go
 *   no GONE at the end                                   1  a worker was not told
 *   the queue not looked at when one has ended           4  waits for a start, and there is room
 *   a wake waits for one that stops                      2  waits for one on its way out
 *   a failed start not rolled back                       2  a wake is refused
 *   no spare for a version on trial                     50  a wake is refused
 *   an old version given drain_ms to finish              5  a connection is lost
 *   a stop answered while one drains                     1  said to be stopped, and lives
 *   the count of starts not lowered                      1  it counts otherwise
 *   an upgrade forgotten when waiters are refused        3  an admin waits and waits
 *   a lost worker's wakes kept                           1  owed another number of answers
 *   an idle instance does not give way                   6  an idle instance does not give way
 *   the end not written to the row                       1  its row says stopping
 *   suspension lets instances live                       2  serves, and must not
 *   a health question without its deadline               1  idle without a deadline
 * A fence left out is rarer than that: see test_fleet_pairs.c. */
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/alarm.h"
#include "race_house.h"

#define SCHEDULES 120
#define MOVES_MAX 220

enum trouble {
    CRASHES = 1,  /* instances come to harm */
    WORKERS = 2,  /* workers lose their connection, or their life */
    ROOMKEYD = 4, /* roomkeyd dies, or is stopped */
    FULL = 8,     /* there is not room for all */
    ADMINS = 16,  /* upgrades, stops, removals … */
    HELD = 32,    /* the registry cannot be written */
};

/*----- whom to move -----*/

static struct race_tenant *a_tenant(struct race *r)
{
    return &r->tenants[race_random(r, r->tenants_nr)];
}

static struct race_conn *a_conn(struct race *r, enum race_conn_state state)
{
    unsigned from = (unsigned)race_random(r, RACE_CONNS);

    for (unsigned n = 0; n < RACE_CONNS; n++) {
        struct race_conn *c = &r->conns[(from + n) % RACE_CONNS];

        if (c->state == state)
            return c;
    }
    return NULL;
}

/* One that lives, or NULL. */
static struct backend_instance *an_instance(struct race *r)
{
    unsigned nr = fake_count(r->house->backend), n;

    if (nr == 0)
        return NULL;
    n = (unsigned)race_random(r, nr);
    for (struct backend_instance *i = fake_all(r->house->backend); i; i = i->next)
        if (i->alive && n-- == 0)
            return i;
    return NULL;
}

static unsigned a_worker(struct race *r)
{
    return (unsigned)race_random(r, HOUSE_WORKERS);
}

/*----- the moves -----*/

static void move_open(struct race *r)
{
    (void)race_open(r, a_worker(r), a_tenant(r));
}

static void move_shake(struct race *r)
{
    struct race_conn *c = a_conn(r, RACE_HANDSHAKE);

    if (c)
        race_shake(r, c);
}

static void move_bytes(struct race *r)
{
    struct race_conn *c = a_conn(r, RACE_OPEN);

    if (c)
        race_bytes(r, c);
}

static void move_close(struct race *r)
{
    struct race_conn *c = a_conn(r, RACE_OPEN);

    if (c)
        race_close(r, c);
}

static void move_give_up(struct race *r)
{
    struct race_conn *c = a_conn(r, RACE_WAKING);

    if (c)
        race_close(r, c);
}

static void move_second(struct race *r)
{
    race_second(r, a_worker(r));
}

static void move_say(struct race *r)
{
    (void)race_say(r, a_worker(r));
}

static void move_hear(struct race *r)
{
    (void)race_hear(r, a_worker(r));
}

static void move_instance(struct race *r)
{
    struct backend_instance *i = an_instance(r);

    if (!i || !r->house->fleet)
        return;
    race_note(r, "%s moves, generation %llu", i->tenant, (unsigned long long)i->generation);
    (void)fake_turn(i);
    race_check(r);
}

static void move_turn(struct race *r)
{
    race_turn(r);
}

static void move_drift(struct race *r)
{
    race_drift(r, 1 + race_random(r, 20));
}

static void move_settle(struct race *r)
{
    race_note(r, "all move");
    race_settle(r);
}

static void move_pass(struct race *r)
{
    static const uint32_t ms[] = {50, 200, 1000, 2990, 3010, 5000, 9990, 10010, 60000, 61000};
    uint32_t so_many = ms[race_random(r, sizeof ms / sizeof *ms)];

    if (!r->house->fleet && so_many > 5000)
        so_many = 5000;
    race_note(r, "%u ms pass", so_many);
    if (r->house->fleet)
        race_pass(r, so_many);
    else
        race_drift(r, so_many);
}

static void move_upgrade(struct race *r)
{
    static const uint64_t wait[] = {0, 1, 50, 5000, 600000};

    race_upgrade(r, a_tenant(r), race_good[race_random(r, 3)], wait[race_random(r, 5)]);
}

static void move_upgrade_bad(struct race *r)
{
    static const uint64_t wait[] = {0, 1, 5000};

    race_upgrade(r, a_tenant(r), race_bad[race_random(r, 4)], wait[race_random(r, 3)]);
}

static void move_stop(struct race *r)
{
    race_stop(r, a_tenant(r));
}

static void move_suspend(struct race *r)
{
    race_suspend(r, a_tenant(r), true);
}

static void move_resume(struct race *r)
{
    race_suspend(r, a_tenant(r), false);
}

static void move_remove(struct race *r)
{
    race_remove(r, a_tenant(r));
}

static uint32_t an_idle_time(struct race *r)
{
    static const uint32_t ms[] = {300, 1100, 1100, 3000, REGISTRY_IDLE_MS};

    return ms[race_random(r, 5)];
}

static void move_set_idle(struct race *r)
{
    race_set_idle(r, a_tenant(r), an_idle_time(r));
}

static void move_lease(struct race *r)
{
    struct backend_instance *i = an_instance(r);

    if (!i || !i->up || !r->house->fleet)
        return;
    i->health.leases = i->health.leases ? 0 : 1;
    i->health.busy_ms = i->health.leases ? 5000 : 0;
    race_note(r, "%s has %u leases, generation %llu", i->tenant, i->health.leases,
              (unsigned long long)i->generation);
    fake_say_busy(i);
}

static void move_request(struct race *r)
{
    struct backend_instance *i = an_instance(r);

    if (!i)
        return;
    i->health.in_flight = i->health.in_flight ? 0 : 1;
    race_note(r, "%s has %u requests in flight, generation %llu", i->tenant, i->health.in_flight,
              (unsigned long long)i->generation);
}

static void move_crash(struct race *r)
{
    struct backend_instance *i = an_instance(r);

    if (i)
        race_crash(r, i);
}

static void harm(struct race *r, bool *how, const char *words)
{
    struct backend_instance *i = an_instance(r);

    if (!i)
        return;
    *(bool *)((char *)i + (uintptr_t)how) = true;
    race_note(r, "%s %s, generation %llu", i->tenant, words, (unsigned long long)i->generation);
    race_harm(r, i);
}

#define HARM(how, words) harm(r, (bool *)offsetof(struct backend_instance, how), words)

static void move_mute(struct race *r)
{
    HARM(mute, "answers no question any more");
}

static void move_clog(struct race *r)
{
    HARM(clogged, "clears no channel any more");
}

static void move_closed(struct race *r)
{
    HARM(closed, "has no channels any more");
}

static void move_stuck(struct race *r)
{
    struct backend_instance *i = an_instance(r);

    if (!i)
        return;
    i->stuck = true;
    race_note(r, "%s will not stop, generation %llu", i->tenant, (unsigned long long)i->generation);
}

static void move_break(struct race *r)
{
    struct backend_instance *i = an_instance(r);

    if (!i || !i->up)
        return;
    race_note(r, "%s breaks its ring, generation %llu", i->tenant,
              (unsigned long long)i->generation);
    race_harm(r, i);
    fake_break(i);
}

static void move_complain(struct race *r)
{
    unsigned w = a_worker(r);

    if (r->workers[w].channels)
        race_complain(r, w, r->workers[w].channels);
}

static void move_refuse(struct race *r)
{
    race_refuse(r, !r->refusing);
}

static void move_hang(struct race *r)
{
    race_ground_hangs(r, 3100 + (uint32_t)race_random(r, 1500));
}

/* To about when the version on trial gets a spare, if its tenant sleeps. */
static void move_spare(struct race *r)
{
    struct race_tenant *t = a_tenant(r);

    race_upgrade(r, t, race_chance(r, 60) ? "web:hangs" : "web:3", 0);
    race_slow_boot(r, "web:3", 4200);
    move_hang(r);
    (void)race_open(r, a_worker(r), t);
    if (r->house->fleet)
        race_pass(r, 7900 + race_random(r, 200));
}

static void move_hold(struct race *r)
{
    race_hold(r, !r->held);
}

static void move_lose(struct race *r)
{
    race_lose(r, a_worker(r));
}

static void move_connect(struct race *r)
{
    race_connect(r, a_worker(r));
}

static void move_kill(struct race *r)
{
    race_kill(r, a_worker(r));
}

static void move_die(struct race *r)
{
    race_roomkeyd_dies(r, false);
}

static void move_leave(struct race *r)
{
    race_roomkeyd_dies(r, true);
}

static void move_start(struct race *r)
{
    race_roomkeyd_starts(r);
}

static void move_end(struct race *r)
{
    race_roomkeyd_stops(r);
}

static const struct move {
    void (*make)(struct race *r);
    unsigned weight, trouble; /* 0: always */
} moves[] = {
    {move_open, 40, 0},
    {move_shake, 40, 0},
    {move_bytes, 10, 0},
    {move_close, 30, 0},
    {move_give_up, 3, 0},
    {move_second, 10, 0},
    {move_say, 60, 0},
    {move_hear, 60, 0},
    {move_instance, 30, 0},
    {move_turn, 60, 0},
    {move_drift, 20, 0},
    {move_settle, 15, 0},
    {move_pass, 15, 0},
    {move_lease, 4, 0},
    {move_request, 3, 0},
    {move_stuck, 2, 0},
    {move_set_idle, 3, ADMINS},
    {move_upgrade, 10, ADMINS},
    {move_upgrade_bad, 6, ADMINS},
    {move_hang, 3, ADMINS},
    {move_spare, 4, ADMINS},
    {move_stop, 6, ADMINS},
    {move_suspend, 3, ADMINS},
    {move_resume, 8, ADMINS},
    {move_remove, 1, ADMINS},
    {move_crash, 6, CRASHES},
    {move_mute, 1, CRASHES},
    {move_clog, 2, CRASHES},
    {move_closed, 2, CRASHES},
    {move_break, 2, CRASHES},
    {move_complain, 2, CRASHES},
    {move_refuse, 2, CRASHES},
    {move_lose, 5, WORKERS},
    {move_connect, 30, 0},
    {move_kill, 3, WORKERS},
    {move_die, 3, ROOMKEYD},
    {move_leave, 1, ROOMKEYD},
    {move_start, 30, 0},
    {move_end, 1, ROOMKEYD},
    {move_hold, 12, HELD},
};

#define MOVES (sizeof moves / sizeof *moves)

/*----- schedules -----*/

/* Each schedule leaves out some of the moves, so that others come in each other's way. */
static unsigned choose(struct race *r, unsigned trouble, unsigned weight[MOVES])
{
    unsigned sum = 0;

    for (unsigned n = 0; n < MOVES; n++) {
        bool on = !moves[n].trouble || (moves[n].trouble & trouble);

        weight[n] = on ? moves[n].weight : 0;
        if (moves[n].weight < 20)
            weight[n] *= (unsigned)race_random(r, 4);
        sum += weight[n];
    }
    return sum;
}

static void schedule(struct race *r, uint64_t seed, unsigned trouble, const char *title)
{
    static const uint32_t boot[] = {0, 1, 20, 700}, dying[] = {0, 0, 3, 300};
    unsigned weight[MOVES], sum, nr;
    char text[128];

    snprintf(text, sizeof text, "%s, ROOMKEY_SEED=%llu", title, (unsigned long long)seed);
    race_begin(r, seed, text);
    if (trouble & FULL) {
        r->full = true;
        r->house->limits.max_running = 1 + (uint32_t)race_random(r, 2);
        r->house->limits.max_starting = 1 + (uint32_t)race_random(r, 2);
    }
    r->boot_ms = boot[race_random(r, 4)];
    r->exit_ms = dying[race_random(r, 4)];
    race_roomkeyd_starts(r);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_connect(r, w);
    nr = 1 + (unsigned)race_random(r, trouble & FULL ? RACE_TENANTS : 2);
    while (r->tenants_nr < nr) {
        bool bad = (trouble & ADMINS) && race_chance(r, 5);
        struct race_tenant *t =
            race_tenant_new(r, bad ? race_bad[race_random(r, 4)] : race_good[race_random(r, 3)]);

        race_set_idle(r, t, an_idle_time(r));
    }
    sum = choose(r, trouble, weight);
    nr = 20 + (unsigned)race_random(r, MOVES_MAX);
    for (unsigned m = 0; m < nr; m++) {
        uint64_t at = race_random(r, sum);
        unsigned n = 0;

        while (at >= weight[n])
            at -= weight[n++];
        moves[n].make(r);
    }
    race_end(r);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

static void schedules(void **state, unsigned trouble, const char *title)
{
    struct race *r = *state;
    uint64_t first = number("ROOMKEY_SEED", 1);
    uint64_t nr = number("ROOMKEY_SCHEDULES", getenv("ROOMKEY_SEED") ? 1 : SCHEDULES);

    memset(&r->sum, 0, sizeof r->sum);
    for (uint64_t n = 0; n < nr; n++)
        schedule(r, first + n, trouble, title);
    print_message("             %llu schedules, %llu moves: %llu READY, %llu refused, %llu "
                  "connections cut, %llu rolled back, %llu taken back, %llu spares\n",
                  (unsigned long long)r->sum.schedules, (unsigned long long)r->sum.moves,
                  (unsigned long long)r->sum.ready, (unsigned long long)r->sum.refused,
                  (unsigned long long)r->sum.lost, (unsigned long long)r->sum.rollbacks,
                  (unsigned long long)r->sum.taken_back, (unsigned long long)r->sum.spares);
}

#define SCHEDULES_OF(name, trouble)         \
    static void name(void **state)          \
    {                                       \
        schedules(state, (trouble), #name); \
    }

SCHEDULES_OF(nobody_is_lost_when_nothing_fails, 0)
SCHEDULES_OF(nobody_is_lost_to_admins, ADMINS)
SCHEDULES_OF(nobody_else_is_lost_when_instances_crash, CRASHES)
SCHEDULES_OF(nobody_else_is_lost_when_workers_come_and_go, WORKERS)
SCHEDULES_OF(nobody_is_lost_when_roomkeyd_dies, ROOMKEYD)
SCHEDULES_OF(nobody_is_forgotten_when_the_host_is_full, FULL | ADMINS)
SCHEDULES_OF(an_upgrade_survives_a_death_of_roomkeyd, ADMINS | ROOMKEYD | WORKERS)
SCHEDULES_OF(nothing_is_lost_for_good_when_the_registry_is_held, CRASHES | ROOMKEYD | ADMINS | HELD)
SCHEDULES_OF(all_at_once, CRASHES | WORKERS | ROOMKEYD | ADMINS)
SCHEDULES_OF(all_at_once_on_a_full_host, CRASHES | WORKERS | ROOMKEYD | ADMINS | FULL)

#define T(f) cmocka_unit_test_setup_teardown(f, race_set_up, race_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nobody_is_lost_when_nothing_fails),
        T(nobody_is_lost_to_admins),
        T(nobody_else_is_lost_when_instances_crash),
        T(nobody_else_is_lost_when_workers_come_and_go),
        T(nobody_is_lost_when_roomkeyd_dies),
        T(nobody_is_forgotten_when_the_host_is_full),
        T(an_upgrade_survives_a_death_of_roomkeyd),
        T(nothing_is_lost_for_good_when_the_registry_is_held),
        T(all_at_once),
        T(all_at_once_on_a_full_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
