#include "orchestrator/front_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/handover.h"
#include "common/core/launch.h"
#include "common/core/mux.h"
#include "common/host/log.h"
#include "common/host/packet.h"
#include "orchestrator/alarm.h"
#include "orchestrator/local_socket.h"

#define HELLO_MS  5000u
#define PEERS_MAX 256u /* the front has at most LAUNCH_CHANNELS_MAX workers */
#define NOBODY    UINT32_MAX

struct peer {
    struct packet packet;
    struct front_server *server; /* borrowed */
    struct peer *next, **at;     /* in the server's list */
    unsigned worker;             /* NOBODY before its HELLO */
    struct alarm alarm;          /* HELLO's deadline; then: it is to be closed */
    const char *fault;
    bool closing;
};

struct front_server {
    uv_loop_t *loop;     /* borrowed */
    struct fleet *fleet; /* borrowed; NULL before begin */
    struct local_socket socket;
    struct peer *peers; /* owned */
    unsigned peers_nr;
    struct peer *workers[LAUNCH_CHANNELS_MAX]; /* borrowed from peers */
    bool closing, socket_closed;
};

static void free_if_done(struct front_server *s)
{
    if (s->closing && s->socket_closed && !s->peers)
        free(s);
}

/*----- one peer -----*/

static void on_closed(struct packet *packet)
{
    struct peer *p = packet->data;
    struct front_server *s = p->server;

    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    s->peers_nr--;
    free(p);
    free_if_done(s);
}

/* The connection ends; the fleet is told.  Not from inside a call of the fleet. */
static void drop(struct peer *p, const char *why)
{
    struct front_server *s = p->server;
    unsigned worker = p->worker;

    if (p->closing)
        return;
    p->closing = true;
    alarm_clear(fleet_alarms(s->fleet), &p->alarm);
    packet_close(&p->packet);
    if (why && worker != NOBODY)
        log_warning("front worker %u: %s", worker, why);
    else if (why)
        log_warning("front socket: %s", why);
    if (worker != NOBODY && s->workers[worker] == p) {
        s->workers[worker] = NULL;
        fleet_worker_lost(s->fleet, worker);
    }
}

static void on_alarm(struct alarm *a)
{
    struct peer *p = CONTAINER_OF(a, struct peer, alarm);

    drop(p, p->fault ? p->fault : "a peer did not say HELLO in time");
}

static void send_to(struct peer *p, const struct control_msg *m, const int *fds, size_t nfds)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    if (p->closing || p->fault)
        return;
    CHECK(nfds == control_fds(m));
    CHECK(control_encode(m, buf, sizeof buf, &len) == RC_OK);
    switch (packet_send(&p->packet, buf, len, fds, nfds)) {
    case RC_OK:
    case RC_CLOSED: /* on_lost comes */
        return;
    case RC_FULL:
        p->fault = "it does not read what it is told: its connection ends";
        break;
    default:
        p->fault = "it cannot be told: its connection ends";
        break;
    }
    alarm_set(fleet_alarms(p->server->fleet), &p->alarm, 0);
}

static void refuse(struct peer *p, enum rc why, const char *text)
{
    struct control_msg m = {.type = CONTROL_REFUSED};

    m.refused.why = (uint16_t)why;
    snprintf(m.refused.text, sizeof m.refused.text, "%s", text);
    send_to(p, &m, NULL, 0);
    drop(p, text);
}

static void on_hello(struct peer *p, const struct control_hello *m)
{
    struct front_server *s = p->server;
    unsigned channels = fleet_limits(s->fleet)->channels;
    struct control_msg welcome = {.type = CONTROL_WELCOME};
    char text[CONTROL_TEXT_MAX];
    struct peer *before;

    if (m->control_version != CONTROL_VERSION || m->mux_version != MUX_VERSION ||
        m->handover_version != HANDOVER_VERSION) {
        snprintf(
            text, sizeof text,
            "the front speaks control %u, mux %u, handover %u and roomkeyd %u, %u, %u: install "
            "the same release of both",
            m->control_version, m->mux_version, m->handover_version, CONTROL_VERSION, MUX_VERSION,
            HANDOVER_VERSION);
        refuse(p, RC_VERSION, text);
        return;
    }
    if (m->worker >= channels) {
        snprintf(text, sizeof text,
                 "instances have channels for %u workers and this is number %u: start the front "
                 "with fewer --workers, or roomkeyd with more [limits] channels",
                 channels, m->worker + 1u);
        refuse(p, RC_INVAL, text);
        return;
    }
    before = s->workers[m->worker];
    if (before)
        drop(before, "another connection took its place");
    alarm_clear(fleet_alarms(s->fleet), &p->alarm);
    p->worker = m->worker;
    s->workers[p->worker] = p;
    welcome.welcome.control_version = CONTROL_VERSION;
    welcome.welcome.mux_version = MUX_VERSION;
    welcome.welcome.handover_version = HANDOVER_VERSION;
    welcome.welcome.channels = (uint16_t)channels;
    send_to(p, &welcome, NULL, 0);
    fleet_worker_hello(s->fleet, p->worker);
    log_info("front worker %u is here (pid %u)", p->worker, m->pid);
}

static void on_message(struct packet *packet, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct peer *p = packet->data;
    struct control_msg m;
    enum rc rc = control_decode(buf, len, &m);

    (void)fds; /* closed by packet.c */
    if (rc || nfds != control_fds(&m))
        drop(p, "it sent a message that makes no sense");
    else if (p->worker == NOBODY && m.type == CONTROL_HELLO)
        on_hello(p, &m.hello);
    else if (p->worker == NOBODY || m.type == CONTROL_HELLO)
        drop(p, "HELLO comes first, and once");
    else if (fleet_worker_message(p->server->fleet, p->worker, &m))
        drop(p, "it said what no worker says");
}

static void on_lost(struct packet *packet, enum rc why)
{
    drop(packet->data, why == RC_CLOSED ? NULL : rc_text(why));
}

static const struct packet_ops packet_ops = {on_message, on_lost, on_closed};

/*----- all of them -----*/

static void send_to_worker(void *arg, unsigned worker, const struct control_msg *m, const int *fds,
                           size_t nfds)
{
    struct front_server *s = arg;

    if (s->workers[worker])
        send_to(s->workers[worker], m, fds, nfds);
}

struct fleet_front front_server_front(struct front_server *s)
{
    return (struct fleet_front){.send = send_to_worker, .arg = s};
}

static bool on_peer(struct local_socket *socket, int fd)
{
    struct front_server *s = CONTAINER_OF(socket, struct front_server, socket);
    struct peer *p = s->peers_nr < PEERS_MAX ? calloc(1, sizeof *p) : NULL;

    if (!p)
        return false;
    p->server = s;
    p->worker = NOBODY;
    alarm_init(&p->alarm, on_alarm);
    if (packet_open(&p->packet, s->loop, fd, &packet_ops, p)) {
        free(p); /* and it has closed the descriptor */
        return true;
    }
    p->next = s->peers;
    p->at = &s->peers;
    if (p->next)
        p->next->at = &p->next;
    s->peers = p;
    s->peers_nr++;
    alarm_set(fleet_alarms(s->fleet), &p->alarm, HELLO_MS);
    return true;
}

static void on_socket_closed(struct local_socket *socket)
{
    struct front_server *s = CONTAINER_OF(socket, struct front_server, socket);

    s->socket_closed = true;
    free_if_done(s);
}

enum rc front_server_open(uv_loop_t *loop, const char *run_dir, struct front_server **out,
                          struct refusal *no)
{
    struct front_server *s = calloc(1, sizeof *s);
    enum rc rc;

    if (!s)
        return refusal_what(no, RC_NOMEM, "cannot make the front's socket: out of memory");
    s->loop = loop;
    s->socket = (struct local_socket){
        .what = "front socket", .on_peer = on_peer, .on_closed = on_socket_closed};
    rc = local_socket_open(&s->socket, loop, run_dir, "front.sock", no);
    if (rc) {
        free(s);
        return rc;
    }
    *out = s;
    return RC_OK;
}

void front_server_begin(struct front_server *s, struct fleet *fleet)
{
    s->fleet = fleet;
    local_socket_begin(&s->socket);
}

void front_server_hold(struct front_server *s)
{
    if (!s->closing)
        local_socket_hold(&s->socket);
}

void front_server_close(struct front_server *s)
{
    struct peer *next;

    if (!s)
        return;
    s->closing = true;
    for (struct peer *p = s->peers; p; p = next) {
        next = p->next;
        drop(p, NULL);
    }
    local_socket_close(&s->socket);
}
