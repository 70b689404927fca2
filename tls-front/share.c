#include "tls-front/share.h"

#include <stdlib.h>

#include "common/core/check.h"
#include "tls-front/conn.h"
#include "tls-front/route.h"
#include "tls-front/worker.h"

/* Tenants by how many they have, so that the one with most is found without a search. */
struct shares {
    uint32_t taken, most; /* of all, and of who has most */
    LIST_HEAD(, tenant) by_count[];
};

enum rc shares_init(struct worker *w)
{
    w->shares = calloc(1, sizeof *w->shares +
                              (w->options->max_connections + 1ull) * sizeof w->shares->by_count[0]);
    return w->shares ? RC_OK : RC_NOMEM;
}

void shares_dispose(struct worker *w)
{
    CHECK(w->shares->taken == 0);
    free(w->shares);
    w->shares = NULL;
}

static void set_count(struct shares *s, struct tenant *t, uint32_t n)
{
    if (t->shares > 0)
        LIST_REMOVE(t, by_shares);
    else
        TAILQ_INIT(&t->shared);
    t->shares = n;
    if (n > 0)
        LIST_INSERT_HEAD(&s->by_count[n], t, by_shares);
    if (n > s->most)
        s->most = n;
    while (s->most > 0 && LIST_EMPTY(&s->by_count[s->most]))
        s->most--;
}

static bool all_taken(const struct worker *w)
{
    return w->shares->taken >= w->options->max_connections;
}

bool share_is_there(const struct worker *w, const struct tenant *t)
{
    return !all_taken(w) || w->shares->most > t->shares + 1;
}

static void make_room(struct shares *s)
{
    struct tenant *t = LIST_FIRST(&s->by_count[s->most]);
    struct conn *c = TAILQ_FIRST(&t->shared);

    if (c->sm.state != CONN_ANSWER)
        c = TAILQ_LAST(&t->shared, conn_list);
    OPENED(c, refused_limit); /* its tenant's ring may be full, and it still to be handed over */
    conn_close(c, CONN_RST);
}

bool share_take(struct conn *c)
{
    struct shares *s = c->w->shares;

    if (!share_is_there(c->w, c->tenant))
        return false;
    if (all_taken(c->w))
        make_room(s);
    s->taken++;
    set_count(s, c->tenant, c->tenant->shares + 1);
    c->shares = true;
    TAILQ_INSERT_TAIL(&c->tenant->shared, c, share);
    return true;
}

void share_part(struct conn *c)
{
    TAILQ_REMOVE(&c->tenant->shared, c, share);
    TAILQ_INSERT_HEAD(&c->tenant->shared, c, share);
}

void share_leave(struct conn *c)
{
    if (!c->shares)
        return;
    c->shares = false;
    TAILQ_REMOVE(&c->tenant->shared, c, share);
    c->w->shares->taken--;
    set_count(c->w->shares, c->tenant, c->tenant->shares - 1);
}
