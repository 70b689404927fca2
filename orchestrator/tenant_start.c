/* Starting an instance of a tenant, and what it means when one has failed: back
 * to the last good version, or a pause that doubles.  A fault of the host (no
 * memory, no process, a helper that hangs) is no fault of the version, and is only
 * waited out. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/image_check.h"
#include "orchestrator/tenant.h"

#define FORGIVE_MS 300000u /* then failures and crashes are forgotten */
#define HELD_MS    25u     /* then it is seen whether what stands in its way is gone */

static uint64_t now_us(const struct tenant *t)
{
    return alarms_us(&t->fleet->alarms);
}

bool tenant_wants_start(const struct tenant *t)
{
    if (t->suspended || t->removing || t->fleet->stopping || t->pause.set || t->held.set ||
        t->trial)
        return false;
    return t->current ? t->wants_trial || t->wants_spare : t->first != NULL;
}

static void pause_starts(struct tenant *t, const char *why)
{
    struct fleet_limits *limits = &t->fleet->limits;
    unsigned doubled = t->failures < 16 ? t->failures : 16;
    uint64_t ms = (uint64_t)limits->pause_ms << doubled;

    if (ms > limits->pause_max_ms)
        ms = limits->pause_max_ms;
    ms -= fleet_random(t->fleet) % (ms / 4 + 1); /* not all at once after a fault of the host */
    t->failures++;
    snprintf(t->why, sizeof t->why, "%s", why);
    alarm_set(&t->fleet->alarms, &t->pause, ms);
    alarm_set(&t->fleet->alarms, &t->forgive, ms + FORGIVE_MS);
    log_warning("tenant %s does not start: %s; next try in %" PRIu64 " ms", t->name, why, ms);
}

/* The image, or this host, could not bring an instance up. */
static void start_failed(struct tenant *t, uint64_t image, const char *ref, const char *why,
                         bool host)
{
    t->fleet->counters.starts_failed_total++;
    fleet_event(t->fleet, t->name, "failed", "%s did not start: %s", ref, why);
    if (image != t->image) {
        /* Another one was wished for meanwhile, or this was its spare: that one goes on. */
        t->had_spare = t->had_spare || image == t->last_good;
        return;
    }
    if (!host && tenant_roll_back(t, image, why))
        return; /* those who wait are served by the last good one */
    pause_starts(t, why);
}

uint32_t tenant_start_deadline(const struct tenant *t, bool beside)
{
    const struct fleet_limits *limits = &t->fleet->limits;

    /* So that the last good one can still be ready for those who wait. */
    if (!beside && tenant_on_trial(t) && limits->trial_start_ms < limits->start_ms)
        return limits->trial_start_ms;
    return limits->start_ms;
}

static void serve_with(struct tenant *t, struct instance *spare)
{
    log_warning("tenant %s: %s is not ready yet, and %s is started for those who wait", t->name,
                t->current->image_ref, spare->image_ref);
    t->had_spare = true;
    t->trial = t->current;
    t->current = spare;
}

/* Its file, and the memory that it gets.  RC_TOO_LARGE: it does not fit in that, which a roomkeyd
 * that it was added to long ago may not have looked at. */
static enum rc image_to_start(struct fleet *f, const struct registry_route *route,
                              struct instance_start *start)
{
    const char *sha256 = route->image.sha256;
    enum rc rc = image_store_fd(f->images, sha256, route->image.size, &start->image_fd);

    start->memory =
        route->tenant.memory ? route->tenant.memory : (uint64_t)route->image.memory_kib << 10;
    if (rc || !f->backend_ops->machines ||
        image_fits(image_store_room(f->images, sha256), start->memory))
        return rc;
    close(start->image_fd);
    return RC_TOO_LARGE;
}

static const char *fault_of_image(enum rc rc)
{
    switch (rc) {
    case RC_NOT_FOUND:
        return "its file is gone from the image store; `roomkey image add` it again";
    case RC_MALFORMED:
        return "its file in the image store is damaged; `roomkey image add` it again";
    case RC_TOO_LARGE:
        return "its segments fill all the memory that it gets; make it again and ask for more, or "
               "give its tenant more: `roomkey tenant set NAME --memory`";
    default:
        return NULL;
    }
}

void tenant_start_now(struct tenant *t)
{
    struct fleet *f = t->fleet;
    struct registry_route route;
    struct registry_instance row;
    struct instance_start start = {.row = &row, .image = &route.image};
    struct instance *i = NULL;
    bool held, spare = t->current && t->wants_spare;
    uint64_t image = spare ? t->last_good : t->image;
    const char *ref = t->image_ref;
    enum rc rc;

    if (!tenant_wants_start(t)) {
        tenant_step(t);
        return;
    }
    rc = registry_route_of(f->registry, t->id, &route);
    if (rc == RC_OK && spare) {
        ref = route.tenant.last_good_ref;
        rc = registry_image(f->registry, image, &route.image);
    }
    if (rc == RC_OK)
        rc = image_to_start(f, &route, &start);
    if (rc == RC_AGAIN) {
        alarm_set(&f->alarms, &t->held, HELD_MS);
        tenant_step(t);
        return;
    }
    if (rc) {
        const char *file = fault_of_image(rc);

        start_failed(t, image, ref, file ? file : rc_text(rc), !file);
        tenant_step(t);
        return;
    }
    rc = registry_instance_begin(f->registry, t->id, route.image.id, f->backend_ops->name,
                                 alarms_utc_ms(&t->fleet->alarms), &row);
    held = rc == RC_BUSY; /* by another program */
    if (rc == RC_OK) {
        start.idle_ms = route.tenant.idle_ms;
        start.own_ms = tenant_start_deadline(t, t->current != NULL);
        rc = instance_start(f, t, &start, &i);
        if (rc)
            fleet_end_row(f, row.id, rc_text(rc));
    }
    close(start.image_fd);
    if (held)
        alarm_set(&f->alarms, &t->held, HELD_MS);
    else if (rc)
        start_failed(t, image, ref, rc_text(rc), true);
    else if (t->current && !spare)
        t->trial = i;
    else if (t->current)
        serve_with(t, i);
    else
        t->current = i;
    tenant_step(t);
}

/*----- ends -----*/

static void on_crash(struct tenant *t, const struct instance *i)
{
    struct fleet_limits *limits = &t->fleet->limits;
    /* READY was its last word: no life at all. */
    uint64_t life_ms = i->ready_us ? (now_us(t) - i->ready_us) / 1000 : i->adopted ? UINT64_MAX : 0;

    t->fleet->counters.crashes_total++;
    fleet_event(t->fleet, t->name, "crashed", "%s generation %" PRIu64 " crashed: %s", i->image_ref,
                i->generation, i->why);
    if (i->retire)
        return; /* it had its successor already */
    alarm_set(&t->fleet->alarms, &t->forgive, FORGIVE_MS);
    if (life_ms < limits->proof_ms && i->image == t->image && tenant_on_trial(t) &&
        ++t->trial_crashes >= limits->trial_crashes && tenant_roll_back(t, i->image, i->why))
        return;
    t->crashes = life_ms < limits->crash_soon_ms ? t->crashes + 1 : 0;
    if (t->crashes >= limits->crashes)
        pause_starts(t, i->why);
}

/* What the end of an instance means for the tenant; once. */
void tenant_on_end(struct tenant *t, struct instance *i)
{
    if (i->accounted)
        return;
    i->accounted = true;
    if (i->stopped || (i->retire && !i->ready)) {
        if (i->stopped && i->left_badly)
            fleet_event(t->fleet, t->name, "left badly", "%s generation %" PRIu64 ": %s",
                        i->image_ref, i->generation, i->why);
        if (i->ready && !i->retire) {
            tenant_prove(t, i);
            tenant_forgive(t);
        }
        return;
    }
    /* Whoever wonders about the tenant reads its log first. */
    fleet_log(t->fleet, t, i, MUX_LOG_ERROR, i->why);
    if (i->ready || i->ready_at)
        on_crash(t, i);
    else if (!i->exit.lacking || !fleet_give_way(t->fleet, i->exit.lacking))
        start_failed(t, i->image, i->image_ref, i->why, instance_wronged(i));
    else
        t->had_spare = false; /* if it was one: it is begun anew when somebody has gone */
}
