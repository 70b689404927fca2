#include "orchestrator/key_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/control.h"
#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/host/log.h"
#include "common/host/packet.h"
#include "orchestrator/local_socket.h"

#define PEERS_MAX 8u /* a front has one agent; restarts may overlap */

struct peer {
    struct packet packet;
    struct key_server *server; /* borrowed */
    LIST_ENTRY(peer) entry;
    bool greeted, closing;
};

struct key_server {
    uv_loop_t *loop;          /* borrowed */
    struct cert_store *certs; /* borrowed */
    struct local_socket socket;
    LIST_HEAD(, peer) peers; /* owned */
    unsigned peers_nr;
    bool closing, socket_closed;
};

static void free_if_done(struct key_server *s)
{
    if (s->closing && s->socket_closed && LIST_EMPTY(&s->peers))
        free(s);
}

/*----- one peer -----*/

static void on_closed(struct packet *packet)
{
    struct peer *p = packet->data;
    struct key_server *s = p->server;

    LIST_REMOVE(p, entry);
    s->peers_nr--;
    free(p);
    free_if_done(s);
}

static void drop(struct peer *p, const char *why)
{
    if (p->closing)
        return;
    p->closing = true;
    if (why)
        log_warning("key agent: %s: its connection ends", why);
    packet_close(&p->packet);
}

static void tell(struct peer *p, const struct control_msg *m, int fd)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    enum rc rc;
    size_t len;

    if (p->closing)
        return;
    CHECK(control_encode(m, buf, sizeof buf, &len) == RC_OK);
    rc = packet_send(&p->packet, buf, len, &fd, control_fds(m));
    if (rc && rc != RC_CLOSED) /* then on_lost comes */
        drop(p, rc_text(rc));
}

static void refuse(struct peer *p, uint64_t request, enum rc why, const char *text)
{
    struct control_msg m = {.type = CONTROL_REFUSED};

    m.refused.request = request;
    m.refused.why = (uint16_t)why;
    snprintf(m.refused.text, sizeof m.refused.text, "%s", text);
    tell(p, &m, -1);
}

static void on_hello(struct peer *p, const struct control_hello *m)
{
    struct control_msg welcome = {.type = CONTROL_WELCOME};

    if (m->control_version != CONTROL_VERSION) {
        refuse(p, 0, RC_VERSION, "front and roomkeyd are of different releases");
        drop(p, "it is of another release");
        return;
    }
    p->greeted = true;
    welcome.welcome.control_version = CONTROL_VERSION;
    welcome.welcome.mux_version = MUX_VERSION;
    welcome.welcome.handover_version = HANDOVER_VERSION;
    tell(p, &welcome, -1);
    log_info("the front's key agent is here (pid %u)", m->pid);
}

static void on_key(struct peer *p, const struct control_key *m)
{
    struct control_msg file = {.type = CONTROL_KEY_FILE, .request = m->request};
    int fd;
    enum rc rc = cert_store_key(p->server->certs, m->key, &fd);

    if (rc) {
        log_seldom(LOG_WARNING, "the key agent asks for the key %.64s: %s", m->key, rc_text(rc));
        refuse(p, m->request, rc, rc_text(rc));
        return;
    }
    tell(p, &file, fd);
    close(fd);
}

static void on_message(struct packet *packet, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct peer *p = packet->data;
    struct control_msg m;
    enum rc rc = control_decode(buf, len, &m);

    (void)fds; /* closed by packet.c */
    if (rc || nfds != 0)
        drop(p, "it sent a message that makes no sense");
    else if (m.type == CONTROL_HELLO && !p->greeted)
        on_hello(p, &m.hello);
    else if (m.type == CONTROL_KEY && p->greeted && m.key.request != 0)
        on_key(p, &m.key);
    else
        drop(p, "it said what no key agent says");
}

static void on_lost(struct packet *packet, enum rc why)
{
    drop(packet->data, why == RC_CLOSED ? NULL : rc_text(why));
}

static const struct packet_ops packet_ops = {on_message, on_lost, on_closed};

/*----- all of them -----*/

static void on_key_gone(void *arg, const char *key_id)
{
    struct key_server *s = arg;
    struct control_msg m = {.type = CONTROL_FORGET};
    struct peer *p;

    snprintf(m.key.key, sizeof m.key.key, "%s", key_id);
    LIST_FOREACH(p, &s->peers, entry)
    if (p->greeted)
        tell(p, &m, -1);
}

static bool on_peer(struct local_socket *socket, int fd)
{
    struct key_server *s = CONTAINER_OF(socket, struct key_server, socket);
    struct peer *p = s->peers_nr < PEERS_MAX ? calloc(1, sizeof *p) : NULL;

    if (!p)
        return false;
    p->server = s;
    if (packet_open(&p->packet, s->loop, fd, &packet_ops, p)) {
        free(p); /* and it has closed the descriptor */
        return true;
    }
    LIST_INSERT_HEAD(&s->peers, p, entry);
    s->peers_nr++;
    return true;
}

static void on_socket_closed(struct local_socket *socket)
{
    struct key_server *s = CONTAINER_OF(socket, struct key_server, socket);

    s->socket_closed = true;
    free_if_done(s);
}

enum rc key_server_open(uv_loop_t *loop, const char *run_dir, struct cert_store *certs,
                        struct key_server **out, struct refusal *no)
{
    struct key_server *s = calloc(1, sizeof *s);
    enum rc rc;

    if (!s)
        return refusal_what(no, RC_NOMEM, "cannot make the key agent's socket: out of memory");
    s->loop = loop;
    s->certs = certs;
    s->socket = (struct local_socket){
        .what = "key agent socket", .on_peer = on_peer, .on_closed = on_socket_closed};
    LIST_INIT(&s->peers);
    rc = local_socket_open(&s->socket, loop, run_dir, "agent.sock", no);
    if (rc) {
        free(s);
        return rc;
    }
    local_socket_begin(&s->socket);
    cert_store_watch_keys(certs, on_key_gone, s);
    *out = s;
    return RC_OK;
}

void key_server_close(struct key_server *s)
{
    struct peer *p;

    if (!s)
        return;
    s->closing = true;
    cert_store_watch_keys(s->certs, NULL, NULL);
    LIST_FOREACH(p, &s->peers, entry)
    drop(p, NULL);
    local_socket_close(&s->socket);
}
