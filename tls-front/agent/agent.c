#include "tls-front/agent/agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "common/host/packet.h"
#include "tls-front/agent/agent_arena.h"
#include "tls-front/agent/agent_key.h"
#include "tls-front/agent/agent_msg.h"
#include "tls-front/agent/agent_orch.h"
#include "tls-front/agent/agent_sandbox.h"
#include "tls-front/agent/agent_sign.h"
#include "tls-front/link.h"

/* What a worker does not take at once.  Bounded: while there is any, it is not read
 * from, so these are what it had waiting for keys. */
struct answer {
    STAILQ_ENTRY(answer) entry;
    size_t len;
    uint8_t buf[];
};

struct worker_link {
    int fd; /* owned; -1: none */
    STAILQ_HEAD(, answer) answers;
};

static struct worker_link workers[OPTIONS_WORKERS_MAX];
static int parent;

/*----- workers -----*/

static void leave(unsigned index)
{
    struct worker_link *w = &workers[index];
    struct answer *a;

    if (w->fd < 0)
        return;
    close(w->fd);
    w->fd = -1;
    while ((a = STAILQ_FIRST(&w->answers))) {
        STAILQ_REMOVE_HEAD(&w->answers, entry);
        free(a);
    }
    agent_orch_leave(index);
}

static void misfit(unsigned index)
{
    struct link_msg m = {.type = LINK_MISFIT, .worker = index};

    log_error("key agent: worker %u asks for what no worker asks for", index);
    leave(index);
    if (packet_write(parent, &m, sizeof m, NULL, 0))
        _exit(1); /* whom nobody hears must not go on */
}

static void keep(struct worker_link *w, const void *buf, size_t len)
{
    struct answer *a = malloc(sizeof *a + len);

    CHECK(a);
    a->len = len;
    memcpy(a->buf, buf, len);
    STAILQ_INSERT_TAIL(&w->answers, a, entry);
}

static void answer(unsigned index, const struct agent_msg *m)
{
    struct worker_link *w = &workers[index];
    uint8_t buf[AGENT_MSG_MAX];
    enum rc rc = RC_AGAIN;
    size_t len;

    if (w->fd < 0)
        return;
    CHECK(agent_msg_encode(m, buf, sizeof buf, &len) == RC_OK);
    if (STAILQ_EMPTY(&w->answers))
        rc = packet_write(w->fd, buf, len, NULL, 0);
    if (rc == RC_AGAIN)
        keep(w, buf, len);
    /* Else, and not RC_OK, it is gone: reading tells. */
}

static void flush(unsigned index)
{
    struct worker_link *w = &workers[index];
    struct answer *a;

    while ((a = STAILQ_FIRST(&w->answers))) {
        if (packet_write(w->fd, a->buf, a->len, NULL, 0) == RC_AGAIN)
            return;
        STAILQ_REMOVE_HEAD(&w->answers, entry);
        free(a);
    }
}

/* An agent_orch_told(), or RC_OK at once. */
static void sign(unsigned index, uint64_t request, const struct agent_sign *what, enum rc rc)
{
    struct agent_msg m = {.type = AGENT_SIGNED, .request = request};

    if (!rc) {
        const struct agent_key *key = agent_keys_find(what->key);

        rc = key ? agent_sign(key, what, &m.done) : RC_NOT_FOUND;
        if (rc)
            m.done.len = 0;
    }
    m.done.rc = (uint16_t)rc;
    answer(index, &m);
}

static void on_sign(unsigned index, const struct agent_msg *m)
{
    const struct agent_key *key = agent_keys_find(m->sign.key);
    enum rc rc = RC_OK;

    if (!key)
        rc = agent_orch_want(index, m->sign.key, m->request, &m->sign);
    if (key || rc)
        sign(index, m->request, &m->sign, rc);
}

static void from_worker(unsigned index)
{
    uint8_t buf[AGENT_MSG_MAX];
    int fds[PACKET_FDS_MAX];
    struct agent_msg m;
    size_t len, nfds;
    enum rc rc = packet_read(workers[index].fd, buf, sizeof buf, &len, fds, &nfds);

    if (rc == RC_AGAIN)
        return;
    if (rc == RC_CLOSED) {
        leave(index);
        return;
    }
    if (!rc) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        rc = nfds ? RC_MALFORMED : agent_msg_decode(buf, len, &m);
    }
    if (rc || m.type == AGENT_SIGNED)
        misfit(index);
    else if (m.type == AGENT_SIGN)
        on_sign(index, &m);
    /* When it cannot be had the request itself will be told so. */
    else if (!agent_keys_find(m.key) && agent_orch_want(index, m.key, 0, NULL))
        log_debug("key agent: worker %u prepares too much", index);
}

/*----- the parent -----*/

static void from_parent(void)
{
    struct link_msg m;
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;
    enum rc rc = packet_read(parent, &m, sizeof m, &len, fds, &nfds);

    if (rc == RC_AGAIN)
        return;
    if (rc)
        exit(0); /* it is gone, and so are the workers */
    CHECK(len == sizeof m && nfds == 1);
    switch (m.type) {
    case LINK_ORCH:
        agent_orch_connected(fds[0]);
        break;
    case LINK_WORKER:
        CHECK(m.worker < OPTIONS_WORKERS_MAX);
        leave(m.worker);
        workers[m.worker].fd = fds[0];
        break;
    default:
        CHECK(0);
    }
}

/*----- the loop -----*/

static void turn(void)
{
    struct pollfd p[2 + OPTIONS_WORKERS_MAX];
    unsigned index[2 + OPTIONS_WORKERS_MAX], n = 2;
    uint64_t wait_ms = agent_orch_time() / 1000 + 1;

    p[0] = (struct pollfd){.fd = parent, .events = POLLIN};
    p[1] = (struct pollfd){.fd = agent_orch_fd(), .events = POLLIN};
    /* Those that are there: poll() refuses more than there may be descriptors. */
    for (unsigned i = 0; i < OPTIONS_WORKERS_MAX; i++) {
        if (workers[i].fd < 0)
            continue;
        p[n] = (struct pollfd){.fd = workers[i].fd,
                               .events = STAILQ_EMPTY(&workers[i].answers) ? POLLIN : POLLOUT};
        index[n++] = i;
    }
    if (poll(p, n, wait_ms > 60000 ? 60000 : (int)wait_ms) < 0) {
        CHECK(errno == EINTR);
        return;
    }
    /* A descriptor of `p` may be closed, and its number another's, after each of these:
     * workers' come first, roomkeyd's and the parent's last. */
    for (unsigned i = 2; i < n; i++) {
        short seen = p[i].revents;

        if (seen && (seen & (POLLHUP | POLLERR)) && !(seen & POLLIN))
            leave(index[i]);
        else if (seen & POLLOUT)
            flush(index[i]);
        else if (seen & POLLIN)
            from_worker(index[i]);
    }
    if (p[1].revents && agent_orch_fd() >= 0)
        agent_orch_read();
    if (p[0].revents)
        from_parent();
}

static const char *kind_text(void)
{
    switch (agent_arena_kind()) {
    case AGENT_ARENA_SECRET:
        return "memory that nobody else can read";
    case AGENT_ARENA_LOCKED:
        return "locked memory";
    default:
        return "ordinary memory";
    }
}

static enum rc open_all(const struct agent_start *start)
{
    struct link_msg listening = {.type = LINK_LISTENING};
    enum rc rc = agent_keys_open(AGENT_ARENA_ORDER, true);

    if (!rc)
        rc = agent_sign_open();
    if (rc) {
        log_error("key agent: libcrypto cannot be used: %s", rc_text(rc));
        return rc;
    }
    if (agent_arena_kind() != AGENT_ARENA_SECRET)
        log_warning("key agent: no memfd_secret here (kernel option secretmem.enable=1): private "
                    "keys are in %s",
                    kind_text());
    if (agent_arena_size() < 1u << AGENT_ARENA_ORDER)
        log_warning("key agent: %zu KiB for private keys, as more cannot be locked; raise the "
                    "limit (LimitMEMLOCK=, ulimit -l)",
                    agent_arena_size() >> 10);
    rc = agent_sandbox_enter();
    if (!rc)
        rc = packet_write(parent, &listening, sizeof listening, NULL, 0);
    if (!rc)
        agent_orch_open(parent, start->options->handshake_timeout * 1000ull, sign);
    return rc;
}

void agent_run(const struct agent_start *start)
{
    sigset_t none;

    prctl(PR_SET_NAME, "roomkey-keys"); /* for ps */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN); /* the parent says when; a terminal's ^C is for it too */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    parent = start->parent;
    for (unsigned i = 0; i < OPTIONS_WORKERS_MAX; i++) {
        workers[i].fd = -1;
        STAILQ_INIT(&workers[i].answers);
    }
    if (open_all(start))
        _exit(1);
    for (;;)
        turn();
}
