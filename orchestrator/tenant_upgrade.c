/* A tenant's change of image: the row says what it should run, `current` what it
 * does run, and each step brings the two together.
 *
 * The happy path: asleep, the next wake runs it.  Without a connection, or past
 * the upgrade's deadline: `trial` boots beside `current`, is ready, takes the new
 * connections; the old one finishes its own and goes.  Ready for proof_ms: it is
 * the last good version.
 * Failure: a version that does not start, is not ready in time, or crashes
 * trial_crashes times before it is proved is rolled back: the row is set to the
 * last good one, and the next step boots that for those who wait.  When the ground
 * was slow, that may be too late for them: then the last good one boots as a spare
 * while the new one has its time. */
#include <inttypes.h>
#include <stdio.h>

#include "common/host/log.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/tenant.h"

/* Before those who wait are refused: for the last good version to be ready. */
#define SPARE_US 2000000u

bool tenant_on_trial(const struct tenant *t)
{
    return t->last_good != 0 && t->image != t->last_good;
}

void tenant_upgrade_done(struct tenant *t, enum fleet_upgraded how, const char *text)
{
    fleet_upgrade_cb *cb = t->upgrade_cb;

    if (!cb)
        return;
    t->upgrade_cb = NULL;
    cb(t->upgrade_arg, how, text);
}

/* `current` runs what it should: whoever waits for the upgrade need not any more. */
static void arrived(struct tenant *t)
{
    char text[REGISTRY_TEXT_SIZE];

    if (t->upgrade == REGISTRY_UPGRADE_NONE && !t->upgrade_cb)
        return;
    if (t->upgrade != REGISTRY_UPGRADE_NONE) {
        t->fleet->counters.upgrades_total++;
        t->upgrade = REGISTRY_UPGRADE_NONE;
        fleet_db(t->fleet,
                 registry_tenant_upgrade_state(t->fleet->registry, t->id, REGISTRY_UPGRADE_NONE),
                 "upgrade state");
        fleet_event(t->fleet, t->name, "changed over",
                    "new connections go to %s, generation %" PRIu64, t->current->image_ref,
                    t->current->generation);
    }
    snprintf(text, sizeof text, "it runs %s", t->image_ref);
    tenant_upgrade_done(t, FLEET_UPGRADE_DONE, text);
}

void tenant_change_over(struct tenant *t)
{
    struct instance *old = t->current, *now = t->trial;

    t->trial = NULL;
    t->wants_trial = false;
    if (old)
        tenant_retire_current(t, t->fleet->limits.retire_ms, true);
    t->current = now;
    instance_hurry(now, tenant_start_deadline(t, false)); /* nobody serves meanwhile, now */
    t->again = true;
}

/* Neither has it failed yet, nor is it known to be bad: so it goes on. */
void tenant_spare_step(struct tenant *t)
{
    struct alarms *alarms = &t->fleet->alarms;
    struct instance *i = t->current;
    uint64_t now = alarms_us(alarms), due, end;

    t->wants_spare = false;
    alarm_clear(alarms, &t->late);
    if (!t->first)
        t->had_spare = false;
    if (!t->first || t->had_spare || !i || t->trial || i->image != t->image ||
        !tenant_on_trial(t) || i->sm.state != INSTANCE_STARTING || !i->running_us)
        return;
    due = t->first->since_us + t->wake_timeout_ms * 1000ull;
    due -= due < SPARE_US ? due : SPARE_US;
    end = i->running_us + i->own_ms * 1000ull;
    if (end <= due)
        return; /* if it fails there is time enough */
    t->wants_spare = now >= due;
    if (!t->wants_spare)
        alarm_set(alarms, &t->late, (due - now + 999) / 1000);
}

bool tenant_roll_back(struct tenant *t, uint64_t image, const char *why)
{
    struct fleet *f = t->fleet;
    char text[REGISTRY_TEXT_SIZE * 2];
    bool back = false;
    char from[REGISTRY_REF_SIZE];

    snprintf(from, sizeof from, "%s", t->image_ref);
    fleet_db(
        f,
        registry_tenant_rollback(f->registry, t->id, image, why, alarms_utc_ms(&f->alarms), &back),
        "rollback");
    if (!back)
        return false;
    fleet_db(f, tenant_refresh(t), "tenant");
    t->trial_crashes = t->crashes = t->failures = 0;
    t->wants_trial = false;
    f->counters.rollbacks_total++;
    fleet_events_changed(f);
    fleet_invalidate(f, t->id);
    log_warning("tenant %s: rolled back from %s to %s: %s", t->name, from, t->image_ref, why);
    snprintf(text, sizeof text, "%s failed: %s; %s serves", from, why, t->image_ref);
    tenant_upgrade_done(t, FLEET_UPGRADE_ROLLED_BACK, text);
    t->again = true;
    return true;
}

void tenant_prove(struct tenant *t, const struct instance *i)
{
    struct fleet *f = t->fleet;

    if (i->image != t->image)
        return;
    fleet_db(f, registry_tenant_good(f->registry, t->id, i->image, alarms_utc_ms(&f->alarms)),
             "good version");
    if (tenant_on_trial(t) || t->last_good == 0 || t->upgrade != REGISTRY_UPGRADE_NONE) {
        fleet_db(f, tenant_refresh(t), "tenant");
        fleet_events_changed(f);
    }
}

void tenant_upgrade_step(struct tenant *t)
{
    struct fleet *f = t->fleet;
    struct instance *i = t->current;
    uint64_t now = alarms_us(&f->alarms);
    bool moves = i && i->image != t->image && instance_serves(i) &&
                 i->sm.state != INSTANCE_DRAINING && !t->suspended && !t->removing;
    bool late = t->upgrade_due_us != 0 && now >= t->upgrade_due_us;

    if (t->trial && (t->trial->image != t->image || !i || i->image == t->image))
        tenant_retire_trial(t);
    if (!i && !t->trial && !t->first) {
        /* Asleep: there is nothing to wait for. */
        char text[REGISTRY_TEXT_SIZE];

        snprintf(text, sizeof text, "it is %s: its next wake runs %s",
                 t->suspended ? "suspended" : "asleep", t->image_ref);
        tenant_upgrade_done(t, FLEET_UPGRADE_DONE, text);
    }
    if (i && i->image == t->image && instance_serves(i))
        arrived(t);
    if (!moves) {
        t->wants_trial = false;
        alarm_clear(&f->alarms, &t->upgrade_alarm);
        return;
    }
    t->wants_trial = late || (instance_connections(i) == 0 && !slots_unknown(i));
    if (late && t->upgrade == REGISTRY_UPGRADE_WAITING) {
        t->upgrade = REGISTRY_UPGRADE_DRAINING;
        fleet_db(f, registry_tenant_upgrade_state(f->registry, t->id, REGISTRY_UPGRADE_DRAINING),
                 "upgrade state");
    }
    if (!late && t->upgrade_due_us != 0 && !t->upgrade_alarm.set)
        alarm_set(&f->alarms, &t->upgrade_alarm, (t->upgrade_due_us - now + 999) / 1000);
}
