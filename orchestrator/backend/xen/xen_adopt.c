/* Domains that an earlier roomkeyd left: what LIST found is taken over by uuid, and
 * what nobody takes over is destroyed. */
#include <stdlib.h>
#include <string.h>

#include "common/host/fd.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen_event.h"
#include "orchestrator/backend/xen/xen_found.h"
#include "orchestrator/backend/xen/xen_instance.h"

void xen_found_add(void *arg, const struct xen_event *event, int *fd)
{
    struct backend *b = arg;

    if (event->type != XEN_FOUND)
        return;
    if (b->nr_found == b->room_found) {
        size_t room = b->room_found ? b->room_found * 2 : 64;
        struct xen_found *more = realloc(b->found, room * sizeof *more);

        if (!more) {
            log_error("out of memory: %s is neither taken over nor destroyed", event->name);
            return;
        }
        b->found = more;
        b->room_found = room;
    }
    b->found[b->nr_found++] = (struct xen_found){.event = *event, .console = *fd};
    *fd = -1;
}

void xen_found_forget(struct backend *b)
{
    for (size_t n = 0; n < b->nr_found; n++)
        fd_close(&b->found[n].console);
    free(b->found);
    b->found = NULL;
    b->nr_found = b->room_found = 0;
}

void xen_found_sweep(struct backend *b)
{
    for (size_t n = 0; n < b->nr_found; n++) {
        const struct xen_event *event = &b->found[n].event;

        if (b->found[n].adopted)
            continue;
        log_info("destroying %s, which an earlier roomkeyd left",
                 event->name[0] ? event->name : "a domain without a name");
        xen_reap(&b->reaper, event->uuid, event->name, NULL);
    }
    xen_found_forget(b);
}

static struct xen_found *find(struct backend *b, const uint8_t uuid[XEN_UUID_SIZE])
{
    for (size_t n = 0; n < b->nr_found; n++)
        if (memcmp(b->found[n].event.uuid, uuid, XEN_UUID_SIZE) == 0)
            return &b->found[n];
    return NULL;
}

/* All its channels are there. */
static bool is_published(const struct xen_event *event, unsigned channels)
{
    if (event->channels < channels)
        return false;
    for (unsigned n = 0; n <= channels; n++)
        if (!event->vchan[n].port)
            return false;
    return true;
}

enum rc xen_adopt(struct backend *b, const struct backend_handle *handle, unsigned channels,
                  const struct backend_events *events, void *arg, struct backend_instance **out)
{
    static const char key[] = "uuid=";
    uint8_t uuid[XEN_UUID_SIZE];
    struct backend_instance *i;
    struct xen_found *found;

    if (channels > LAUNCH_CHANNELS_MAX || strncmp(handle->text, key, sizeof key - 1) != 0 ||
        !xen_uuid_parse(handle->text + sizeof key - 1, uuid))
        return RC_INVAL;
    found = find(b, uuid);
    /* What has shut down, or never came to run, is swept. */
    if (!found || found->adopted || found->event.shutdown || !is_published(&found->event, channels))
        return RC_NOT_FOUND;
    i = xen_instance_new(b, events, arg, found->event.domid, channels);
    if (!i)
        return RC_NOMEM;
    found->adopted = true;
    memcpy(i->name, found->event.name, sizeof i->name);
    memcpy(i->domain.uuid, uuid, sizeof uuid);
    i->domain.domid = found->event.domid;
    i->domain.console = found->console;
    found->console = -1;
    xen_instance_resume(i, &found->event);
    *out = i;
    return RC_OK;
}
