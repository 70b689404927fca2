/* What is asked of an instance while it runs: to pause, where to find it again, what it
 * has used, its channels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen_event.h"
#include "orchestrator/backend/xen/xen_instance.h"

/*----- pauses -----*/

static void on_paused(struct xen_task *t, const struct xen_event *answer, int *fd);

static void pause_now(struct backend_instance *i)
{
    struct xen_task *t = &i->pause_task;

    i->pausing = true;
    *t = (struct xen_task){.fd = -1, .priority = XEN_START, .done = on_paused};
    t->job.type = i->pause_wanted ? XEN_JOB_PAUSE : XEN_JOB_UNPAUSE;
    t->job.domid = i->domain.domid;
    memcpy(t->job.uuid, i->domain.uuid, XEN_UUID_SIZE);
    xen_helpers_do(&i->backend->helpers, t);
}

static void on_paused(struct xen_task *t, const struct xen_event *answer, int *fd)
{
    struct backend_instance *i = CONTAINER_OF(t, struct backend_instance, pause_task);
    bool was = t->job.type == XEN_JOB_PAUSE;

    (void)fd;
    i->pausing = false;
    if (i->disposed) {
        xen_instance_release(i);
        return;
    }
    if (answer->rc && i->sm.state == RUNNING)
        log_warning("%s could not be %s: %s", i->name, was ? "paused" : "unpaused", answer->text);
    i->paused = was; /* or so: another try is another call */
    if (i->pause_wanted != was && i->sm.state == RUNNING)
        pause_now(i);
}

enum rc xen_instance_pause(struct backend_instance *i, bool paused)
{
    if (i->sm.state != RUNNING)
        return RC_NOT_FOUND;
    i->pause_wanted = paused;
    if (!i->pausing && i->paused != paused)
        pause_now(i);
    return RC_OK;
}

/*----- its handle and its use -----*/

void xen_instance_handle(const struct backend_instance *i, struct backend_handle *out)
{
    char uuid[XEN_UUID_TEXT];

    xen_uuid_text(i->domain.uuid, uuid);
    snprintf(out->text, sizeof out->text, "uuid=%s", uuid);
}

enum rc xen_instance_usage(const struct backend_instance *i, struct backend_usage *out)
{
    if (i->sm.state != RUNNING)
        return RC_NOT_FOUND;
    if (!i->has_usage)
        return RC_AGAIN;
    *out = i->usage;
    return RC_OK;
}

/*----- its channels -----*/

/* With the first one, which is the control channel: before a worker can write to any. */
static enum rc look_at_channels(struct backend_instance *i)
{
    enum rc rc;

    if (i->grants)
        return RC_OK;
    i->grants = calloc(1 + i->channels, sizeof *i->grants);
    if (!i->grants)
        return RC_NOMEM;
    rc = xen_channels_look(i->domain.domid, i->vchan, 1 + i->channels, i->grants);
    if (rc) {
        log_error("the channels of %s make no sense: %s", i->name, rc_text(rc));
        free(i->grants);
        i->grants = NULL;
    }
    return rc;
}

static enum rc open_channel(struct backend_instance *i, unsigned at, struct backend_channel *out)
{
    struct xen_bell *bell = &i->bells[at];
    enum rc rc;

    CHECK(at <= i->channels);
    *out = (struct backend_channel){.memory_fd = -1, .bell = DOORBELL_NONE};
    if (i->sm.state != RUNNING)
        return RC_NOT_FOUND;
    rc = look_at_channels(i);
    if (rc)
        return rc;
    out->len = i->grants[at].bytes;
    rc = xen_channel_memory(i->domain.domid, &i->grants[at], &out->memory_fd);
    if (!rc && bell->fd < 0) {
        rc = xen_bell_bind(bell, i->domain.domid, i->vchan[at].port);
        /* A worker has it from the roomkeyd before us. */
        if (rc == RC_BUSY && i->adopted && at > 0)
            return RC_OK;
    }
    if (!rc)
        rc = xen_bell_give(bell, &out->bell);
    if (rc)
        backend_channel_close(out);
    return rc;
}

bool xen_instance_lacks_mappings(struct backend_instance *i, int index)
{
    return i->sm.state == RUNNING && i->grants &&
           xen_channel_lacks_mappings(i->domain.domid, &i->grants[1 + index]);
}

enum rc xen_instance_control(struct backend_instance *i, struct backend_channel *out)
{
    return open_channel(i, 0, out);
}

enum rc xen_instance_channel(struct backend_instance *i, unsigned index,
                             struct backend_channel *out)
{
    return open_channel(i, 1 + index, out);
}
