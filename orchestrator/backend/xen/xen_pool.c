#include "orchestrator/backend/xen/xen_pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/core/container_of.h"
#include "common/host/fd.h"
#include "common/host/log.h"
#include "orchestrator/backend/xen/xen.h"

#define PAUSE_MS     1000u
#define PAUSE_MAX_MS 300000u

#define X(name, standard, least, most) name##_MOST = (most),
enum { XEN_BOUNDS(X) };
#undef X

struct xen_pool_image {
    struct xen_pool *pool;
    dev_t dev;
    ino_t ino;
    uint64_t memory_kib;
    int fd; /* owned */
    struct xen_domain ready[pool_MOST];
    unsigned nr;
    struct xen_task task; /* makes one more */
    bool making;
    bool unwanted; /* … and it shall be destroyed when it is there */
    bool dropped;  /* not in the list any more: freed when nothing is made */
    uint64_t used_us, not_before_us;
    uint32_t pause_ms;
};

static void pump(struct xen_pool *p);

/*----- giving back -----*/

static void reap(struct xen_pool *p, struct xen_domain *d)
{
    char name[XEN_NAME_MAX];

    fd_close(&d->console);
    xen_name_pool(p->house, d->uuid, name);
    xen_reap(p->reaper, d->uuid, name, NULL);
}

static void give_back(struct xen_pool_image *i)
{
    while (i->nr)
        reap(i->pool, &i->ready[--i->nr]);
    if (i->making) {
        i->unwanted = true;
        (void)xen_helpers_cancel(i->pool->helpers, &i->task);
    }
}

static void drop(struct xen_pool *p, unsigned n)
{
    struct xen_pool_image *i = p->images[n];

    p->images[n] = p->images[--p->nr];
    give_back(i);
    i->dropped = true;
    if (i->making)
        return;
    fd_close(&i->fd);
    free(i);
}

bool xen_pool_evict(struct xen_pool *p)
{
    bool any = false;

    for (unsigned n = 0; n < p->nr; n++) {
        any = any || p->images[n]->nr || p->images[n]->making;
        give_back(p->images[n]);
    }
    p->not_before_us = alarms_us(p->alarms) + EVICTED_MS * 1000ull;
    pump(p);
    return any;
}

/*----- making -----*/

static void made(struct xen_pool_image *i, const struct xen_event *answer, int *fd)
{
    struct xen_pool *p = i->pool;
    struct xen_domain d = {.domid = answer->domid, .console = *fd};

    memcpy(d.uuid, i->task.job.uuid, sizeof d.uuid);
    switch (answer->rc) {
    case RC_OK:
        *fd = -1;
        i->pause_ms = PAUSE_MS;
        if (i->unwanted)
            reap(p, &d);
        else
            i->ready[i->nr++] = d;
        return;
    case RC_CANCELED:
        return;
    case RC_CLOSED:
    case RC_TIMEDOUT:
        d.console = -1;
        reap(p, &d); /* nobody knows how much of it there is */
        break;
    default:
        break;
    }
    log_warning("the pool cannot make a domain: %s; trying again in %u s", answer->text,
                i->pause_ms / 1000);
    i->not_before_us = alarms_us(p->alarms) + i->pause_ms * 1000ull;
    i->pause_ms = i->pause_ms * 2 < PAUSE_MAX_MS ? i->pause_ms * 2 : PAUSE_MAX_MS;
}

static void on_made(struct xen_task *t, const struct xen_event *answer, int *fd)
{
    struct xen_pool_image *i = CONTAINER_OF(t, struct xen_pool_image, task);
    struct xen_pool *p = i->pool;

    i->making = false;
    p->making--;
    made(i, answer, fd);
    if (i->dropped) {
        fd_close(&i->fd);
        free(i);
    }
    if (!p->closed)
        pump(p);
    else if (p->making == 0)
        p->on_idle(p->arg); /* must be last */
}

static bool make(struct xen_pool_image *i)
{
    struct xen_pool *p = i->pool;

    i->task = (struct xen_task){.fd = i->fd, .priority = XEN_REFILL, .done = on_made};
    i->task.job.type = XEN_JOB_CREATE;
    i->task.job.memory_kib = i->memory_kib;
    if (xen_uuid_new(p->house, i->task.job.uuid))
        return false;
    xen_name_pool(p->house, i->task.job.uuid, i->task.job.name);
    i->making = true;
    i->unwanted = false;
    p->making++;
    xen_helpers_do(p->helpers, &i->task);
    return true;
}

/* What is idle goes, what is missing is made, and the alarm is for what comes next. */
static void pump(struct xen_pool *p)
{
    uint64_t now = alarms_us(p->alarms), next = UINT64_MAX;

    for (unsigned n = p->nr; n-- > 0;) {
        struct xen_pool_image *i = p->images[n];
        uint64_t due = i->used_us + p->idle_ms * 1000ull;

        if (now >= due) {
            drop(p, n);
            continue;
        }
        if (!i->making && i->nr < p->size) {
            uint64_t from =
                i->not_before_us > p->not_before_us ? i->not_before_us : p->not_before_us;

            if (now >= from && !make(i))
                from = now + PAUSE_MS * 1000ull;
            if (from > now && from < due)
                due = from;
        }
        next = due < next ? due : next;
    }
    if (next != UINT64_MAX)
        alarm_set(p->alarms, &p->alarm, (next - now) / 1000 + 1);
}

static void on_alarm(struct alarm *a)
{
    pump(CONTAINER_OF(a, struct xen_pool, alarm));
}

/*----- asking -----*/

static struct xen_pool_image *find(struct xen_pool *p, int fd, uint64_t memory_kib, struct stat *st)
{
    if (p->size == 0 || p->closed || fstat(fd, st))
        return NULL;
    for (unsigned n = 0; n < p->nr; n++) {
        struct xen_pool_image *i = p->images[n];

        if (i->dev == st->st_dev && i->ino == st->st_ino && i->memory_kib == memory_kib) {
            i->used_us = alarms_us(p->alarms);
            return i;
        }
    }
    return NULL;
}

static unsigned used_first(const struct xen_pool *p)
{
    unsigned first = 0;

    for (unsigned n = 1; n < p->nr; n++)
        if (p->images[n]->used_us < p->images[first]->used_us)
            first = n;
    return first;
}

bool xen_pool_take(struct xen_pool *p, int image_fd, uint64_t memory_kib, struct xen_domain *out)
{
    struct stat st;
    struct xen_pool_image *i = find(p, image_fd, memory_kib, &st);

    if (!i || !i->nr)
        return false;
    *out = i->ready[0]; /* the oldest */
    memmove(i->ready, i->ready + 1, --i->nr * sizeof i->ready[0]);
    return true;
}

void xen_pool_want(struct xen_pool *p, int image_fd, uint64_t memory_kib)
{
    struct stat st = {0};
    struct xen_pool_image *i = find(p, image_fd, memory_kib, &st);

    if (!i) {
        if (p->size == 0 || p->closed || !st.st_ino)
            return;
        i = calloc(1, sizeof *i);
        if (!i)
            return; /* then there is no pool of it */
        i->pool = p;
        i->dev = st.st_dev;
        i->ino = st.st_ino;
        i->memory_kib = memory_kib;
        i->pause_ms = PAUSE_MS;
        i->used_us = alarms_us(p->alarms);
        i->fd = fcntl(image_fd, F_DUPFD_CLOEXEC, 0);
        if (i->fd < 0) {
            free(i);
            return;
        }
        if (p->nr == POOL_IMAGES_MAX)
            drop(p, used_first(p));
        p->images[p->nr++] = i;
    }
    if (i->nr < p->size && i->not_before_us <= i->used_us)
        i->not_before_us = i->used_us + p->delay_ms * 1000ull;
    pump(p);
}

unsigned xen_pool_ready(const struct xen_pool *p)
{
    unsigned ready = 0;

    for (unsigned n = 0; n < p->nr; n++)
        ready += p->images[n]->nr;
    return ready;
}

/*----- begin and end -----*/

void xen_pool_init(struct xen_pool *p)
{
    alarm_init(&p->alarm, on_alarm);
}

void xen_pool_close(struct xen_pool *p)
{
    p->closed = true;
    alarm_clear(p->alarms, &p->alarm);
    while (p->nr)
        drop(p, p->nr - 1);
}

bool xen_pool_idle(const struct xen_pool *p)
{
    return p->closed && p->making == 0;
}
