#include "race_house.h"

#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/fleet_private.h"

#define TRACE_SIZE (4u << 20)
#define QUIET_MS   420000u /* longer than anything is held against anybody, but retire_ms */

const char *const race_good[3] = {"web:1", "web:2", "web:3"};
const char *const race_bad[4] = {"web:fails", "web:dies", "web:hangs", "web:lies"};

/* What is on the disk after a power cut is tests/unit/test_registry_open.c's. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

/*----- chance -----*/

uint64_t race_random(struct race *r, uint64_t below)
{
    uint64_t z = r->random += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

bool race_chance(struct race *r, unsigned percent)
{
    return race_random(r, 100) < percent;
}

/*----- what was done -----*/

static struct race *running; /* for whoever dies in it */

static void print_trace(const struct race *r)
{
    fprintf(stderr, "----- %s\n%.*s", r->title, (int)r->trace_len, r->trace);
}

static void on_abort(int signal_nr)
{
    (void)signal_nr;
    if (running)
        print_trace(running);
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
}

static void on_sanitizer(void)
{
    if (running)
        print_trace(running);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

void race_note(struct race *r, const char *fmt, ...)
{
    uint64_t now = race_now(r);
    size_t room = r->trace_size - r->trace_len;
    va_list args;
    int n;

    if (room < 512)
        return;
    n = snprintf(r->trace + r->trace_len, room, "%9.3f  ", (double)now / 1e6);
    r->trace_len += (size_t)n;
    va_start(args, fmt);
    n = vsnprintf(r->trace + r->trace_len, room - (size_t)n - 1, fmt, args);
    va_end(args);
    r->trace_len += (size_t)n;
    r->trace[r->trace_len++] = '\n';
    r->sum.moves++;
}

void race_broken(struct race *r, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    print_trace(r);
    fprintf(stderr, "%9.3f  BROKEN: %s\n", (double)race_now(r) / 1e6, text);
    running = NULL;
    r->house->hear = NULL;
    fail_msg("%s: %s", r->title, text);
    abort(); /* not reached */
}

/*----- time -----*/

uint64_t race_now(const struct race *r)
{
    const struct house *h = r->house;

    return h->fleet ? alarms_us(fleet_alarms(h->fleet)) : h->now_us;
}

static bool ring_due(struct race *r)
{
    struct alarms *alarms = fleet_alarms(r->house->fleet);
    uint64_t now = alarms_us(alarms);

    if (alarms_next_us(alarms) > now)
        return false;
    alarms_advance_to(alarms, now);
    return true;
}

void race_turn(struct race *r)
{
    if (!r->house->fleet)
        return;
    uv_run(&r->house->loop, UV_RUN_NOWAIT);
    ring_due(r);
    race_check(r);
}

static bool all_move(struct race *r)
{
    bool moved = false;

    uv_run(&r->house->loop, UV_RUN_NOWAIT);
    moved = fake_backend_turn(r->house->backend) || moved;
    moved = ring_due(r) || moved;
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        while (race_say(r, w) || race_hear(r, w))
            moved = true;
    race_check(r);
    return moved;
}

static void settle(struct race *r)
{
    /* A doorbell may take three turns of the loop to be heard. */
    for (unsigned quiet = 0, turns = 0; quiet < 3; turns++) {
        quiet = all_move(r) ? 0 : quiet + 1;
        if (turns == 100000)
            race_broken(r, "it never comes to rest");
    }
    race_check_settled(r);
}

void race_settle(struct race *r)
{
    if (!r->house->fleet)
        return;
    settle(r);
    race_check_rows(r);
}

static void advance(struct race *r, uint64_t us)
{
    struct house *h = r->house;

    if (h->fleet)
        alarms_advance_to(fleet_alarms(h->fleet), us);
    else
        h->now_us = us;
    race_late(r);
}

static uint64_t next_us(const struct race *r)
{
    uint64_t late = race_next_late(r), alarm = UINT64_MAX;

    if (r->house->fleet)
        alarm = alarms_next_us(fleet_alarms(r->house->fleet));
    return alarm < late ? alarm : late;
}

void race_drift(struct race *r, uint64_t ms)
{
    uint64_t end = race_now(r) + ms * 1000;

    while (next_us(r) <= end) {
        advance(r, next_us(r) > race_now(r) ? next_us(r) : race_now(r));
        race_check(r);
    }
    advance(r, end);
    race_check(r);
}

void race_pass(struct race *r, uint64_t ms)
{
    uint64_t end = race_now(r) + ms * 1000, second = race_now(r) + 1000000;
    bool told = false;

    settle(r);
    while (race_now(r) < end) {
        uint64_t to = next_us(r) < end ? next_us(r) : end;

        if (!told && second < to)
            to = second;
        if (to < race_now(r))
            to = race_now(r);
        advance(r, to);
        for (unsigned w = 0; !told && to >= second && w < HOUSE_WORKERS; w++)
            race_second(r, w);
        told = told || to >= second;
        settle(r);
    }
    race_check_rows(r);
}

/*----- roomkeyd -----*/

/* Of all images; after a change of boot_ms. */
static void behave(struct race *r)
{
    static const enum fake_start bad[] = {FAKE_FAILS, FAKE_CRASHES, FAKE_HANGS, FAKE_LIES};
    struct backend *b = r->house->backend;

    for (unsigned n = 0; n < 3; n++)
        fake_behave(b, race_good[n], FAKE_READY, r->boot_ms);
    for (unsigned n = 0; n < 4; n++)
        fake_behave(b, race_bad[n], bad[n], r->boot_ms);
}

void race_refuse(struct race *r, bool refusing)
{
    race_note(r, "the host %s", refusing ? "starts nothing any more" : "is well again");
    r->refusing = refusing;
    for (unsigned n = 0; refusing && n < r->tenants_nr; n++)
        r->tenants[n].excused = true;
    fake_refuse(r->house->backend, refusing);
}

static void on_left(void *arg, enum rc rc)
{
    (void)rc;
    *(bool *)arg = true;
}

static void down(struct race *r)
{
    struct house *h = r->house;

    r->rolled_back += (unsigned)fleet_counters(h->fleet)->rollbacks_total;
    r->sum.taken_back += fleet_counters(h->fleet)->taken_back_total;
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_note_late(r, w);
    /* The ground's name of it is not in the registry yet, or it is dying. */
    for (struct backend_instance *i = fake_all(h->backend); i; i = i->next)
        if (!i->started || !i->alive)
            race_life(r, i->id)->excused = true;
    r->deaf = true;
    house_crash(h);
    r->deaf = r->stopping = false;
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_lose(r, w);
    /* Nobody is told any more. */
    r->upgrades = r->upgraded = r->stops = r->stopped = r->removals = r->removed = 0;
    for (unsigned n = 0; n < r->tenants_nr; n++)
        r->tenants[n].removing = false;
    for (unsigned n = 0; n < r->lives_nr; n++)
        if (!r->lives[n].ended && !r->lives[n].stopping)
            r->lives[n].draining_us = 0; /* it may begin anew */
}

void race_roomkeyd_dies(struct race *r, bool leave)
{
    bool left = false;

    if (!r->house->fleet)
        return;
    race_note(r, leave ? "roomkeyd is stopped, and leaves all running" : "roomkeyd dies");
    if (leave) {
        r->stopping = true;
        fleet_stop(r->house->fleet, true, on_left, &left);
        while (!left)
            race_turn(r);
        for (unsigned w = 0; w < HOUSE_WORKERS; w++)
            race_lose(r, w);
    }
    down(r);
}

void race_roomkeyd_stops(struct race *r)
{
    const struct fleet_limits *limits = &r->house->limits;
    uint64_t end = race_now(r) + (limits->shutdown_ms + limits->kill_ms) * 1000ull;
    bool stopped = false;

    if (!r->house->fleet)
        return;
    race_note(r, "roomkeyd is stopped");
    r->stopping = true;
    for (unsigned n = 0; n < r->lives_nr; n++)
        r->lives[n].hurried = true;
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        if (!r->workers[w].connected) /* it is not waited for */
            for (struct race_channel *ch = r->workers[w].channels; ch; ch = ch->next)
                ch->late = true;
    fleet_stop(r->house->fleet, false, on_left, &stopped);
    race_check(r);
    while (!stopped) {
        race_settle(r);
        if (!stopped && race_now(r) >= end)
            race_broken(r, "its stop has no end");
        if (!stopped)
            advance(r, next_us(r) < end ? next_us(r) : end);
    }
    if (fake_count(r->house->backend) > 0)
        race_broken(r, "an instance lives though roomkeyd was stopped");
    if (!r->house->fleet->rows_alarm.set && house_rows_alive(r->house) > 0)
        race_broken(r, "a row says that an instance lives though roomkeyd was stopped");
    down(r);
}

void race_roomkeyd_starts(struct race *r)
{
    if (r->house->fleet)
        return;
    race_note(r, "roomkeyd starts");
    behave(r);
    house_restart(r->house);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        r->workers[w].away_us = race_now(r);
    race_check(r);
}

/*----- a schedule -----*/

static unsigned descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    CHECK(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

void race_begin(struct race *r, uint64_t seed, const char *title)
{
    struct house *h = r->house;

    CHECK(!h->fleet && r->tenants_nr == 0);
    r->random = seed;
    r->trace_len = 0;
    r->lives_nr = r->stop_nr = 0;
    r->requests = 0;
    r->full = r->refusing = r->stopping = false;
    r->boot_ms = 20;
    r->exit_ms = 0;
    r->rolled_back = 0;
    r->upgrades = r->upgraded = r->stops = r->stopped = r->removals = r->removed = 0;
    r->sum.schedules++;
    snprintf(r->title, sizeof r->title, "%s", title);
    memset(r->conns, 0, sizeof r->conns);
    h->now_us = 0;
    h->hear = race_told;
    h->hear_arg = r;
    fleet_limits_init(&h->limits);
    h->limits.channels = HOUSE_WORKERS;
    r->descriptors = descriptors();
    fake_refuse(h->backend, false);
    fake_ground_hangs_once(h->backend, 0);
    running = r;
}

static void thaw(struct race *r)
{
    race_hold(r, false);
    if (r->refusing)
        race_refuse(r, false);
    fake_ground_hangs_once(r->house->backend, 0);
    behave(r);
    for (struct backend_instance *i = fake_all(r->house->backend); i; i = i->next) {
        bool held = i->health.leases > 0;

        i->stuck = i->mute = i->clogged = i->ill = i->closed = false;
        i->health = (struct mux_health){0};
        if (held && i->alive && i->up)
            fake_say_busy(i);
    }
}

/* Everybody gets what they wait for, or gives up, and leaves. */
static void all_leave(struct race *r)
{
    for (unsigned n = 0; n < RACE_CONNS; n++)
        if (r->conns[n].state == RACE_HANDSHAKE)
            race_shake(r, &r->conns[n]);
    race_pass(r, REGISTRY_WAKE_TIMEOUT_MS + 1000);
    for (unsigned n = 0; n < RACE_CONNS; n++) {
        struct race_conn *c = &r->conns[n];

        if (c->state == RACE_OPEN || c->state == RACE_HANDSHAKE)
            race_close(r, c);
        else if (c->state != RACE_NONE)
            race_broken(r, "a client of %s waits and waits", c->tenant->name);
    }
}

static void wake_once_more(struct race *r, struct race_tenant *t)
{
    struct registry_tenant row;
    struct race_conn *c;

    if (!t->there || t->suspended)
        return;
    c = race_open(r, (unsigned)race_random(r, HOUSE_WORKERS), t);
    CHECK(c);
    race_settle(r);
    if (c->state == RACE_HANDSHAKE)
        race_shake(r, c);
    race_pass(r, r->house->limits.trial_start_ms + 3000);
    row = house_row(r->house, t->name);
    if (c->state != RACE_OPEN) {
        if (!race_is_bad(row.image_ref))
            race_broken(r, "%s cannot be woken, when all is well again", t->name);
        return;
    }
    if (c->channel->id.generation != row.generation)
        race_broken(r, "%s is served by generation %llu of %llu", t->name,
                    (unsigned long long)c->channel->id.generation,
                    (unsigned long long)row.generation);
    if (strcmp(race_life(r, c->channel->id.instance)->ref, row.image_ref) != 0)
        race_broken(r, "%s is served by %s, and should run %s", t->name,
                    race_life(r, c->channel->id.instance)->ref, row.image_ref);
    if (race_is_bad(row.image_ref))
        race_broken(r, "%s is served by an image that does not start", t->name);
    if (!t->harmed && !race_is_bad(t->wish) && strcmp(t->wish, row.image_ref) != 0)
        race_broken(r, "%s runs %s, and %s was wished for", t->name, row.image_ref, t->wish);
    if (r->house->fleet && row.upgrade != REGISTRY_UPGRADE_NONE)
        race_broken(r, "the upgrade of %s does not end", t->name);
    race_close(r, c);
}

void race_end(struct race *r)
{
    struct house *h = r->house;

    race_note(r, "----- the end: all are well, and finish");
    race_roomkeyd_starts(r);
    thaw(r);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_connect(r, w);
    all_leave(r);
    race_pass(r, QUIET_MS);
    if (r->upgrades != r->upgraded || r->stops != r->stopped || r->removals != r->removed)
        race_broken(r,
                    "an admin waits and waits: %u of %u upgrades, %u of %u stops, "
                    "%u of %u removals were answered",
                    r->upgraded, r->upgrades, r->stopped, r->stops, r->removed, r->removals);
    race_note(r, "----- each is woken once more");
    for (unsigned n = 0; n < r->tenants_nr; n++)
        wake_once_more(r, &r->tenants[n]);
    race_pass(r, QUIET_MS);
    race_check_asleep(r);

    for (unsigned n = 0; n < r->tenants_nr; n++)
        if (r->tenants[n].there)
            race_remove(r, &r->tenants[n]);
    race_settle(r);
    for (unsigned n = 0; n < r->tenants_nr; n++)
        if (r->tenants[n].there)
            race_broken(r, "%s sleeps, and cannot be removed", r->tenants[n].name);
    r->sum.rollbacks += fleet_counters(h->fleet)->rollbacks_total + r->rolled_back;
    down(r);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_worker_dispose(r, w);
    if (fake_all(h->backend))
        race_broken(r, "the ground still holds an instance");
    if (descriptors() != r->descriptors)
        race_broken(r, "%u descriptors were left open", descriptors() - r->descriptors);
    r->tenants_nr = 0;
    running = NULL;
}

/*----- the test -----*/

int race_set_up(void **state)
{
    struct race *r = calloc(1, sizeof *r);
    char path[128];
    void *house;

    CHECK(r);
    log_open("race", (enum log_level)(getenv("ROOMKEY_LOG") ? LOG_INFO : 0));
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(on_sanitizer);
    r->trace_size = TRACE_SIZE;
    r->trace = malloc(r->trace_size);
    CHECK(r->trace);
    house_set_up(&house);
    r->house = house;
    for (unsigned n = 0; n < 3; n++)
        house_image(r->house, race_good[n], FAKE_READY, 20);
    for (unsigned n = 0; n < 4; n++)
        house_image(r->house, race_bad[n], FAKE_FAILS, 20);
    house_crash(r->house);
    snprintf(path, sizeof path, "%s/roomkey.db", r->house->scratch.dir);
    CHECK(sqlite3_open(path, &r->other) == SQLITE_OK);
    race_hold(r, true); /* it opens its files, once for all */
    race_hold(r, false);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++) {
        r->workers[w].out.last = &r->workers[w].out.first;
        r->workers[w].in.last = &r->workers[w].in.first;
    }
    *state = r;
    return 0;
}

int race_tear_down(void **state)
{
    struct race *r = *state;
    void *house = r->house;

    running = NULL;
    r->house->hear = NULL;
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        race_worker_dispose(r, w);
    sqlite3_close(r->other);
    free(r->trace);
    free(r);
    return house_tear_down(&house);
}
