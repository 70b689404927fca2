/* /metrics: Prometheus text format 0.0.4. */
#include <inttypes.h>
#include <string.h>

#include "common/host/version.h"
#include "orchestrator/admin/facts.h"
#include "orchestrator/admin/handlers.h"

/* A counter is what is named so; both suffixes are Prometheus' own rule. */
static void one(struct admin_text *t, const char *prefix, const char *name, uint64_t value)
{
    size_t len = strlen(name);
    bool counter = len > 6 && strcmp(name + len - 6, "_total") == 0;

    admin_text_add(t, "# TYPE %s%s %s\n%s%s %" PRIu64 "\n", prefix, name,
                   counter ? "counter" : "gauge", prefix, name, value);
}

static void phase(struct admin_text *t, const char *name, const struct histogram *h)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
        sum += h->counts[i];
        admin_text_add(t, "roomkey_wake_phase_seconds_bucket{phase=\"%s\",le=\"%g\"} %" PRIu64 "\n",
                       name, histogram_bounds[i] / 1e6, sum);
    }
    admin_text_add(t,
                   "roomkey_wake_phase_seconds_bucket{phase=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
                   "roomkey_wake_phase_seconds_sum{phase=\"%s\"} %.6f\n"
                   "roomkey_wake_phase_seconds_count{phase=\"%s\"} %" PRIu64 "\n",
                   name, h->count, name, (double)h->sum_us / 1e6, name, h->count);
}

static void add_fleet(struct admin_text *t, struct fleet *f)
{
    const struct fleet_histograms *h = fleet_histograms(f);
    const struct fleet_counters *c = fleet_counters(f);
    struct fleet_gauges g;

#define X(name) one(t, "roomkey_", #name, c->name);
    FLEET_COUNTERS(X)
#undef X
    fleet_gauges(f, &g);
    one(t, "roomkey_", "starts_queued", g.queued);
    one(t, "roomkey_", "wakes_waiting", g.waiting);
    one(t, "roomkey_", "instances_memory_bound_bytes", g.memory_bound);
    admin_text_add(t, "# TYPE roomkey_wake_phase_seconds histogram\n");
    phase(t, "queue", &h->queue);
    phase(t, "spawn", &h->spawn);
    phase(t, "boot", &h->boot);
    phase(t, "wake", &h->wake);
}

static void add_facts(struct admin_text *t, struct fleet *f)
{
    struct facts facts;

    facts_gather(f, &facts);
    admin_text_add(t, "# TYPE roomkey_instances gauge\n");
#define X(name) \
    admin_text_add(t, "roomkey_instances{state=\"" #name "\"} %u\n", facts.by_state.name);
    FACTS_STATES(X)
#undef X
    one(t, "roomkey_", "instances_memory_bytes", facts.instance_memory);
    one(t, "roomkey_", "process_resident_memory_bytes", facts.process_memory);
    one(t, "roomkey_front_", "workers", facts.workers);
#define X(name) one(t, "roomkey_front_", #name, facts.front[CONTROL_COUNTER_##name]);
    CONTROL_COUNTERS(X)
#undef X
}

void metrics_get(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct registry_counts rows;
    struct admin_text text = {0};
    enum rc rc = registry_counts(house->registry, &rows);

    if (rc) {
        admin_fail(q, rc, "cannot read the registry");
        return;
    }
    admin_text_add(&text,
                   "# TYPE roomkey_build_info gauge\n"
                   "roomkey_build_info{version=\"" ROOMKEY_VERSION "\",ground=\"%s\"} 1\n",
                   fleet_ground(house->fleet));
    admin_text_add(&text,
                   "# TYPE roomkey_start_time_seconds gauge\nroomkey_start_time_seconds %.3f\n",
                   (double)house->started_at / 1000);
    one(&text, "roomkey_", "tenants", rows.tenants);
    one(&text, "roomkey_", "tenants_suspended", rows.suspended);
    one(&text, "roomkey_", "hosts", rows.hosts);
    one(&text, "roomkey_", "images", rows.images);
    add_fleet(&text, house->fleet);
    add_facts(&text, house->fleet);
    admin_answer_text(q, "text/plain; version=0.0.4; charset=utf-8", &text);
}
