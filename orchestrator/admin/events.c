/* /v1/events: one JSON object a line, oldest first; with follow=1 it goes on.
 *
 * The stream holds no queue: it remembers the last id that it gave and reads on in the
 * registry, so that a client that does not read costs nothing. */
#include <stdlib.h>
#include <string.h>

#include "orchestrator/admin/handlers.h"
#include "orchestrator/admin/object.h"

#define PAGE 64u
#define TAIL 10u /* shown first when following from now */

struct events {
    struct fleet_watch watch;
    struct admin_request *request;
    struct admin_house *house;
    struct admin_text *out;
    char tenant[REGISTRY_NAME_SIZE]; /* "": all */
    uint64_t after;
    unsigned count;
    bool follow;
};

static bool add(void *arg, const struct registry_event *event)
{
    struct events *s = arg;

    admin_text_json(s->out, object_event(event));
    admin_text_add(s->out, "\n");
    s->after = event->id;
    s->count++;
    return true;
}

static enum admin_next next(struct admin_request *q, void *state, struct admin_text *out)
{
    struct events *s = state;

    (void)q;
    s->out = out;
    s->count = 0;
    if (registry_events(s->house->registry, *s->tenant ? s->tenant : NULL, s->after, PAGE, add, s))
        return ADMIN_END;
    if (s->count == PAGE)
        return ADMIN_MORE;
    return s->follow ? ADMIN_WAIT : ADMIN_END;
}

static void on_event(struct fleet_watch *watch)
{
    struct events *s = watch->data;

    admin_wake(s->request);
}

static void finish(void *state)
{
    struct events *s = state;

    if (s->follow)
        fleet_unwatch(s->house->fleet, &s->watch);
    free(s);
}

static bool read_arguments(struct admin_request *q, struct events *s)
{
    const char *after = admin_argument(q, "after"), *tenant = admin_argument(q, "tenant");
    struct refusal no;

    s->follow = admin_follows(q);
    if (after ? !admin_number(after, &s->after)
              : s->follow && registry_events_last(s->house->registry, &s->after)) {
        refusal_what(&no, RC_INVAL, "after=%s is refused", after ? after : "");
        refusal_why(&no, "it is not the id of an event");
        admin_refuse(q, &no);
        return false;
    }
    if (!after && s->follow)
        s->after = s->after > TAIL ? s->after - TAIL : 0;
    if (tenant && strlen(tenant) >= sizeof s->tenant) {
        refusal_what(&no, RC_NOT_FOUND, "there is no such tenant");
        refusal_why(&no, "its name is too long");
        admin_refuse(q, &no);
        return false;
    }
    if (tenant)
        strcpy(s->tenant, tenant);
    return true;
}

void events_get(struct admin_request *q)
{
    static const struct admin_stream stream = {"application/x-ndjson", next, finish};
    struct events *s = calloc(1, sizeof *s);

    if (!s) {
        admin_fail(q, RC_NOMEM, "cannot show events");
        return;
    }
    s->house = admin_of(q);
    s->request = q;
    if (!read_arguments(q, s) || !admin_may_follow(q)) {
        free(s);
        return;
    }
    if (s->follow) {
        s->watch.on_event = on_event;
        s->watch.data = s;
        fleet_watch(s->house->fleet, &s->watch);
    }
    admin_stream(q, &stream, s);
}
