/* How an instance comes to be, and what it is told: by its ground, by itself on
 * the control channel, by its alarm.  Each callback notes a fact, then steps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orchestrator/fleet_private.h"
#include "orchestrator/instance.h"
#include "orchestrator/link.h"
#include "orchestrator/text.h"

static const struct link_events link_events;
static const struct backend_events backend_events;
static void on_alarm(struct alarm *a);

static uint64_t now_us(const struct instance *i)
{
    return alarms_us(&i->fleet->alarms);
}

/*----- making and freeing -----*/

static struct instance *make(struct fleet *f, struct tenant *t, const struct instance_start *start)
{
    struct instance *i = calloc(1, sizeof *i);

    if (!i)
        return NULL;
    sm_init(&i->sm, instance_states, "instance", start->row->id, INSTANCE_STARTING);
    i->fleet = f;
    i->tenant = t;
    i->id = start->row->id;
    i->generation = start->row->generation;
    i->image = start->image->id;
    memcpy(i->image_ref, start->row->image_ref, sizeof i->image_ref);
    memcpy(i->image_name, start->image->name, sizeof i->image_name);
    memcpy(i->image_version, start->image->version, sizeof i->image_version);
    i->memory = start->memory;
    i->idle_ms = start->idle_ms;
    i->own_ms = start->own_ms;
    i->started_at = start->row->started_at;
    i->ready_at = start->row->ready_at;
    i->asked_us = i->quiet_us = now_us(i);
    alarm_init(&i->alarm, on_alarm);
    return i;
}

static void drop(struct instance *i)
{
    alarm_clear(&i->fleet->alarms, &i->alarm);
    slots_dispose(i);
    free(i);
}

static enum rc listen_to(struct instance *i)
{
    struct backend_channel control;
    enum rc rc = i->fleet->backend_ops->control(i->backend, &control);

    if (rc)
        return rc;
    return link_open(i->fleet->loop, &control, &link_events, i, &i->link);
}

/* A port or a ring that is a lie fails too, and then it does not matter what can be mapped. */
static bool hear(struct instance *i)
{
    enum rc rc = listen_to(i);

    if (rc == RC_OK)
        return true;
    i->hindered = rc == RC_UNMAPPED && instance_lacks_mappings(i, -1);
    instance_fail(i, "its control channel cannot be mapped");
    return false;
}

static void note_handle(struct instance *i)
{
    struct backend_handle handle;

    i->fleet->backend_ops->handle(i->backend, &handle);
    fleet_db(i->fleet, registry_instance_handle(i->fleet->registry, i->id, handle.text),
             "instance handle");
}

enum rc instance_start(struct fleet *f, struct tenant *t, const struct instance_start *start,
                       struct instance **out)
{
    struct instance *i = make(f, t, start);
    struct backend_spec spec = {
        .instance = start->row->id,
        .generation = start->row->generation,
        .tenant = t->name,
        .image_fd = start->image_fd,
        .memory = start->memory,
        .channels = f->limits.channels,
    };
    enum rc rc = RC_NOMEM;

    if (!i)
        return rc;
    rc = slots_init(i, spec.channels, false);
    if (rc == RC_OK)
        rc = f->backend_ops->start(f->backend, &spec, &backend_events, i, &i->backend);
    if (rc) {
        drop(i);
        return rc;
    }
    instance_arm_start(i);
    fleet_started(f, i);
    *out = i;
    return RC_OK;
}

enum rc instance_adopt(struct fleet *f, struct tenant *t, const struct instance_start *start,
                       struct instance **out)
{
    struct instance *i = make(f, t, start);
    struct backend_handle handle;
    enum rc rc = RC_NOMEM;

    if (!i)
        return rc;
    snprintf(handle.text, sizeof handle.text, "%s", start->row->handle);
    rc = slots_init(i, f->limits.channels, true);
    if (rc == RC_OK)
        rc = f->backend_ops->adopt(f->backend, &handle, i->channels, &backend_events, i,
                                   &i->backend);
    if (rc) {
        drop(i);
        return rc;
    }
    i->adopted = i->started = true;
    i->running_us = i->asked_us;
    i->leaving = i->ready = start->row->state == REGISTRY_INSTANCE_STOPPING;
    fleet_started(f, i);
    if (hear(i) && !i->leaving) {
        i->question = QUESTION_OUT;
        link_health(i->link, ++i->token);
    }
    instance_arm_start(i);
    *out = i;
    return RC_OK;
}

bool instance_lacks_mappings(struct instance *i, int index)
{
    const struct backend_ops *ops = i->fleet->backend_ops;

    if (!ops->lacks_mappings || !ops->lacks_mappings(i->backend, index))
        return false;
    if (i->told_unmapped)
        return true; /* each wake would tell of it */
    i->told_unmapped = true;
    fleet_event(i->fleet, i->tenant->name, "no mappings",
                "%s generation %" PRIu64
                " has granted a channel that cannot be mapped: domain 0 has "
                "no grant mappings left; raise gnttab_max_maptrack_frames on Xen's command line",
                i->image_ref, i->generation);
    return true;
}

void instance_free(struct instance *i)
{
    link_close(i->link);
    i->fleet->backend_ops->dispose(i->backend);
    drop(i);
}

/*----- facts: note one, then step -----*/

static void on_alarm(struct alarm *a)
{
    struct instance *i = CONTAINER_OF(a, struct instance, alarm);

    i->rang = true;
    tenant_step(i->tenant);
}

static void on_running(void *arg, const struct backend_steps *steps)
{
    struct instance *i = arg;

    i->running_us = now_us(i);
    i->steps = *steps;
    if (i->sm.state == INSTANCE_STARTING) {
        instance_arm_start(i);
        alarm_set(&i->fleet->alarms, &i->tenant->soon, 0); /* its time has begun */
    }
}

static void on_started(void *arg)
{
    struct instance *i = arg;

    if (i->started || i->exited)
        return;
    i->started = true;
    i->started_us = now_us(i);
    note_handle(i);
    (void)hear(i);
    tenant_step(i->tenant);
}

static void on_gone(void *arg, const struct backend_exit *why)
{
    struct instance *i = arg;
    struct tenant *t = i->tenant;

    /* It may have said why.  If it said READY, that is too late for those who wait. */
    t->stepping = true;
    if (i->link)
        link_look(i->link);
    t->stepping = false;
    i->exited = true;
    i->exit = *why;
    tenant_step(t);
}

/* A flood of lines costs the tenant its own lines. */
static void log_text(struct instance *i, int level, const char *text)
{
    uint64_t now = now_us(i), rate = i->fleet->limits.log_lines;
    char line[96];

    if (now - i->log_us >= 1000000) {
        if (i->log_dropped) {
            snprintf(line, sizeof line, "… %llu lines dropped: more than %llu in a second",
                     (unsigned long long)i->log_dropped, (unsigned long long)rate);
            fleet_log(i->fleet, i->tenant, i, MUX_LOG_WARNING, line);
        }
        i->log_dropped = 0;
        i->log_tokens = (unsigned)rate;
        i->log_us = now;
    }
    if (i->log_tokens == 0) {
        i->log_dropped++;
        return;
    }
    i->log_tokens--;
    fleet_log(i->fleet, i->tenant, i, level, text);
}

static void on_console(void *arg, const char *line, size_t len)
{
    char text[MUX_TEXT_MAX + 1];

    text_clean(text, sizeof text, line, len);
    log_text(arg, MUX_LOG_INFO, text);
}

static void on_ready(void *arg, const struct mux_ready *ready)
{
    struct instance *i = arg;

    if (i->sm.state != INSTANCE_STARTING) {
        if (!i->adopted) /* else an earlier roomkeyd has seen it, and could not note it */
            instance_fail(i, "it broke its control channel: READY twice");
    } else if (strcmp(ready->name, i->image_name) != 0 ||
               strcmp(ready->version, i->image_version) != 0) {
        instance_fail(i, "it says that it is another image than %s", i->image_ref);
    } else {
        i->ready = true;
        i->boot_us = ready->boot_us;
    }
    tenant_step(i->tenant);
}

static void on_failed(void *arg, const char *text)
{
    struct instance *i = arg;

    instance_fail(i, "it says: %s", *text ? text : "(nothing)");
    tenant_step(i->tenant);
}

static void on_log(void *arg, int level, const char *text)
{
    log_text(arg, level, text);
}

static void on_health(void *arg, const struct mux_health *health)
{
    struct instance *i = arg;

    if (health->token != 0 && health->token != i->token)
        return; /* the answer to an older question */
    i->health = *health;
    if (health->token != 0 && i->question == QUESTION_OUT)
        i->question = QUESTION_ANSWERED;
    else if (i->question == QUESTION_BUSY)
        i->rang = true; /* a lease changed: look again */
    tenant_step(i->tenant);
}

static void on_slot(void *arg, uint32_t channel)
{
    struct instance *i = arg;

    slots_on_slot(i, channel);
    tenant_step(i->tenant);
}

static void on_broken(void *arg, const char *why)
{
    struct instance *i = arg;

    i->fleet->counters.broken_total++;
    instance_fail(i, "it broke its control channel: %s", why);
    tenant_step(i->tenant);
}

static const struct link_events link_events = {
    .on_ready = on_ready,
    .on_failed = on_failed,
    .on_log = on_log,
    .on_health = on_health,
    .on_slot = on_slot,
    .on_broken = on_broken,
};

static const struct backend_events backend_events = {
    .on_running = on_running,
    .on_started = on_started,
    .on_exit = on_gone,
    .on_console = on_console,
};
