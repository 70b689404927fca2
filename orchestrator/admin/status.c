/* /v1/status: what `roomkey status` shows on one screen. */
#include "common/core/check.h"
#include "common/host/clock.h"
#include "common/host/version.h"
#include "orchestrator/admin/facts.h"
#include "orchestrator/admin/handlers.h"

/* null when it lies above all classes of the histogram, 0 when nothing was counted. */
static json_t *quantile(const struct histogram *h, double share)
{
    uint64_t us = histogram_quantile(h, share);

    return us == UINT64_MAX ? json_null() : json_integer((json_int_t)us);
}

static void add(json_t *object, const char *member, uint64_t value)
{
    json_object_set_new(object, member, json_integer((json_int_t)value));
}

void status_get(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    const struct fleet_counters *counters = fleet_counters(house->fleet);
    const struct histogram *wake = &fleet_histograms(house->fleet)->wake;
    struct registry_counts rows;
    struct fleet_gauges gauges;
    struct facts facts;
    json_t *o;
    enum rc rc = registry_counts(house->registry, &rows);

    if (rc) {
        admin_fail(q, rc, "cannot read the registry");
        return;
    }
    facts_gather(house->fleet, &facts);
    fleet_gauges(house->fleet, &gauges);
    o = json_pack("{s:s, s:s}", "version", ROOMKEY_VERSION, "ground", fleet_ground(house->fleet));
    CHECK(o);
    add(o, "uptime_ms", (clock_us() - house->started_us) / 1000);
    add(o, "tenants", rows.tenants);
    add(o, "suspended", rows.suspended);
    add(o, "hosts", rows.hosts);
    add(o, "images", rows.images);
    add(o, "instances", facts.instances);
    add(o, "starting", facts.by_state.starting);
    add(o, "ready", facts.by_state.ready + facts.by_state.idle);
    add(o, "ending", facts.by_state.draining + facts.by_state.stopping);
    add(o, "instance_memory", facts.instance_memory);
    add(o, "memory_bound", gauges.memory_bound);
    add(o, "process_memory", facts.process_memory);
    add(o, "waiting", gauges.waiting);
    add(o, "wakes", counters->wakes_total);
    add(o, "slow_wakes", counters->wakes_slow_total);
    add(o, "failed_wakes", counters->wakes_refused_total + counters->wakes_timedout_total);
    add(o, "rollbacks", counters->rollbacks_total);
    json_object_set_new(o, "wake_p50_us", quantile(wake, 0.5));
    json_object_set_new(o, "wake_p99_us", quantile(wake, 0.99));
    add(o, "reaps", counters->reaped_total);
    add(o, "crashes", counters->crashes_total);
    add(o, "workers", facts.workers);
    add(o, "connections", facts.front[CONTROL_COUNTER_connections]);
    admin_answer(q, 200, o);
}
