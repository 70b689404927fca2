/* The domains that are watched, by domid. */
#ifndef XEN_HELPER_WATCH_LIST_H
#define XEN_HELPER_WATCH_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

struct watched {
    uint32_t domid;
    uint8_t uuid[XEN_UUID_SIZE];
    uint64_t token;
    unsigned looks;      /* at its control channel's node */
    bool listening;      /* a watch on that node is set */
    bool published;      /* has been said */
    bool shutdown, gone; /* likewise */
};

struct watch_list {
    struct watched *at; /* owned, ascending domid */
    size_t nr, room;
};

/* NULL: it is not watched.  Valid until the next change of the list. */
struct watched *watch_list_find(const struct watch_list *l, uint32_t domid);
/* An empty one at its place, or the one that is there; NULL: out of memory. */
struct watched *watch_list_add(struct watch_list *l, uint32_t domid);
void watch_list_remove(struct watch_list *l, struct watched *w);
/* The index of the first one whose domid is not below. */
size_t watch_list_from(const struct watch_list *l, uint32_t domid);
void watch_list_dispose(struct watch_list *l);

#endif
