/* The two front workers and their clients: see race_house.h.  What each function does is
 * what the one of the same name, or its caller, does in tls-front/. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "orchestrator/alarm.h"
#include "race_house.h"

#define ID(i)   (unsigned long long)(i).generation
#define WAKE_US (REGISTRY_WAKE_TIMEOUT_MS * 1000ull)

/*----- the control socket -----*/

static void put(struct race_queue *q, const struct control_msg *m, int fd)
{
    struct race_message *e = malloc(sizeof *e);

    CHECK(e);
    *e = (struct race_message){.m = *m, .fd = fd};
    *q->last = e;
    q->last = &e->next;
    q->nr++;
}

static struct race_message *take(struct race_queue *q)
{
    struct race_message *e = q->first;

    if (!e)
        return NULL;
    q->first = e->next;
    if (!q->first)
        q->last = &q->first;
    q->nr--;
    return e;
}

static void drop(struct race_message *e)
{
    if (e->fd >= 0)
        close(e->fd);
    free(e);
}

static void empty(struct race_queue *q)
{
    struct race_message *e;

    while ((e = take(q)))
        drop(e);
}

/* orch_send() */
static void tell(struct race_worker *w, const struct control_msg *m)
{
    if (w->connected)
        put(&w->out, m, -1);
}

static void tell_instance(struct race_worker *w, const struct race_channel *ch,
                          enum control_type type)
{
    struct control_msg m = {.type = type, .instance = ch->id};

    tell(w, &m);
}

static void tell_activity(struct race_worker *w, struct race_channel *ch)
{
    struct control_msg m = {.type = CONTROL_ACTIVITY};

    m.activity.id = ch->id;
    m.activity.connections = ch->connections;
    m.activity.bytes = ch->bytes;
    ch->bytes = 0;
    ch->told = ch->connections;
    tell(w, &m);
}

/*----- wakes -----*/

static void send_wake(struct race *r, struct race_worker *w, const struct race_tenant *t)
{
    struct control_msg m = {.type = CONTROL_WAKE};

    w->wake[t->n] = ++r->requests;
    m.wake.request = w->wake[t->n];
    snprintf(m.wake.hostname, sizeof m.wake.hostname, "%s", t->host);
    tell(w, &m);
}

static void wake_join(struct race *r, struct race_conn *c)
{
    struct race_worker *w = &r->workers[c->worker];

    c->waits = true;
    if (!w->wake[c->tenant->n])
        send_wake(r, w, c->tenant);
}

static void wake_leave(struct race *r, struct race_conn *c)
{
    c->waits = false;
    for (unsigned n = 0; n < RACE_CONNS; n++)
        if (r->conns[n].waits && r->conns[n].worker == c->worker && r->conns[n].tenant == c->tenant)
            return;
    r->workers[c->worker].wake[c->tenant->n] = 0;
}

/*----- channels -----*/

static struct race_channel *find(struct race_worker *w, const struct control_instance *id)
{
    struct race_channel *ch = w->channels;

    while (ch && (ch->id.instance != id->instance || ch->id.generation != id->generation))
        ch = ch->next;
    return ch;
}

static void retire(struct race_worker *w, const struct race_channel *ch)
{
    if (w->active[ch->tenant->n] == ch)
        w->active[ch->tenant->n] = NULL;
}

static void unmap(struct race_worker *w, struct race_channel *ch)
{
    struct race_channel **at = &w->channels;

    retire(w, ch);
    while (*at != ch)
        at = &(*at)->next;
    *at = ch->next;
    munmap(ch->memory, ch->len);
    free(ch);
}

static void reset_connections(struct race *r, const struct race_channel *ch)
{
    for (unsigned n = 0; n < RACE_CONNS; n++) {
        struct race_conn *c = &r->conns[n];

        if (c->state != RACE_OPEN || c->channel != ch)
            continue;
        race_check_lost(r, c);
        c->state = RACE_NONE;
        r->sum.lost++;
    }
}

static void kill_channel(struct race *r, struct race_worker *w, struct race_channel *ch)
{
    reset_connections(r, ch);
    ring_leave(&ch->ring);
    unmap(w, ch);
}

static void channel_join(struct race *r, struct race_channel *ch, struct race_conn *c)
{
    c->state = RACE_OPEN;
    c->channel = ch;
    if (ch->connections++ == 0)
        tell_activity(&r->workers[c->worker], ch);
    ch->bytes += 1000; /* its OPEN */
}

static void channel_ready(struct race *r, unsigned index, const struct control_ready *m, int fd)
{
    struct race_worker *w = &r->workers[index];
    struct race_channel *ch = find(w, &m->id);
    struct stat st;

    if (!ch) {
        ch = calloc(1, sizeof *ch);
        CHECK(ch && fstat(fd, &st) == 0);
        for (unsigned n = 0; n < r->tenants_nr; n++)
            if (r->tenants[n].id == m->tenant)
                ch->tenant = &r->tenants[n];
        ch->id = m->id;
        ch->len = (size_t)st.st_size;
        ch->memory = mmap(NULL, ch->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(ch->tenant && ch->memory != MAP_FAILED);
        if (atomic_load(&((struct ring_page *)ch->memory)->cli_live) != RING_WAITING &&
            !race_life(r, m->id.instance)->excused)
            race_broken(r, "worker %u is given a channel of %s (%llu) that was not cleared", index,
                        ch->tenant->name, ID(ch->id));
        CHECK(ring_attach(&ch->ring, ch->memory, ch->len, RING_CLIENT) == RC_OK);
        ch->next = w->channels;
        w->channels = ch;
    }
    ch->state = RACE_ACTIVE;
    w->active[ch->tenant->n] = ch;
}

static void channel_release(struct race *r, unsigned index, const struct control_release *m)
{
    struct race_worker *w = &r->workers[index];
    struct race_channel *ch = find(w, &m->id);
    struct control_msg released = {.type = CONTROL_RELEASED, .instance = m->id};

    (void)r;
    if (!ch) {
        tell(w, &released);
        return;
    }
    if (!m->force && (ch->bytes > 0 || ch->connections != ch->told)) {
        tell_instance(w, ch, CONTROL_BUSY);
        return;
    }
    retire(w, ch);
    ch->state = ch->connections ? RACE_RETIRED : RACE_RELEASED;
    if (ch->state == RACE_RELEASED)
        tell_instance(w, ch, CONTROL_RELEASED);
}

/*----- clients -----*/

static const char *const conn_words[] = {"gone", "without a route", "shaking hands", "waiting",
                                         "open"};

struct race_conn *race_open(struct race *r, unsigned index, struct race_tenant *t)
{
    struct race_worker *w = &r->workers[index];
    struct race_conn *c = r->conns;

    while (c < r->conns + RACE_CONNS && c->state != RACE_NONE)
        c++;
    if (c == r->conns + RACE_CONNS)
        return NULL;
    race_note(r, "worker %u: a client for %s", index, t->name);
    *c = (struct race_conn){.worker = index, .tenant = t, .state = RACE_ROUTE};
    c->deadline_us = race_now(r) + WAKE_US;
    c->excused = !w->connected;
    if (!w->route[t->n] || !w->active[t->n])
        wake_join(r, c);
    if (w->route[t->n])
        c->state = RACE_HANDSHAKE;
    race_check(r);
    return c;
}

static void give_up(struct race *r, struct race_conn *c)
{
    if (c->waits)
        wake_leave(r, c);
    c->state = RACE_NONE;
}

static void proceed(struct race *r, struct race_conn *c)
{
    struct race_channel *ch = r->workers[c->worker].active[c->tenant->n];

    c->state = RACE_WAKING;
    if (ch) {
        if (c->waits)
            wake_leave(r, c);
        channel_join(r, ch, c);
    } else if (c->refused) {
        give_up(r, c);
    } else if (!c->waits) {
        /* Its handshake has taken most of its time: it has no right to the rest. */
        c->excused = c->excused || c->deadline_us < race_now(r) + WAKE_US * 9 / 10;
        wake_join(r, c);
    }
}

void race_shake(struct race *r, struct race_conn *c)
{
    CHECK(c->state == RACE_HANDSHAKE);
    race_note(r, "worker %u: a handshake for %s is over", c->worker, c->tenant->name);
    proceed(r, c);
    race_check(r);
}

void race_bytes(struct race *r, struct race_conn *c)
{
    CHECK(c->state == RACE_OPEN);
    race_note(r, "worker %u: bytes for %s, generation %llu", c->worker, c->tenant->name,
              ID(c->channel->id));
    c->channel->bytes += 100;
}

void race_close(struct race *r, struct race_conn *c)
{
    struct race_worker *w = &r->workers[c->worker];
    struct race_channel *ch = c->channel;

    race_note(r, "worker %u: a client of %s leaves, %s", c->worker, c->tenant->name,
              conn_words[c->state]);
    if (c->state != RACE_OPEN) {
        give_up(r, c);
        race_check(r);
        return;
    }
    c->state = RACE_NONE;
    if (--ch->connections == 0) {
        tell_activity(w, ch);
        if (ch->state == RACE_RETIRED) {
            ch->state = RACE_RELEASED;
            tell_instance(w, ch, CONTROL_RELEASED);
        }
    }
    race_check(r);
}

void race_late(struct race *r)
{
    uint64_t now = race_now(r);

    for (unsigned n = 0; n < RACE_CONNS; n++) {
        struct race_conn *c = &r->conns[n];

        if (c->state == RACE_NONE || c->state == RACE_OPEN || c->deadline_us > now)
            continue;
        race_note(r, "worker %u: a client of %s is late, %s", c->worker, c->tenant->name,
                  conn_words[c->state]);
        if (c->state != RACE_HANDSHAKE)
            race_check_late(r, c);
        give_up(r, c);
    }
}

uint64_t race_next_late(const struct race *r)
{
    uint64_t first = UINT64_MAX;

    for (unsigned n = 0; n < RACE_CONNS; n++) {
        const struct race_conn *c = &r->conns[n];

        if (c->state != RACE_NONE && c->state != RACE_OPEN && c->deadline_us < first)
            first = c->deadline_us;
    }
    return first;
}

/* The answer to a wake ends it for all who wait on it. */
static void answered(struct race *r, unsigned index, uint64_t request,
                     void (*each)(struct race *r, struct race_conn *c))
{
    struct race_worker *w = &r->workers[index];
    bool waits[RACE_CONNS];

    for (unsigned t = 0; t < r->tenants_nr; t++) {
        if (w->wake[t] != request)
            continue;
        w->wake[t] = 0;
        for (unsigned n = 0; n < RACE_CONNS; n++) {
            struct race_conn *c = &r->conns[n];

            waits[n] = c->waits && c->worker == index && c->tenant->n == t;
            c->waits = c->waits && !waits[n];
        }
        for (unsigned n = 0; n < RACE_CONNS; n++)
            if (waits[n])
                each(r, &r->conns[n]);
        return;
    }
}

static void on_ready(struct race *r, struct race_conn *c)
{
    if (c->state == RACE_WAKING)
        proceed(r, c);
    else if (c->state == RACE_ROUTE)
        wake_join(r, c); /* the route was invalidated before it came */
}

static void on_refused(struct race *r, struct race_conn *c)
{
    c->refused = true;
    if (c->state == RACE_WAKING || c->state == RACE_ROUTE)
        give_up(r, c);
}

static void on_timed_out(struct race *r, struct race_conn *c)
{
    /* It may have joined the wake later, and have time left. */
    if (c->deadline_us > race_now(r) + 100000)
        wake_join(r, c);
    else
        on_refused(r, c);
}

/*----- what the worker hears -----*/

static void on_route(struct race *r, unsigned index, const struct control_route *m)
{
    struct race_worker *w = &r->workers[index];

    for (unsigned t = 0; t < r->tenants_nr; t++) {
        if (w->wake[t] != m->request)
            continue;
        w->route[t] = true;
        for (unsigned n = 0; n < RACE_CONNS; n++) {
            struct race_conn *c = &r->conns[n];

            if (c->waits && c->worker == index && c->tenant->n == t && c->state == RACE_ROUTE) {
                c->state = RACE_HANDSHAKE;
                c->deadline_us = race_now(r) + m->wake_timeout_ms * 1000ull;
            }
        }
    }
}

static bool wanted(const struct race_worker *w, uint64_t request)
{
    for (unsigned t = 0; t < RACE_TENANTS; t++)
        if (w->wake[t] == request)
            return true;
    return false;
}

static void dispatch(struct race *r, unsigned index, struct race_message *e)
{
    struct race_worker *w = &r->workers[index];
    const struct control_msg *m = &e->m;
    struct race_channel *ch;

    switch (m->type) {
    case CONTROL_ROUTE:
        race_note(r, "worker %u hears ROUTE of %s", index, m->route.name);
        on_route(r, index, &m->route);
        break;
    case CONTROL_READY:
        race_note(r, "worker %u hears READY, generation %llu", index, ID(m->ready.id));
        if (!wanted(w, m->ready.request))
            break; /* everybody has left */
        channel_ready(r, index, &m->ready, e->fd);
        answered(r, index, m->ready.request, on_ready);
        break;
    case CONTROL_REFUSED:
        race_note(r, "worker %u hears REFUSED: %s", index, m->refused.text);
        answered(r, index, m->refused.request,
                 m->refused.why == RC_TIMEDOUT ? on_timed_out : on_refused);
        break;
    case CONTROL_RELEASE:
        race_note(r, "worker %u hears RELEASE%s, generation %llu", index,
                  m->release.force ? " by force" : "", ID(m->release.id));
        channel_release(r, index, &m->release);
        break;
    case CONTROL_GONE:
        race_note(r, "worker %u hears GONE, generation %llu", index, ID(m->instance));
        ch = find(w, &m->instance);
        if (ch)
            kill_channel(r, w, ch);
        break;
    case CONTROL_INVALIDATE:
        for (unsigned t = 0; t < r->tenants_nr; t++)
            if (m->tenant == 0 || r->tenants[t].id == m->tenant)
                w->route[t] = false;
        break;
    default:
        race_broken(r, "a worker was told what only workers say: %d", (int)m->type);
    }
}

bool race_hear(struct race *r, unsigned index)
{
    struct race_message *e = take(&r->workers[index].in);

    if (!e)
        return false;
    dispatch(r, index, e);
    drop(e);
    race_check(r);
    return true;
}

/* From the fleet, in the middle of its work. */
void race_told(void *arg, unsigned index, const struct control_msg *m, const int *fds)
{
    struct race *r = arg;
    struct race_worker *w = &r->workers[index];
    uint64_t request = m->type == CONTROL_READY     ? m->ready.request
                       : m->type == CONTROL_REFUSED ? m->refused.request
                                                    : 0;
    int fd = -1;

    if (r->deaf)
        return;
    if (request) {
        unsigned n = 0;

        while (n < w->asked_nr && w->asked[n].request != request)
            n++;
        if (n == w->asked_nr)
            race_broken(r, "worker %u is given an answer that it is not owed", index);
        if (m->type == CONTROL_READY)
            race_check_ready(r, index, &m->ready);
        else
            race_check_refused(r, &w->asked[n], &m->refused);
        w->asked[n] = w->asked[--w->asked_nr];
    }
    if (m->type == CONTROL_RELEASE && m->release.force)
        race_life(r, m->release.id.instance)->forced = true;
    if (m->type == CONTROL_READY) {
        fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        CHECK(fd >= 0);
    }
    put(&w->in, m, fd);
}

/*----- what it says -----*/

static const char *said_words(const struct control_msg *m)
{
    switch (m->type) {
    case CONTROL_WAKE:
        return "WAKE";
    case CONTROL_ACTIVITY:
        return "ACTIVITY";
    case CONTROL_RELEASED:
        return "RELEASED";
    case CONTROL_BUSY:
        return "BUSY";
    case CONTROL_HOLDING:
        return "HOLDING";
    case CONTROL_SYNCED:
        return "SYNCED";
    default:
        return "COMPLAINT";
    }
}

bool race_say(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];
    struct race_message *e = take(&w->out);

    if (!e)
        return false;
    race_note(r, "the fleet hears %s of worker %u", said_words(&e->m), index);
    if (e->m.type == CONTROL_WAKE) {
        struct race_request *q = &w->asked[w->asked_nr++];

        CHECK(w->asked_nr <= RACE_WAKES);
        *q = (struct race_request){.request = e->m.wake.request, .since_us = race_now(r)};
        for (unsigned t = 0; t < r->tenants_nr; t++)
            if (strcmp(r->tenants[t].host, e->m.wake.hostname) == 0)
                q->tenant = &r->tenants[t];
    }
    if (fleet_worker_message(r->house->fleet, index, &e->m))
        race_broken(r, "the fleet does not understand %s", said_words(&e->m));
    if (e->m.type == CONTROL_BUSY)
        race_check_used(r, &e->m.instance);
    else if (e->m.type == CONTROL_ACTIVITY && e->m.activity.bytes && e->m.activity.connections)
        race_check_used(r, &e->m.activity.id);
    drop(e);
    race_check(r);
    return true;
}

void race_second(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];

    for (struct race_channel *ch = w->channels; ch; ch = ch->next)
        if (ch->bytes > 0 || ch->connections != ch->told)
            tell_activity(w, ch);
}

void race_complain(struct race *r, unsigned index, struct race_channel *ch)
{
    struct race_worker *w = &r->workers[index];
    struct control_msg m = {.type = CONTROL_COMPLAINT};
    struct backend_instance *i = race_backend(r, ch->id.instance);

    race_note(r, "worker %u complains of %s, generation %llu", index, ch->tenant->name, ID(ch->id));
    if (i)
        race_harm(r, i);
    m.complaint.id = ch->id;
    strcpy(m.complaint.text, "an index ran away");
    tell(w, &m);
    kill_channel(r, w, ch);
    race_check(r);
}

/*----- its connection and its life -----*/

void race_note_late(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];

    if (w->connected || race_now(r) - w->away_us < r->house->limits.worker_grace_ms * 1000ull)
        return;
    for (struct race_channel *ch = w->channels; ch; ch = ch->next)
        ch->late = true;
}

void race_connect(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];
    struct control_msg m = {.type = CONTROL_HOLDING}, synced = {.type = CONTROL_SYNCED};

    if (w->connected || !r->house->fleet)
        return;
    race_note(r, "worker %u connects", index);
    race_note_late(r, index);
    w->connected = true;
    fleet_worker_hello(r->house->fleet, index);
    memset(w->route, 0, sizeof w->route);
    for (struct race_channel *ch = w->channels; ch; ch = ch->next) {
        m.holding.id = ch->id;
        m.holding.tenant = ch->tenant->id;
        m.holding.channel = (uint16_t)index;
        m.holding.connections = ch->connections;
        ch->told = ch->connections;
        tell(w, &m);
    }
    tell(w, &synced);
    for (unsigned t = 0; t < r->tenants_nr; t++)
        if (w->wake[t])
            send_wake(r, w, &r->tenants[t]);
    race_check(r);
}

static void cut(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];

    empty(&w->out);
    empty(&w->in);
    w->asked_nr = 0;
    w->connected = false;
    w->away_us = race_now(r);
    for (unsigned n = 0; n < RACE_CONNS; n++)
        if (r->conns[n].worker == index)
            r->conns[n].excused = true;
    if (r->house->fleet)
        fleet_worker_lost(r->house->fleet, index);
}

void race_lose(struct race *r, unsigned index)
{
    if (!r->workers[index].connected)
        return;
    race_note(r, "worker %u loses its connection", index);
    cut(r, index);
    race_check(r);
}

void race_kill(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];

    race_note(r, "worker %u is killed", index);
    for (unsigned n = 0; n < RACE_CONNS; n++)
        if (r->conns[n].worker == index)
            r->conns[n] = (struct race_conn){.state = RACE_NONE};
    while (w->channels)
        unmap(w, w->channels);
    memset(w->wake, 0, sizeof w->wake);
    memset(w->route, 0, sizeof w->route);
    if (w->connected)
        cut(r, index);
    race_check(r);
}

void race_worker_dispose(struct race *r, unsigned index)
{
    struct race_worker *w = &r->workers[index];

    while (w->channels)
        unmap(w, w->channels);
    empty(&w->out);
    empty(&w->in);
    memset(w->wake, 0, sizeof w->wake);
    w->connected = false;
    w->asked_nr = 0;
}
