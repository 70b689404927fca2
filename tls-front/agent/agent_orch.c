#include "tls-front/agent/agent_orch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/control.h"
#include "common/host/clock.h"
#include "common/host/log.h"
#include "common/host/packet.h"
#include "tls-front/agent/agent_key.h"
#include "tls-front/link.h"
#include "tls-front/options.h"

struct waiting {
    STAILQ_ENTRY(waiting) entry;
    unsigned worker;
    uint64_t request;
    struct agent_sign what;
};

/* A key that is not here. */
struct wanted {
    TAILQ_ENTRY(wanted) entry;
    char key[CONTROL_KEY_SIZE];
    unsigned worker; /* that wanted it first */
    uint64_t request, until_us;
    bool asked; /* on the socket that is there */
    STAILQ_HEAD(, waiting) waiting;
};

enum state { ABSENT, GREETING, IN_STEP };

static struct {
    int parent, fd;
    enum state state;
    uint64_t deadline_us, last_request;
    agent_orch_told *told;
    TAILQ_HEAD(, wanted) wanted; /* oldest first */
    unsigned waiting_nr[OPTIONS_WORKERS_MAX], wanted_nr[OPTIONS_WORKERS_MAX];
} orch = {.fd = -1, .wanted = TAILQ_HEAD_INITIALIZER(orch.wanted)};

/*----- the socket -----*/

static void ask_parent(void)
{
    struct link_msg m = {.type = LINK_WANT_ORCH};

    /* A parent that does not read is about to end, and we with it. */
    if (packet_write(orch.parent, &m, sizeof m, NULL, 0))
        log_error("key agent: the parent cannot be asked for a control socket");
}

void agent_orch_open(int parent, uint64_t deadline_ms, agent_orch_told *told)
{
    orch.parent = parent;
    orch.deadline_us = deadline_ms * 1000;
    orch.told = told;
    ask_parent();
}

static void lost(void)
{
    struct wanted *k;

    if (orch.fd < 0)
        return;
    close(orch.fd);
    orch.fd = -1;
    orch.state = ABSENT;
    TAILQ_FOREACH(k, &orch.wanted, entry)
    k->asked = false;
    ask_parent();
}

static bool say(const struct control_msg *m)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    CHECK(control_encode(m, buf, sizeof buf, &len) == RC_OK);
    return packet_write(orch.fd, buf, len, NULL, 0) == RC_OK;
}

static void ask_one(struct wanted *k)
{
    struct control_msg m = {.type = CONTROL_KEY};

    if (orch.state != IN_STEP || k->asked)
        return;
    k->request = ++orch.last_request;
    m.key.request = k->request;
    memcpy(m.key.key, k->key, sizeof m.key.key);
    /* When it takes no more: after the next that it answers. */
    k->asked = say(&m);
}

static void ask_all(void)
{
    struct wanted *k;

    TAILQ_FOREACH(k, &orch.wanted, entry)
    ask_one(k);
}

void agent_orch_connected(int fd)
{
    if (orch.fd >= 0) {
        close(fd);
        return;
    }
    orch.fd = fd;
    orch.state = GREETING;
}

int agent_orch_fd(void)
{
    return orch.fd;
}

/*----- what waits -----*/

/* Takes it out first: who is told may want again. */
static void end(struct wanted *k, enum rc rc)
{
    struct waiting *q;

    TAILQ_REMOVE(&orch.wanted, k, entry);
    orch.wanted_nr[k->worker]--;
    while ((q = STAILQ_FIRST(&k->waiting))) {
        STAILQ_REMOVE_HEAD(&k->waiting, entry);
        orch.waiting_nr[q->worker]--;
        orch.told(q->worker, q->request, &q->what, rc);
        free(q);
    }
    free(k);
}

static struct wanted *find_key(const char *key)
{
    struct wanted *k;

    TAILQ_FOREACH(k, &orch.wanted, entry)
    if (strcmp(k->key, key) == 0)
        return k;
    return NULL;
}

static struct wanted *find_request(uint64_t request)
{
    struct wanted *k;

    TAILQ_FOREACH(k, &orch.wanted, entry)
    if (k->asked && k->request == request)
        return k;
    return NULL;
}

static enum rc want_key(unsigned worker, const char *key, struct wanted **out)
{
    struct wanted *k;

    if (orch.wanted_nr[worker] >= AGENT_WANTED_MAX)
        return RC_FULL;
    k = calloc(1, sizeof *k);
    if (!k)
        return RC_NOMEM;
    strncpy(k->key, key, sizeof k->key - 1);
    k->worker = worker;
    k->until_us = clock_us() + orch.deadline_us;
    STAILQ_INIT(&k->waiting);
    TAILQ_INSERT_TAIL(&orch.wanted, k, entry);
    orch.wanted_nr[worker]++;
    *out = k;
    return RC_OK;
}

enum rc agent_orch_want(unsigned worker, const char *key, uint64_t request,
                        const struct agent_sign *what)
{
    struct wanted *k = find_key(key);
    enum rc rc = k ? RC_OK : want_key(worker, key, &k);
    struct waiting *q;

    if (rc)
        return rc;
    ask_all();
    if (!what)
        return RC_OK;
    q = orch.waiting_nr[worker] < AGENT_WAITING_MAX ? malloc(sizeof *q) : NULL;
    if (!q)
        return RC_FULL;
    q->worker = worker;
    q->request = request;
    q->what = *what;
    STAILQ_INSERT_TAIL(&k->waiting, q, entry);
    orch.waiting_nr[worker]++;
    return RC_OK;
}

void agent_orch_leave(unsigned worker)
{
    struct wanted *k;

    TAILQ_FOREACH(k, &orch.wanted, entry)
    {
        struct waiting *q, *next;

        for (q = STAILQ_FIRST(&k->waiting); q; q = next) {
            next = STAILQ_NEXT(q, entry);
            if (q->worker != worker)
                continue;
            STAILQ_REMOVE(&k->waiting, q, waiting, entry);
            orch.waiting_nr[worker]--;
            free(q);
        }
    }
}

uint64_t agent_orch_time(void)
{
    uint64_t now = clock_us();
    struct wanted *k;

    while ((k = TAILQ_FIRST(&orch.wanted)) && k->until_us <= now)
        end(k, RC_TIMEDOUT);
    return k ? k->until_us - now : UINT64_MAX;
}

/*----- what roomkeyd says -----*/

static void on_key_file(uint64_t request, int fd)
{
    struct wanted *k = find_request(request);
    enum rc rc;

    if (!k)
        return; /* it came too late */
    rc = agent_keys_load(k->key, fd);
    if (rc)
        log_seldom(LOG_ERROR, "key agent: the key %s cannot be used: %s", k->key, rc_text(rc));
    end(k, rc);
}

static void on_refused(const struct control_refused *m)
{
    struct wanted *k;

    if (m->request == 0) {
        log_error("roomkeyd refuses the key agent: %s", m->text);
        lost();
        return;
    }
    k = find_request(m->request);
    if (!k)
        return;
    log_seldom(LOG_ERROR, "key agent: the key %s is not to be had: %s", k->key, m->text);
    end(k, m->why > 0 && m->why < RC_NR ? (enum rc)m->why : RC_FAILED);
}

static bool dispatch(const struct control_msg *m, const int *fds)
{
    if (orch.state == GREETING && m->type == CONTROL_WELCOME) {
        if (m->welcome.control_version != CONTROL_VERSION) {
            log_error("key agent: roomkeyd speaks control %u, this front %u: install the same "
                      "release of both",
                      m->welcome.control_version, CONTROL_VERSION);
            lost();
            return true;
        }
        orch.state = IN_STEP;
        ask_all();
        return true;
    }
    if (m->type == CONTROL_REFUSED) {
        on_refused(&m->refused);
        return true;
    }
    if (orch.state != IN_STEP)
        return false;
    if (m->type == CONTROL_KEY_FILE)
        on_key_file(m->request, fds[0]);
    else if (m->type == CONTROL_FORGET)
        agent_keys_forget(m->key.key);
    return m->type == CONTROL_KEY_FILE || m->type == CONTROL_FORGET;
}

void agent_orch_read(void)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    struct control_msg m;
    size_t len, nfds;
    enum rc rc = packet_read(orch.fd, buf, sizeof buf, &len, fds, &nfds);

    if (rc == RC_AGAIN)
        return;
    if (rc) {
        log_warning("key agent: roomkeyd is gone (%s); the keys that are here serve on",
                    rc_text(rc));
        lost();
        return;
    }
    rc = control_decode(buf, len, &m);
    if (rc || control_fds(&m) != nfds || !dispatch(&m, fds)) {
        log_error("key agent: roomkeyd sent a message that makes no sense");
        lost();
    }
    for (size_t i = 0; i < nfds; i++)
        close(fds[i]);
    ask_all();
}
