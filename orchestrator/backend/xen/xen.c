/* The ground "xen": an instance is a domain of its own.  libxenlight is used by
 * helper processes only, so that neither its slowness nor its crash is roomkeyd's;
 * the rings are mapped without any library.  See docs/XEN.md. */
#include "orchestrator/backend/xen/xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen_call.h"
#include "orchestrator/backend/xen/xen_found.h"
#include "orchestrator/backend/xen/xen_instance.h"
#include "orchestrator/backend/xen/xen_probe.h"

/* For what is being destroyed when the daemon ends, at least; the next one sweeps the rest. */
#define CLOSE_MS 10000u

/*----- the end: from xen_close() until the loop has nothing left of it -----*/

static void on_freed(uv_handle_t *h)
{
    free(h->data);
}

static void on_end(uv_timer_t *end)
{
    struct backend *b = end->data;

    xen_helpers_close(&b->helpers);
    xen_watcher_close(&b->watcher);
    xen_reaper_dispose(&b->reaper);
    alarm_clear(&b->alarms, &b->late);
    alarms_close(&b->alarms);
    uv_close((uv_handle_t *)&b->end, on_freed);
}

void xen_backend_step(struct backend *b)
{
    if (!b->closing || b->ended || !LIST_EMPTY(&b->instances) || !xen_reaper_idle(&b->reaper) ||
        !xen_pool_idle(&b->pool))
        return;
    b->ended = true;
    /* Not from here: whoever calls us is itself about to be closed. */
    uv_timer_start(&b->end, on_end, 0, 0);
}

static void on_idle(void *arg)
{
    xen_backend_step(arg);
}

static void on_trouble(void *arg, const char *text)
{
    struct backend *b = arg;

    if (b->on_trouble)
        b->on_trouble(b->trouble_arg, text);
    else
        log_warning("%s", text);
}

static void xen_listen(struct backend *b, void (*on_trouble_)(void *arg, const char *text),
                       void *arg)
{
    b->on_trouble = on_trouble_;
    b->trouble_arg = arg;
}

static void on_late(struct alarm *a)
{
    struct backend *b = CONTAINER_OF(a, struct backend, late);

    log_warning("not all domains could be destroyed: the next roomkeyd will");
    xen_helpers_stop(&b->helpers);
    /* What waits to be tried again is not. */
    xen_reaper_abandon(&b->reaper);
}

/* A helper that is at work has the time for it, and for another. */
static uint32_t close_ms(void)
{
    uint32_t jobs = 2 * xen_settings()->job_ms;

    return jobs > CLOSE_MS ? jobs : CLOSE_MS;
}

static void xen_close(struct backend *b)
{
    const struct backend_instance *i;

    LIST_FOREACH(i, &b->instances, others)
    CHECK(i->disposed);
    b->closing = true;
    xen_found_forget(b);
    xen_pool_close(&b->pool);
    xen_reaper_close(&b->reaper);
    alarm_set(&b->alarms, &b->late, close_ms());
    xen_backend_step(b);
}

/*----- the beginning -----*/

static enum rc list(struct backend *b, char *why, size_t size)
{
    struct xen_job job = {.type = XEN_JOB_LIST};
    char text[XEN_TEXT_MAX] = "";
    enum rc rc;

    xen_name_prefix(&b->house, job.name);
    memcpy(job.uuid, b->house.tag, sizeof b->house.tag);
    rc = xen_call(&job, xen_found_add, b, text, sizeof text);
    if (rc)
        snprintf(why, size, "xen: cannot list its domains: %.*s", (int)size - 40, text);
    return rc;
}

static enum rc xen_open(uv_loop_t *loop, const char *state_dir, struct backend **out, char *why,
                        size_t size)
{
    const struct xen_settings *settings = xen_settings();
    struct backend *b = calloc(1, sizeof *b);
    enum rc rc;

    snprintf(why, size, "xen: out of memory");
    if (!b)
        return RC_NOMEM;
    b->loop = loop;
    LIST_INIT(&b->instances);
    rc = xen_house_of(state_dir, &b->house);
    if (rc) {
        snprintf(why, size, "xen: state folder %s: %s; create it", state_dir, strerror(errno));
        goto free_backend;
    }
    rc = list(b, why, size);
    if (rc)
        goto forget;
    rc = alarms_init(&b->alarms, loop);
    if (rc)
        goto forget;
    rc = xen_helpers_open(&b->helpers, loop, &b->alarms, settings->helpers, settings->job_ms);
    if (rc)
        goto close_alarms;
    xen_watcher_open(&b->watcher, loop, &b->alarms, settings->job_ms);
    xen_reaper_init(&b->reaper, &b->helpers, &b->alarms, on_idle, on_trouble, b);
    b->pool = (struct xen_pool){.helpers = &b->helpers,
                                .reaper = &b->reaper,
                                .alarms = &b->alarms,
                                .house = &b->house,
                                .size = settings->pool,
                                .idle_ms = settings->pool_idle_ms,
                                .delay_ms = settings->pool_delay_ms,
                                .on_idle = on_idle,
                                .arg = b};
    xen_pool_init(&b->pool);
    alarm_init(&b->late, on_late);
    uv_timer_init(loop, &b->end);
    b->end.data = b;
    why[0] = '\0';
    *out = b;
    return RC_OK;

close_alarms:
    alarms_close(&b->alarms);
forget:
    xen_found_forget(b);
free_backend:
    free(b);
    return rc;
}

const struct backend_ops backend_xen = {
    .name = "xen",
    .machines = true,
    .probe = xen_probe,
    .checks = xen_checks,
    .open = xen_open,
    .close = xen_close,
    .listen = xen_listen,
    .start = xen_instance_start,
    .adopt = xen_adopt,
    .sweep = xen_found_sweep,
    .kill = xen_instance_kill,
    .dispose = xen_instance_dispose,
    .pause = xen_instance_pause,
    .handle = xen_instance_handle,
    .usage = xen_instance_usage,
    .control = xen_instance_control,
    .channel = xen_instance_channel,
    .lacks_mappings = xen_instance_lacks_mappings,
};
