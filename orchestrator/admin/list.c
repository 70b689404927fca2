#include "orchestrator/admin/list.h"

#include <stdlib.h>

#include "common/core/check.h"
#include "common/host/log.h"

void list_add(struct list *l, json_t *object)
{
    admin_text_add(l->out, l->begun ? ",\n" : "[");
    l->begun = true;
    l->count++;
    admin_text_json(l->out, object);
}

static enum admin_next next(struct admin_request *q, void *state, struct admin_text *out)
{
    struct list *l = state;
    enum rc rc;

    (void)q;
    l->out = out;
    l->count = 0;
    rc = l->page(l);
    if (rc) /* the array is left open, so that nobody takes half a list for a whole one */
        log_warning("cannot list from the registry: %s", rc_text(rc));
    else if (l->count < LIST_PAGE)
        admin_text_add(out, l->begun ? "]\n" : "[]\n");
    return !rc && l->count == LIST_PAGE ? ADMIN_MORE : ADMIN_END;
}

void list_answer(struct admin_request *q, enum rc (*page)(struct list *l))
{
    static const struct admin_stream stream = {"application/json", next, free};
    struct list *l = calloc(1, sizeof *l);

    if (!l) {
        admin_fail(q, RC_NOMEM, "cannot list");
        return;
    }
    l->house = admin_of(q);
    l->page = page;
    admin_stream(q, &stream, l);
}
