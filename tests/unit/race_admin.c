/* What admins and accidents do to tenants. */
#include <sqlite3.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/alarm.h"
#include "race_house.h"

/* Whoever wants to write would wait for this long, in the midst of a schedule. */
int sqlite3_busy_timeout(sqlite3 *db, int ms)
{
    (void)db, (void)ms;
    return SQLITE_OK;
}

void race_hold(struct race *r, bool held)
{
    if (held == r->held)
        return;
    race_note(r, "another program %s the registry", held ? "holds" : "lets go of");
    r->held = held;
    CHECK(sqlite3_exec(r->other, held ? "BEGIN IMMEDIATE" : "ROLLBACK", NULL, NULL, NULL) ==
          SQLITE_OK);
    /* What is there may be lost with roomkeyd, and nothing can be started. */
    for (unsigned n = 0; n < r->tenants_nr; n++)
        r->tenants[n].excused = r->tenants[n].harmed = r->tenants[n].held = true;
    for (unsigned n = 0; n < r->lives_nr; n++)
        r->lives[n].excused = true;
}

bool race_is_bad(const char *ref)
{
    for (unsigned n = 0; n < 4; n++)
        if (strcmp(ref, race_bad[n]) == 0)
            return true;
    return false;
}

struct race_tenant *race_tenant_of(struct race *r, const char *name)
{
    for (unsigned n = 0; n < r->tenants_nr; n++)
        if (strcmp(r->tenants[n].name, name) == 0)
            return &r->tenants[n];
    return NULL;
}

static void hurry(struct race *r, const struct race_tenant *t)
{
    for (unsigned n = 0; n < r->lives_nr; n++)
        if (r->lives[n].tenant == t)
            r->lives[n].hurried = true;
}

struct race_tenant *race_tenant_new(struct race *r, const char *ref)
{
    struct race_tenant *t;

    CHECK(r->tenants_nr < RACE_TENANTS);
    t = &r->tenants[r->tenants_nr];
    *t = (struct race_tenant){.race = r, .n = r->tenants_nr++, .there = true};
    snprintf(t->name, sizeof t->name, "%c%u", (char)('a' + t->n), (unsigned)r->sum.schedules);
    snprintf(t->host, sizeof t->host, "%c%u.example", (char)('a' + t->n),
             (unsigned)r->sum.schedules);
    snprintf(t->first, sizeof t->first, "%s", ref);
    snprintf(t->wish, sizeof t->wish, "%s", ref);
    t->first_bad = race_is_bad(ref);
    t->id = house_tenant(r->house, t->name, ref);
    race_note(r, "tenant %s is made with %s", t->name, ref);
    return t;
}

/*----- upgrades -----*/

static void on_upgraded(void *arg, enum fleet_upgraded how, const char *text)
{
    static const char *const words[] = {"done", "rolled back", "canceled"};
    struct race_tenant *t = arg;
    struct race *r = t->race;

    race_note(r, "        the upgrade of %s is %s: %s", t->name, words[how], text);
    if (++r->upgraded > r->upgrades)
        race_broken(r, "an upgrade of %s was answered twice", t->name);
    if (how == FLEET_UPGRADE_ROLLED_BACK && !t->harmed && !race_is_bad(t->wish))
        race_broken(r, "%s was rolled back from %s, which is good", t->name, t->wish);
}

void race_upgrade(struct race *r, struct race_tenant *t, const char *ref, uint64_t max_wait)
{
    struct refusal no;
    unsigned before = r->upgraded;

    if (!r->house->fleet || !t->there)
        return;
    race_note(r, "%s is to run %s, within %llu ms", t->name, ref, (unsigned long long)max_wait);
    r->upgrades++;
    snprintf(t->wish, sizeof t->wish, "%s", ref);
    if (fleet_upgrade(r->house->fleet, t->name, ref, max_wait, on_upgraded, t, &no) == RC_OK)
        ;
    else if (r->held)
        r->upgrades--;
    else
        race_broken(r, "the upgrade was refused: %s: %s", no.what, no.why);
    if (r->upgraded > before + 1)
        race_broken(r, "an upgrade was answered from inside its call");
    race_check(r);
}

/*----- stop -----*/

static void on_stopped(void *arg, enum rc rc)
{
    struct race_stop *s = arg;
    struct race *r = s->tenant->race;

    race_note(r, "        %s is stopped: %s", s->tenant->name, rc_text(rc));
    if (++r->stopped > r->stops)
        race_broken(r, "a stop of %s was answered twice", s->tenant->name);
    for (struct backend_instance *i = fake_all(r->house->backend); i; i = i->next)
        if (i->alive && race_tenant_of(r, i->tenant) == s->tenant && i->generation <= s->generation)
            race_broken(r, "%s was said to be stopped, and generation %llu lives", i->tenant,
                        (unsigned long long)i->generation);
}

void race_stop(struct race *r, struct race_tenant *t)
{
    struct race_stop *s = &r->stop[r->stop_nr];
    unsigned before = r->stopped;
    enum rc rc;

    if (!r->house->fleet || !t->there || r->stop_nr == RACE_STOPS)
        return;
    *s = (struct race_stop){.tenant = t};
    for (struct backend_instance *i = fake_all(r->house->backend); i; i = i->next)
        if (race_tenant_of(r, i->tenant) == t && i->generation > s->generation)
            s->generation = i->generation;
    race_note(r, "%s is to be stopped", t->name);
    r->stops++;
    rc = fleet_instance_stop(r->house->fleet, t->id, on_stopped, s);
    if (rc == RC_OK) {
        r->stop_nr++;
        hurry(r, t);
    } else {
        race_note(r, "        it is asleep");
        r->stops--;
    }
    if (r->stopped != before)
        race_broken(r, "a stop was answered from inside its call");
    race_check(r);
}

/*----- settings, suspension, removal -----*/

void race_suspend(struct race *r, struct race_tenant *t, bool suspended)
{
    struct registry_tenant row;
    struct refusal no;

    if (!r->house->fleet || !t->there || r->held)
        return;
    race_note(r, "%s is %s", t->name, suspended ? "suspended" : "resumed");
    CHECK(registry_tenant_suspend(r->house->registry, t->name, suspended, 1, &row, &no) == RC_OK);
    t->suspended = suspended;
    if (suspended)
        hurry(r, t);
    fleet_tenant_changed(r->house->fleet, t->id);
    race_check(r);
}

void race_set_idle(struct race *r, struct race_tenant *t, uint32_t ms)
{
    struct registry_wish wish = {.has_idle_ms = true, .idle_ms = ms};
    struct registry_dropped dropped;
    struct registry_tenant row;
    struct refusal no;

    if (!r->house->fleet || !t->there || r->held)
        return;
    race_note(r, "%s is idle after %u ms", t->name, ms);
    CHECK(registry_tenant_set(r->house->registry, t->name, &wish, 1, &row, &dropped, &no) == RC_OK);
    fleet_tenant_changed(r->house->fleet, t->id);
    race_check(r);
}

/* As the admin server does. */
static void on_gone(void *arg, enum rc rc)
{
    struct race_tenant *t = arg;
    struct race *r = t->race;
    struct registry_dropped dropped;
    struct refusal no;

    race_note(r, "        %s is gone: %s", t->name, rc_text(rc));
    if (++r->removed > r->removals)
        race_broken(r, "a removal of %s was answered twice", t->name);
    if (!t->there)
        return; /* asked twice */
    for (struct backend_instance *i = fake_all(r->house->backend); i; i = i->next)
        if (i->alive && race_tenant_of(r, i->tenant) == t)
            race_broken(r, "%s was said to be gone, and generation %llu lives", t->name,
                        (unsigned long long)i->generation);
    if (registry_tenant_remove(r->house->registry, t->name, 1, &dropped, &no)) {
        if (!t->held)
            race_broken(r, "the row of %s cannot be removed: %s", t->name, no.why);
        t->removing = false;
        fleet_tenant_changed(r->house->fleet, t->id);
        return;
    }
    t->there = t->removing = false;
    fleet_tenant_removed(r->house->fleet, t->id);
}

void race_remove(struct race *r, struct race_tenant *t)
{
    unsigned before = r->removed;

    if (!r->house->fleet || !t->there)
        return;
    race_note(r, "%s is to be removed", t->name);
    r->removals++;
    t->removing = true;
    hurry(r, t);
    if (fleet_tenant_remove(r->house->fleet, t->id, on_gone, t))
        race_broken(r, "the removal of %s was refused", t->name);
    if (r->removed != before)
        race_broken(r, "a removal was answered from inside its call");
    race_check(r);
}

/*----- harm -----*/

void race_harm(struct race *r, struct backend_instance *i)
{
    struct race_tenant *t = race_tenant_of(r, i->tenant);
    struct race_life *life = race_life(r, i->id);

    if (life->excused)
        return;
    life->excused = true;
    t->harmed = true;
    if (!life->ready || ++t->crashes >= r->house->limits.crashes)
        t->excused = true;
}

void race_ground_hangs(struct race *r, uint32_t ms)
{
    race_note(r, "the next start will take the ground %u ms", ms);
    fake_ground_hangs_once(r->house->backend, ms);
}

void race_slow_boot(struct race *r, const char *ref, uint32_t ms)
{
    race_note(r, "%s boots in %u ms from now on", ref, ms);
    fake_behave(r->house->backend, ref, FAKE_READY, ms);
}

void race_crash(struct race *r, struct backend_instance *i)
{
    if (!i->alive)
        return;
    race_note(r, "%s crashes, generation %llu", i->tenant, (unsigned long long)i->generation);
    race_harm(r, i);
    if (r->house->fleet)
        fake_crash(i);
    else
        fake_vanish(i);
    race_check(r);
}
