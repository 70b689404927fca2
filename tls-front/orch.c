#include "tls-front/orch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/host/log.h"
#include "tls-front/channel.h"
#include "tls-front/link.h"
#include "tls-front/route.h"
#include "tls-front/wake.h"
#include "tls-front/worker.h"

enum state { ABSENT, GREETING, IN_STEP, CLOSING };

struct orch {
    struct packet packet;
    enum state state;
    bool over;  /* ask for no other */
    bool again; /* ask for another when this one is closed */
    uint64_t told[CONTROL_COUNTER_NR];
};

static void ask_parent(struct worker *w)
{
    struct link_msg m = {.type = LINK_WANT_ORCH};

    if (packet_send(&w->parent, &m, sizeof m, NULL, 0))
        log_error("the parent cannot be asked for a control socket");
}

enum rc orch_init(struct worker *w)
{
    w->orch = calloc(1, sizeof *w->orch);
    if (!w->orch)
        return RC_NOMEM;
    ask_parent(w);
    return RC_OK;
}

void orch_dispose(struct worker *w)
{
    free(w->orch);
    w->orch = NULL;
}

/*----- sending -----*/

static void drop(struct worker *w)
{
    struct orch *o = w->orch;

    if (o->state == ABSENT || o->state == CLOSING)
        return;
    o->state = CLOSING;
    o->again = !o->over;
    packet_close(&o->packet);
}

static void put(struct worker *w, const struct control_msg *m)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;
    enum rc rc = control_encode(m, buf, sizeof buf, &len);

    if (!rc)
        rc = packet_send(&w->orch->packet, buf, len, NULL, 0);
    if (rc) {
        log_warning("roomkeyd cannot be told: %s", rc_text(rc));
        drop(w);
    }
}

void orch_send(struct worker *w, const struct control_msg *m)
{
    if (w->orch->state == IN_STEP)
        put(w, m);
}

bool orch_in_step(const struct worker *w)
{
    return w->orch->state == IN_STEP;
}

void orch_second(struct worker *w)
{
    struct control_msg m = {.type = CONTROL_STATS};

    channels_second(w);
    COUNT(w, routes) = routes_count(w);
    if (w->orch->state != IN_STEP || memcmp(w->orch->told, w->counters, sizeof w->counters) == 0)
        return;
    memcpy(m.counters, w->counters, sizeof m.counters);
    memcpy(w->orch->told, w->counters, sizeof w->counters);
    orch_send(w, &m);
}

/*----- receiving -----*/

static void on_welcome(struct worker *w, const struct control_welcome *m)
{
    struct control_msg synced = {.type = CONTROL_SYNCED};

    if (m->control_version != CONTROL_VERSION || m->mux_version != MUX_VERSION ||
        m->handover_version != HANDOVER_VERSION) {
        log_error("roomkeyd speaks control %u, mux %u, handover %u; this front %u, %u, %u: "
                  "install the same release of both",
                  m->control_version, m->mux_version, m->handover_version, CONTROL_VERSION,
                  MUX_VERSION, HANDOVER_VERSION);
        drop(w);
        return;
    }
    if (w->index >= m->channels)
        log_error("worker %u is one more than instances have channels (%u): start the front "
                  "with --workers %u",
                  w->index, m->channels, m->channels);
    w->orch->state = IN_STEP;
    /* What was said while it was away is lost, INVALIDATE too. */
    routes_stale(w);
    channels_hold(w);
    orch_send(w, &synced);
    wakes_resend(w);
}

static void dispatch(struct worker *w, const struct control_msg *m, int *fds)
{
    switch (m->type) {
    case CONTROL_ROUTE:
        wake_on_route(w, &m->route, fds);
        break;
    case CONTROL_READY:
        wake_on_ready(w, &m->ready, fds);
        break;
    case CONTROL_REFUSED:
        if (m->refused.request == 0) {
            log_error("roomkeyd refuses this worker: %s", m->refused.text);
            drop(w);
        } else {
            wake_on_refused(w, &m->refused);
        }
        break;
    case CONTROL_RELEASE:
        channel_release(w, &m->release.id, m->release.force != 0);
        break;
    case CONTROL_GONE:
        channel_gone(w, &m->instance);
        break;
    case CONTROL_INVALIDATE:
        routes_invalidate(w, m->tenant);
        break;
    default:
        log_error("roomkeyd said what only a worker says (type %d)", (int)m->type);
        drop(w);
    }
}

static void on_message(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct worker *w = p->data;
    struct control_msg m;
    enum rc rc = control_decode(buf, len, &m);

    if (!rc && control_fds(&m) != nfds)
        rc = RC_MALFORMED;
    if (rc) {
        log_error("roomkeyd sent a message that makes no sense: %s", rc_text(rc));
        drop(w);
    } else if (w->orch->state == IN_STEP) {
        dispatch(w, &m, fds);
    } else if (m.type == CONTROL_WELCOME) {
        on_welcome(w, &m.welcome);
    } else if (m.type == CONTROL_REFUSED) {
        log_error("roomkeyd refuses this worker: %s", m.refused.text);
        drop(w);
    } else {
        log_error("roomkeyd did not begin with WELCOME");
        drop(w);
    }
}

static void on_lost(struct packet *p, enum rc why)
{
    struct worker *w = p->data;

    log_warning("roomkeyd is gone (%s); what is open or awake goes on", rc_text(why));
    drop(w);
}

static void on_closed(struct packet *p)
{
    struct worker *w = p->data;

    w->orch->state = ABSENT;
    if (w->orch->again) {
        ask_parent(w);
        wakes_alone(w);
    }
}

static const struct packet_ops ops = {on_message, on_lost, on_closed};

void orch_connected(struct worker *w, int fd)
{
    if (w->orch->state != ABSENT || w->orch->over) {
        close(fd);
        return;
    }
    if (packet_open(&w->orch->packet, &w->loop, fd, &ops, w)) {
        log_error("the control socket cannot be watched");
        return;
    }
    w->orch->state = GREETING;
    memset(w->orch->told, 0, sizeof w->orch->told);
}

void orch_close(struct worker *w)
{
    w->orch->over = true;
    drop(w);
}
