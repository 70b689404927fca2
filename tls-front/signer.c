#include "tls-front/signer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "common/host/packet.h"
#include "tls-front/worker.h"

struct link {
    struct packet packet;
    struct worker *w;
};

struct signer {
    struct link *link;                     /* owned; NULL: no agent is there */
    TAILQ_HEAD(, signer_request) requests; /* oldest first */
    uint64_t last_id;
    bool over;
};

enum rc signer_init(struct worker *w)
{
    w->signer = calloc(1, sizeof *w->signer);
    if (!w->signer)
        return RC_NOMEM;
    TAILQ_INIT(&w->signer->requests);
    return RC_OK;
}

void signer_dispose(struct worker *w)
{
    CHECK(!w->signer->link && TAILQ_EMPTY(&w->signer->requests));
    free(w->signer);
    w->signer = NULL;
}

/*----- the socket -----*/

static enum rc say(struct worker *w, const struct agent_msg *m)
{
    uint8_t buf[AGENT_MSG_MAX];
    size_t len;
    enum rc rc;

    if (!w->signer->link)
        return RC_OK; /* the next one is told */
    CHECK(agent_msg_encode(m, buf, sizeof buf, &len) == RC_OK);
    rc = packet_send(&w->signer->link->packet, buf, len, NULL, 0);
    return rc == RC_CLOSED ? RC_OK : rc;
}

static enum rc send_request(struct worker *w, const struct signer_request *r)
{
    struct agent_msg m = {.type = AGENT_SIGN, .request = r->id};

    m.sign = *r->what;
    return say(w, &m);
}

static void drop(struct worker *w)
{
    struct link *l = w->signer->link;

    w->signer->link = NULL;
    if (l)
        packet_close(&l->packet);
}

static void on_signed(struct worker *w, uint64_t id, const struct agent_signed *answer)
{
    struct signer_request *r;

    TAILQ_FOREACH(r, &w->signer->requests, entry)
    if (r->id == id) {
        signer_forget(w, r);
        r->done(r, answer); /* r may be gone: last */
        return;
    }
}

static void on_message(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct link *l = p->data;
    struct agent_msg m;

    (void)fds; /* closed by packet.c */
    if (nfds || agent_msg_decode(buf, len, &m) || m.type != AGENT_SIGNED) {
        log_error("the key agent sent a message that makes no sense");
        if (l->w->signer->link == l)
            drop(l->w);
        return;
    }
    if (l->w->signer->link == l) /* else another has been asked */
        on_signed(l->w, m.request, &m.done);
}

static void on_lost(struct packet *p, enum rc why)
{
    struct link *l = p->data;

    (void)why; /* the parent logs it, and sends another */
    if (l->w->signer->link == l)
        drop(l->w);
}

static void on_closed(struct packet *p)
{
    free(p->data);
}

static const struct packet_ops ops = {on_message, on_lost, on_closed};

void signer_connected(struct worker *w, int fd)
{
    struct link *l = w->signer->over ? NULL : calloc(1, sizeof *l);
    struct signer_request *r;

    drop(w);
    if (!l) {
        close(fd);
        return;
    }
    l->w = w;
    if (packet_open(&l->packet, &w->loop, fd, &ops, l)) {
        log_error("the socket to the key agent cannot be watched");
        free(l);
        return;
    }
    w->signer->link = l;
    TAILQ_FOREACH(r, &w->signer->requests, entry)
    if (send_request(w, r))
        break; /* its queue is full: those behind it run into their deadlines */
}

void signer_close(struct worker *w)
{
    w->signer->over = true;
    drop(w);
}

/*----- requests -----*/

void signer_prepare(struct worker *w, const char *key)
{
    struct agent_msg m = {.type = AGENT_PREPARE};

    for (size_t i = 0; i < sizeof m.key - 1 && key[i]; i++)
        m.key[i] = key[i];
    /* It only saves time. */
    if (say(w, &m))
        log_debug("the key agent cannot be told of a key");
}

enum rc signer_ask(struct worker *w, struct signer_request *r, const struct agent_sign *what,
                   void (*done)(struct signer_request *r, const struct agent_signed *answer))
{
    enum rc rc;

    CHECK(r->id == 0);
    r->id = ++w->signer->last_id;
    r->what = what;
    r->done = done;
    TAILQ_INSERT_TAIL(&w->signer->requests, r, entry);
    rc = send_request(w, r);
    if (rc)
        signer_forget(w, r);
    return rc;
}

void signer_forget(struct worker *w, struct signer_request *r)
{
    if (r->id == 0)
        return;
    TAILQ_REMOVE(&w->signer->requests, r, entry);
    r->id = 0;
}
