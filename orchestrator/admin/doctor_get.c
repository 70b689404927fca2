/* /v1/doctor: doctor_look() on libuv's pool. */
#include <stdlib.h>

#include "orchestrator/admin/doctor.h"
#include "orchestrator/admin/handlers.h"
#include "orchestrator/fleet.h"

struct look {
    uv_work_t work;
    struct doctor_host host;
    struct admin_request *request;
    json_t *answer; /* owned until it is given */
};

static void work(uv_work_t *w)
{
    struct look *look = w->data;

    look->answer = doctor_look(&look->host);
}

static void after(uv_work_t *w, int status)
{
    struct look *look = w->data;

    (void)status; /* nobody cancels it */
    admin_answer(look->request, 200, look->answer);
    free(look);
}

void doctor_get(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct look *look = calloc(1, sizeof *look);
    struct fleet_gauges gauges;

    if (!look) {
        admin_fail(q, RC_NOMEM, "cannot look at this host");
        return;
    }
    fleet_gauges(house->fleet, &gauges);
    look->host = house->host;
    look->host.workers = (int)gauges.workers;
    look->request = q;
    look->work.data = look;
    admin_later(q);
    uv_queue_work(house->loop, &look->work, work, after);
}
