/* What stands around a front worker that is in the process of the test: its parent, which never
 * says anything, and the far end of a tenant's ring.
 *
 * Aborts when its own calls fail; what the worker does is for the test to judge. */
#ifndef TESTS_WORKER_HOUSE_H
#define TESTS_WORKER_HOUSE_H

#include "common/core/ring.h"
#include "tls-front/worker.h"

/* Zeroes the worker, and opens its loop and the socket to its parent, whose end is returned. */
int house_worker(struct worker *w, const struct options *options);

struct house_tenant {
    struct ring ring; /* the tenant's end */
    void *memory;     /* NULL: none */
    size_t len;
    int bell; /* the worker's */
};

/* Fresh memory, not sealed yet.  fds: as READY has them (memory, the tenant's doorbell, the
 * worker's), for the caller to close. */
void house_tenant_make(struct house_tenant *t, const unsigned orders[2], int fds[3]);
void house_tenant_free(struct house_tenant *t);
void house_tenant_ring(const struct house_tenant *t);
/* HELLO of generation 1, not rung for yet. */
enum rc house_tenant_hello(struct house_tenant *t);

#endif
