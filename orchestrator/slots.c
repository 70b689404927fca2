/* The channels of an instance: channel i belongs to front worker i.
 *
 * The happy path: FREE -> HELD (READY) -> RELEASING -> RELEASED -> the end (GONE),
 * or HELD again: a worker keeps what it has released mapped until GONE.
 * A worker that is dead for good cannot say that it has gone: we do in its place,
 * RESETTING; the channel is clean again when the tenant has dropped that client's
 * connections, emptied the rings and said SLOT.  One that comes back after all is told
 * to let go, LEAVING, before the channel is made clean once more.
 * Words that cross: READY may take back a RELEASE whose answer is on its way, and a
 * later RELEASE must not take that for its own.  So READY is followed by a fence, a
 * RELEASE of a generation that is none: nobody holds that, so its RELEASED comes at
 * once, and what comes before it is not looked at.
 * Failure: no SLOT within the deadline, and the instance is killed. */
#include <stdlib.h>
#include <sys/mman.h>

#include "common/core/check.h"
#include "common/core/control.h"
#include "common/core/ring.h"
#include "orchestrator/fleet_private.h"
#include "orchestrator/instance.h"
#include "orchestrator/link.h"

static void on_reset_late(struct alarm *a)
{
    struct slot *s = CONTAINER_OF(a, struct slot, alarm);

    instance_fail(s->owner, "it did not clear a channel within %u ms",
                  s->owner->fleet->limits.reset_ms);
    tenant_step(s->owner->tenant);
}

enum rc slots_init(struct instance *i, unsigned channels, bool adopted)
{
    i->slots = calloc(channels, sizeof *i->slots);
    if (!i->slots)
        return RC_NOMEM;
    i->channels = channels;
    for (unsigned w = 0; w < channels; w++) {
        i->slots[w].state = adopted ? SLOT_UNKNOWN : SLOT_FREE;
        i->slots[w].owner = i;
        alarm_init(&i->slots[w].alarm, on_reset_late);
    }
    return RC_OK;
}

void slots_dispose(struct instance *i)
{
    for (unsigned w = 0; w < i->channels && i->slots; w++)
        alarm_clear(&i->fleet->alarms, &i->slots[w].alarm);
    free(i->slots);
    i->slots = NULL;
}

static void set(struct instance *i, unsigned w, enum slot_state state)
{
    struct slot *s = &i->slots[w];

    s->state = state;
    if (state == SLOT_RESETTING)
        alarm_set(&i->fleet->alarms, &s->alarm, i->fleet->limits.reset_ms);
    else
        alarm_clear(&i->fleet->alarms, &s->alarm);
    if (state != SLOT_HELD && state != SLOT_RELEASING)
        s->connections = 0;
}

static void tell(struct instance *i, unsigned w, struct control_msg *m)
{
    m->instance = (struct control_instance){i->id, i->generation};
    fleet_send(i->fleet, w, m, NULL, 0);
}

/* Answered at once, and after all that the worker had to say before it. */
static void fence(struct instance *i, unsigned w)
{
    struct control_msg m = {.type = CONTROL_RELEASE};

    m.release.id = (struct control_instance){i->id, 0};
    i->slots[w].fenced = true;
    fleet_send(i->fleet, w, &m, NULL, 0);
}

/* The page of channel w; NULL: it cannot be had, and the instance goes. */
static struct ring_page *map(struct instance *i, unsigned w, size_t *len)
{
    struct backend_channel ch;
    void *page = MAP_FAILED;

    if (i->fleet->backend_ops->channel(i->backend, w, &ch) == RC_OK) {
        page = mmap(NULL, ch.len, PROT_READ | PROT_WRITE, MAP_SHARED, ch.memory_fd, 0);
        *len = ch.len;
        backend_channel_close(&ch);
        if (page != MAP_FAILED)
            return page;
        i->hindered |= instance_lacks_mappings(i, (int)w);
    }
    instance_fail(i, "a channel of it cannot be mapped");
    return NULL;
}

/* Makes channel w clean: says in the worker's place that it has gone.  Nobody
 * else is its client now. */
static void reset(struct instance *i, unsigned w)
{
    size_t len;
    struct ring_page *page = map(i, w, &len);

    if (!page)
        return;
    if (atomic_load(&page->cli_live) == RING_WAITING) {
        set(i, w, SLOT_FREE);
    } else {
        struct ring r = {.page = page, .side = RING_CLIENT};

        ring_leave(&r);
        set(i, w, SLOT_RESETTING);
        if (i->link)
            link_ring(i->link);
    }
    munmap(page, len);
}

enum rc slots_give(const struct instance *i, unsigned w)
{
    CHECK(w < i->channels);
    switch (i->slots[w].state) {
    case SLOT_RESETTING:
    case SLOT_UNKNOWN:
    case SLOT_LEAVING:
        return RC_AGAIN;
    case SLOT_FREE:
    case SLOT_HELD:
    case SLOT_RELEASING:
    case SLOT_RELEASED:
        break;
    }
    return RC_OK;
}

void slots_given(struct instance *i, unsigned w)
{
    bool crossing = i->slots[w].state == SLOT_RELEASING;

    /* RELEASING, RELEASED: taken back; READY has told the worker so. */
    set(i, w, SLOT_HELD);
    i->slots[w].given++;
    if (crossing)
        fence(i, w);
}

void slots_release(struct instance *i, bool force)
{
    struct control_msg m = {.type = CONTROL_RELEASE};

    m.release.id = (struct control_instance){i->id, i->generation};
    m.release.force = force;
    for (unsigned w = 0; w < i->channels; w++) {
        struct slot *s = &i->slots[w];

        /* Asked softly before, now in earnest: say it again. */
        if (s->state != SLOT_HELD && !(force && s->state == SLOT_RELEASING))
            continue;
        s->state = SLOT_RELEASING;
        fleet_send(i->fleet, w, &m, NULL, 0);
    }
}

unsigned slots_held(const struct instance *i)
{
    unsigned n = 0;

    for (unsigned w = 0; w < i->channels; w++)
        n += i->slots[w].state == SLOT_HELD || i->slots[w].state == SLOT_RELEASING ||
             i->slots[w].state == SLOT_UNKNOWN;
    return n;
}

bool slots_unknown(const struct instance *i)
{
    for (unsigned w = 0; w < i->channels; w++)
        if (i->slots[w].state == SLOT_UNKNOWN)
            return true;
    return false;
}

void slots_on_released(struct instance *i, unsigned w)
{
    /* Else it crossed our READY, which the worker knows to be the later word. */
    if (i->slots[w].state == SLOT_RELEASING && !i->slots[w].fenced)
        set(i, w, SLOT_RELEASED);
}

void slots_on_busy(struct instance *i, unsigned w)
{
    if (i->slots[w].state == SLOT_RELEASING && !i->slots[w].fenced && !i->retire)
        set(i, w, SLOT_HELD);
}

void slots_on_fence(struct instance *i, unsigned w)
{
    i->slots[w].fenced = false;
    if (i->slots[w].state == SLOT_LEAVING)
        reset(i, w);
}

void slots_on_worker_gone(struct instance *i, unsigned w)
{
    i->slots[w].fenced = false;
    switch (i->slots[w].state) {
    case SLOT_HELD:
    case SLOT_RELEASING:
    case SLOT_RELEASED:
    case SLOT_UNKNOWN:
    case SLOT_LEAVING:
        reset(i, w);
        break;
    case SLOT_FREE:
    case SLOT_RESETTING:
        break;
    }
}

/* Whether the channel is still that of whoever has it mapped.  An earlier roomkeyd may
 * have cleared it. */
static bool connected(struct instance *i, unsigned w)
{
    size_t len;
    struct ring_page *page = map(i, w, &len);
    bool is;

    if (!page)
        return false;
    is = atomic_load(&page->cli_live) == RING_CONNECTED;
    munmap(page, len);
    return is;
}

void slots_on_holding(struct instance *i, unsigned w, uint32_t connections)
{
    struct control_msg gone = {.type = CONTROL_GONE};
    struct slot *s = &i->slots[w];

    if (s->state != SLOT_UNKNOWN || !connected(i, w)) {
        /* It came back too late: it was taken for dead, and the channel cleared.  It
         * leaves the ring when it hears so: then, that has to be cleared. */
        tell(i, w, &gone);
        set(i, w, SLOT_LEAVING);
        fence(i, w);
        return;
    }
    set(i, w, SLOT_HELD);
    s->connections = connections;
    if (i->sm.state == INSTANCE_DRAINING)
        slots_release(i, i->retire); /* the first may have been lost with its connection */
}

void slots_on_worker_back(struct instance *i, unsigned w)
{
    i->slots[w].fenced = false;
    switch (i->slots[w].state) {
    case SLOT_HELD:
    case SLOT_RELEASING:
    case SLOT_RELEASED:
        set(i, w, SLOT_UNKNOWN);
        break;
    case SLOT_LEAVING:
        reset(i, w); /* it says HOLDING again if it has not left yet */
        break;
    case SLOT_FREE:
    case SLOT_RESETTING:
    case SLOT_UNKNOWN:
        break;
    }
}

void slots_on_synced(struct instance *i, unsigned w)
{
    if (i->slots[w].state == SLOT_UNKNOWN)
        reset(i, w);
}

void slots_on_slot(struct instance *i, uint32_t w)
{
    struct ring_page *page;
    size_t len;

    if (w >= i->channels) {
        instance_fail(i, "it broke its control channel: a SLOT for a channel it does not have");
        return;
    }
    if (i->slots[w].state != SLOT_RESETTING)
        return;
    page = map(i, w, &len);
    if (!page)
        return;
    /* Else somebody has left it since: the SLOT for that is yet to come. */
    if (atomic_load(&page->cli_live) == RING_WAITING)
        set(i, w, SLOT_FREE);
    munmap(page, len);
}

void slots_on_end(struct instance *i)
{
    struct control_msg gone = {.type = CONTROL_GONE};

    for (unsigned w = 0; w < i->channels; w++) {
        if (i->slots[w].state != SLOT_FREE && i->slots[w].state != SLOT_RESETTING)
            tell(i, w, &gone);
        set(i, w, SLOT_FREE);
    }
}
