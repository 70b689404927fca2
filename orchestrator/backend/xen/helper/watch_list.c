#include "orchestrator/backend/xen/helper/watch_list.h"

#include <stdlib.h>
#include <string.h>

size_t watch_list_from(const struct watch_list *l, uint32_t domid)
{
    size_t low = 0, high = l->nr;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (l->at[mid].domid < domid)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct watched *watch_list_find(const struct watch_list *l, uint32_t domid)
{
    size_t i = watch_list_from(l, domid);

    return i < l->nr && l->at[i].domid == domid ? &l->at[i] : NULL;
}

struct watched *watch_list_add(struct watch_list *l, uint32_t domid)
{
    size_t i = watch_list_from(l, domid);

    if (i < l->nr && l->at[i].domid == domid)
        return &l->at[i];
    if (l->nr == l->room) {
        size_t room = l->room ? 2 * l->room : 16;
        struct watched *at = realloc(l->at, room * sizeof *at);

        if (!at)
            return NULL;
        l->at = at;
        l->room = room;
    }
    memmove(&l->at[i + 1], &l->at[i], (l->nr - i) * sizeof *l->at);
    l->nr++;
    l->at[i] = (struct watched){.domid = domid};
    return &l->at[i];
}

void watch_list_remove(struct watch_list *l, struct watched *w)
{
    size_t i = (size_t)(w - l->at);

    l->nr--;
    memmove(&l->at[i], &l->at[i + 1], (l->nr - i) * sizeof *l->at);
}

void watch_list_dispose(struct watch_list *l)
{
    free(l->at);
    *l = (struct watch_list){0};
}
