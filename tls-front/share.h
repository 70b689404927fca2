/* Who has how many of --max-connections: of those that were handed over.
 *
 * Happy path: share_take() right before the handover, share_leave() at the end.  When all are
 * taken, the tenant that has the most gives one up to a tenant that has at least two fewer: one
 * that has its whole answer and is slow to take it, else its newest.
 *
 * Who is not handed over costs no tenant anything: conn.c bounds those for themselves. */
#ifndef TLS_FRONT_SHARE_H
#define TLS_FRONT_SHARE_H

#include <stdbool.h>

#include "common/core/rc.h"

struct conn;
struct tenant;
struct worker;

RC_MUST_CHECK enum rc shares_init(struct worker *w);
void shares_dispose(struct worker *w);

/* Whether share_take() would find room for one more of this tenant's now. */
bool share_is_there(const struct worker *w, const struct tenant *t);

/* False: there is no room.  Another's connection may be closed. */
RC_MUST_CHECK bool share_take(struct conn *c);
/* Its tenant is through with it: it is the first to make room. */
void share_part(struct conn *c);
/* Without effect on one that has taken none. */
void share_leave(struct conn *c);

#endif
