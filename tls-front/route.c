#include "tls-front/route.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "tls-front/signer.h"
#include "tls-front/worker.h"

#define PEM_MAX ((off_t)64 * 1024)

struct routes {
    void *by_name;              /* tsearch() tree of struct route */
    void *by_tenant;            /* of struct tenant */
    TAILQ_HEAD(, route) by_use; /* least recently used first */
    uint32_t count;
};

/* A route_unref() from anywhere must find the tenants' tree. */
static struct worker *the_worker;

static int compare_name(const void *a, const void *b)
{
    return strcmp(((const struct route *)a)->hostname, ((const struct route *)b)->hostname);
}

static int compare_tenant(const void *a, const void *b)
{
    uint64_t x = ((const struct tenant *)a)->id, y = ((const struct tenant *)b)->id;

    return (x > y) - (x < y);
}

enum rc routes_init(struct worker *w)
{
    w->routes = calloc(1, sizeof *w->routes);
    if (!w->routes)
        return RC_NOMEM;
    TAILQ_INIT(&w->routes->by_use);
    the_worker = w;
    return RC_OK;
}

/*----- tenants -----*/

struct tenant *tenant_find(struct worker *w, uint64_t id)
{
    struct tenant key = {.id = id};
    void *node = tfind(&key, &w->routes->by_tenant, compare_tenant);

    return node ? *(struct tenant **)node : NULL;
}

static struct tenant *tenant_get(struct worker *w, const struct control_route *m)
{
    struct tenant *t = tenant_find(w, m->tenant);

    if (t) {
        t->refs++;
    } else {
        t = calloc(1, sizeof *t);
        if (!t)
            return NULL;
        t->id = m->tenant;
        t->refs = 1;
        if (!tsearch(t, &w->routes->by_tenant, compare_tenant)) {
            free(t);
            return NULL;
        }
    }
    memcpy(t->name, m->name, sizeof t->name);
    t->max_connections = m->max_connections;
    return t;
}

struct tenant *tenant_ref(struct tenant *t)
{
    t->refs++;
    return t;
}

void tenant_unref(struct worker *w, struct tenant *t)
{
    if (--t->refs > 0)
        return;
    CHECK(t->connections == 0 && !t->channel);
    tdelete(t, &w->routes->by_tenant, compare_tenant);
    free(t);
}

/*----- certificates -----*/

/* By pread(): the file offset is shared with whoever else was sent this file. */
static enum rc read_pem(int fd, uint8_t **out, size_t *len)
{
    struct stat st;
    uint8_t *p;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PEM_MAX)
        return RC_INVAL;
    p = malloc((size_t)st.st_size + 1);
    if (!p)
        return RC_NOMEM;
    if (pread(fd, p, (size_t)st.st_size, 0) != st.st_size) {
        free(p);
        return RC_IO;
    }
    p[st.st_size] = '\0';
    *out = p;
    *len = (size_t)st.st_size + 1;
    return RC_OK;
}

static enum rc load(struct worker *w, const char *hostname, const struct control_route *m,
                    const int *fds, struct tls_config **out)
{
    const struct tls_for who = {.tenant = m->tenant,
                                .hostname = hostname,
                                .alpn = m->alpn,
                                .ticket_lifetime = 2 * w->options->ticket_period};
    struct tls_pem pems[CONTROL_CERTS_MAX] = {0};
    enum rc rc = m->certs ? RC_OK : RC_INVAL;

    _Static_assert(CONTROL_CERTS_MAX <= TLS_CERTS_MAX, "one table each");
    for (size_t i = 0; !rc && i < m->certs; i++) {
        uint8_t *chain = NULL;

        signer_prepare(w, m->key[i]);
        rc = read_pem(fds[i], &chain, &pems[i].chain_len);
        pems[i].chain = chain;
        pems[i].key = m->key[i];
    }
    if (!rc)
        rc = tls_config_new(out, pems, m->certs, &who, &w->secrets);
    for (size_t i = 0; i < m->certs; i++)
        free((void *)(uintptr_t)pems[i].chain);
    return rc;
}

/*----- routes -----*/

static void unlist(struct worker *w, struct route *r)
{
    tdelete(r, &w->routes->by_name, compare_name);
    TAILQ_REMOVE(&w->routes->by_use, r, by_use);
    w->routes->count--;
    route_unref(r);
}

struct route *route_ref(struct route *r)
{
    r->refs++;
    return r;
}

void route_unref(struct route *r)
{
    if (!r || --r->refs > 0)
        return;
    tls_config_unref(r->tls);
    tenant_unref(the_worker, r->tenant);
    free(r);
}

static struct route *find(struct worker *w, const char *hostname)
{
    struct route key;
    void *node;

    strncpy(key.hostname, hostname, sizeof key.hostname - 1);
    key.hostname[sizeof key.hostname - 1] = '\0';
    node = tfind(&key, &w->routes->by_name, compare_name);
    return node ? *(struct route **)node : NULL;
}

struct route *routes_find(struct worker *w, const char *hostname)
{
    struct route *r = find(w, hostname);

    if (r) {
        TAILQ_REMOVE(&w->routes->by_use, r, by_use);
        TAILQ_INSERT_TAIL(&w->routes->by_use, r, by_use);
    }
    return r;
}

static enum rc insert(struct worker *w, const char *hostname, const struct control_route *m,
                      struct tls_config *tls, struct route **out)
{
    struct route *r = calloc(1, sizeof *r);
    struct tenant *t = r ? tenant_get(w, m) : NULL;

    if (!t) {
        free(r);
        return RC_NOMEM;
    }
    strncpy(r->hostname, hostname, sizeof r->hostname - 1);
    r->tenant = t;
    r->tls = tls_config_ref(tls);
    r->revision = m->revision;
    r->wake_timeout_ms = m->wake_timeout_ms;
    r->refs = 1;
    if (!tsearch(r, &w->routes->by_name, compare_name)) {
        route_unref(r);
        return RC_NOMEM;
    }
    TAILQ_INSERT_TAIL(&w->routes->by_use, r, by_use);
    w->routes->count++;
    *out = r;
    return RC_OK;
}

enum rc routes_put(struct worker *w, const char *hostname, const struct control_route *m,
                   const int *fds, struct route **out)
{
    struct route *old = find(w, hostname);
    struct tls_config *tls = NULL;
    enum rc rc;

    if (m->certs == 0) { /* as before */
        if (!old || old->revision != m->revision || old->tenant->id != m->tenant)
            return RC_NOT_FOUND;
        old->stale = false;
        *out = old;
        return RC_OK;
    }
    rc = load(w, hostname, m, fds, &tls);
    if (rc) {
        log_seldom(LOG_ERROR, "the certificates of %s (tenant %s) cannot be used: %s", hostname,
                   m->name, rc_text(rc));
        return rc;
    }
    if (old)
        unlist(w, old);
    while (w->routes->count >= w->options->max_routes && w->routes->count > 0)
        unlist(w, TAILQ_FIRST(&w->routes->by_use));
    rc = insert(w, hostname, m, tls, out);
    tls_config_unref(tls); /* the route has its own reference */
    return rc;
}

void routes_invalidate(struct worker *w, uint64_t tenant)
{
    struct route *next;

    if (tenant && !tenant_find(w, tenant))
        return; /* a new one, mostly: nothing to look for */
    for (struct route *r = TAILQ_FIRST(&w->routes->by_use); r; r = next) {
        next = TAILQ_NEXT(r, by_use);
        if (tenant == 0 || r->tenant->id == tenant)
            unlist(w, r);
    }
}

void routes_stale(struct worker *w)
{
    struct route *r;

    TAILQ_FOREACH(r, &w->routes->by_use, by_use)
    r->stale = true;
}

void routes_tickets(struct worker *w)
{
    struct route *r;

    TAILQ_FOREACH(r, &w->routes->by_use, by_use)
    if (tls_config_tickets(r->tls, &w->secrets))
        log_warning("no new ticket key for %s; it keeps the last period's", r->hostname);
}

uint32_t routes_count(const struct worker *w)
{
    return w->routes->count;
}

void routes_dispose(struct worker *w)
{
    routes_invalidate(w, 0);
    CHECK(!w->routes->by_name);
    free(w->routes);
    w->routes = NULL;
}
