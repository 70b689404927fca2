#include "orchestrator/key_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/core/check.h"
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
    uv_poll_t poll;
    int fd; /* owned */
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    LIST_HEAD(, peer) peers; /* owned */
    unsigned peers_nr;
    bool closing, poll_closed;
};

static void free_if_done(struct key_server *s)
{
    if (s->closing && s->poll_closed && LIST_EMPTY(&s->peers))
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
        log_warning("the key agent asks for the key %.64s: %s", m->key, rc_text(rc));
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

static void admit(struct key_server *s, int fd)
{
    struct peer *p;

    if (!local_socket_trusted(fd) || s->peers_nr == PEERS_MAX) {
        log_warning("key socket: a peer was turned away: %s",
                    s->peers_nr == PEERS_MAX ? "too many are there" : "it is another user's");
        close(fd);
        return;
    }
    p = calloc(1, sizeof *p);
    if (!p) {
        close(fd);
        return;
    }
    p->server = s;
    if (packet_open(&p->packet, s->loop, fd, &packet_ops, p)) {
        free(p);
        return;
    }
    LIST_INSERT_HEAD(&s->peers, p, entry);
    s->peers_nr++;
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct key_server *s = poll->data;
    int fd;

    (void)events;
    if (status < 0)
        return;
    fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        admit(s, fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        log_warning("key socket: accept: %s", strerror(errno));
}

static enum rc cannot(struct refusal *no, enum rc rc, const char *path, const char *why)
{
    refusal_what(no, rc, "cannot make the key agent's socket %s", path);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "give roomkeyd a short --run folder that it may write to");
}

enum rc key_server_open(uv_loop_t *loop, const char *run_dir, struct cert_store *certs,
                        struct key_server **out, struct refusal *no)
{
    struct key_server *s = calloc(1, sizeof *s);
    enum rc rc;
    int n;

    if (!s)
        return cannot(no, RC_NOMEM, run_dir, "out of memory");
    s->loop = loop;
    s->certs = certs;
    LIST_INIT(&s->peers);
    n = snprintf(s->path, sizeof s->path, "%s/agent.sock", run_dir);
    if (n < 0 || (size_t)n >= sizeof s->path) {
        rc = cannot(no, RC_TOO_LARGE, run_dir, "the name of a Unix socket is bounded");
        free(s);
        return rc;
    }
    s->fd = local_socket_listen(s->path);
    if (s->fd < 0 || uv_poll_init(loop, &s->poll, s->fd) != 0) {
        rc = cannot(no, RC_IO, s->path, strerror(errno));
        if (s->fd >= 0)
            close(s->fd);
        free(s);
        return rc;
    }
    s->poll.data = s;
    CHECK(uv_poll_start(&s->poll, UV_READABLE, on_connection) == 0);
    cert_store_watch_keys(certs, on_key_gone, s);
    *out = s;
    return RC_OK;
}

static void on_poll_closed(uv_handle_t *h)
{
    struct key_server *s = h->data;

    s->poll_closed = true;
    free_if_done(s);
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
    uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    close(s->fd);
    unlink(s->path);
}
