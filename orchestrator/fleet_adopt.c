/* Taking over what an earlier roomkeyd left running.
 *
 * The happy path: each living row -> the ground finds the instance again -> it is
 * asked for its health -> it serves on; the workers say which channels they hold.
 * Failure: it is not found, or is not the same any more: the row is ended.  What
 * runs and nobody knows is ended by the ground. */
#include <stdlib.h>

#include "common/host/log.h"
#include "orchestrator/fleet_private.h"

#define ROWS_AGAIN_MS 5000u

struct alive {
    struct registry_instance *rows; /* owned */
    size_t nr, room;
    bool lost;
};

static bool collect(void *arg, const struct registry_instance *row)
{
    struct alive *alive = arg;

    if (alive->nr == alive->room) {
        size_t room = alive->room ? alive->room * 2 : 64;
        struct registry_instance *more = realloc(alive->rows, room * sizeof *more);

        if (!more) {
            alive->lost = true;
            return false;
        }
        alive->rows = more;
        alive->room = room;
    }
    alive->rows[alive->nr++] = *row;
    return true;
}

/*----- rows whose end could not be written: their tenants and images could not be removed -----*/

static enum rc end_row(struct fleet *f, uint64_t id, const char *why)
{
    enum rc rc = registry_instance_end(f->registry, id, why, alarms_utc_ms(&f->alarms));

    fleet_db(f, rc, "instance end");
    if (rc && rc != RC_NOT_FOUND)
        alarm_set(&f->alarms, &f->rows_alarm, ROWS_AGAIN_MS);
    return rc;
}

void fleet_end_row(struct fleet *f, uint64_t id, const char *why)
{
    (void)end_row(f, id, why);
}

void fleet_on_rows(struct alarm *a)
{
    struct fleet *f = CONTAINER_OF(a, struct fleet, rows_alarm);
    struct alive alive = {0};
    enum rc rc = registry_instances_alive(f->registry, collect, &alive);

    if (rc || alive.lost)
        alarm_set(&f->alarms, &f->rows_alarm, ROWS_AGAIN_MS);
    /* Not all of them when the first fails: each may wait for the lock. */
    for (size_t n = 0; n < alive.nr && (!rc || rc == RC_NOT_FOUND); n++) {
        struct instance key = {.id = alive.rows[n].id};

        if (!RB_FIND(instance_tree, &f->instances, &key))
            rc = end_row(f, key.id, "ended when the registry could not be written");
    }
    free(alive.rows);
}

/*----- the start -----*/

/* By its row: another one has taken the new connections. */
static bool had_successor(const struct tenant *t, const struct registry_instance *row,
                          const struct registry_tenant *tenant)
{
    return row->state == REGISTRY_INSTANCE_DRAINING &&
           (t->current || row->generation < tenant->generation ||
            (row->image != tenant->image && tenant->upgrade == REGISTRY_UPGRADE_NONE));
}

/* Each after those with a lower id: a later one is the one that takes new connections, but a spare
 * only until the version on trial has been ready. */
static void place(struct tenant *t, struct instance *i, const struct registry_instance *row,
                  const struct registry_tenant *tenant)
{
    const struct fleet_limits *limits = &t->fleet->limits;
    struct instance *before = t->current;
    bool spare = before && before->image == tenant->image && row->image != tenant->image;

    if (row->state == REGISTRY_INSTANCE_STOPPING) {
        tenant_retire(t, i, limits->drain_ms, false);
    } else if (spare && !before->ready_at) {
        t->trial = before;
        t->current = i;
    } else if (spare || had_successor(t, row, tenant)) {
        tenant_retire(t, i, limits->retire_ms, true);
    } else if (before && row->state == REGISTRY_INSTANCE_STARTING) {
        if (t->trial)
            tenant_retire_trial(t);
        t->trial = i;
    } else {
        if (before)
            tenant_retire_current(t, limits->retire_ms, true);
        t->current = i;
    }
}

static enum rc adopt(struct fleet *f, const struct registry_instance *row)
{
    struct registry_image image;
    struct registry_tenant tenant;
    struct instance_start start = {.row = row, .image = &image, .image_fd = -1};
    struct tenant *t;
    struct instance *i;
    enum rc rc = registry_image(f->registry, row->image, &image);

    if (rc == RC_OK)
        rc = registry_tenant(f->registry, row->tenant, &tenant);
    if (rc)
        return rc;
    t = fleet_tenant_active(f, tenant.id, tenant.name);
    if (!t)
        return RC_NOMEM;
    start.memory = tenant.memory ? tenant.memory : (uint64_t)image.memory_kib << 10;
    start.idle_ms = tenant.idle_ms;
    /* So that another can still be ready for those who wait. */
    start.own_ms = row->state == REGISTRY_INSTANCE_STARTING
                       ? tenant_start_deadline(t, t->current != NULL)
                       : f->limits.trial_start_ms;
    rc = instance_adopt(f, t, &start, &i);
    alarm_set(&f->alarms, &t->soon, 0);
    if (rc)
        return rc;
    place(t, i, row, &tenant);
    return RC_OK;
}

void fleet_adopt(struct fleet *f)
{
    struct alive alive = {0};
    enum rc rc = registry_instances_alive(f->registry, collect, &alive);
    unsigned adopted = 0;

    fleet_db(f, rc, "living instances");
    if (alive.lost)
        log_error("out of memory: not all living instances could be taken over");
    for (size_t n = 0; n < alive.nr; n++) {
        const struct registry_instance *row = &alive.rows[n];

        rc = row->handle[0] ? adopt(f, row) : RC_NOT_FOUND;
        if (rc == RC_OK) {
            adopted++;
            continue;
        }
        fleet_end_row(f, row->id,
                      rc == RC_NOT_FOUND ? "gone while roomkeyd was away" : rc_text(rc));
    }
    if (alive.nr)
        log_info("took over %u of %zu instances", adopted, alive.nr);
    free(alive.rows);
    f->backend_ops->sweep(f->backend);
    if (adopted)
        workers_awaited(f);
}
