/* /v1/doctor: doctor_look() on libuv's pool.
 *
 * One at a time, since each hashes all images: several would keep the pool from the starts and
 * imports that wait for it.  It ends early when its client goes, or roomkeyd. */
#include <limits.h>
#include <stdlib.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/admin/doctor.h"
#include "orchestrator/admin/handlers.h"
#include "orchestrator/admin/server.h"
#include "orchestrator/fleet.h"
#include "orchestrator/image_store.h"
#include "orchestrator/registry.h"

struct look {
    uv_work_t work;
    struct doctor_host host;
    struct admin_request *request;
    json_t *gone;   /* owned */
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
    struct admin_request *q = look->request;
    json_t *answer = look->answer;

    (void)status; /* nobody cancels it */
    json_decref(look->gone);
    free(look);
    q->admin->looking = false;
    admin_answer(q, 200, answer); /* must be last */
}

struct rows {
    struct image_store *images;
    json_t *gone;
};

static bool on_row(void *arg, const struct registry_image *image)
{
    struct rows *rows = arg;

    if (image_store_there(rows->images, image->sha256, image->size) == RC_NOT_FOUND)
        json_array_append_new(rows->gone, json_sprintf("the file %.12s… of image %s:%s",
                                                       image->sha256, image->name, image->version));
    return true;
}

/* Here, not on the pool: rows and files are in step between two calls. */
static json_t *gone(struct admin_house *house)
{
    struct rows rows = {.images = house->images, .gone = json_array()};

    CHECK(rows.gone);
    if (registry_images(house->registry, NULL, UINT_MAX, on_row, &rows))
        log_warning("the images cannot be listed");
    return rows.gone;
}

static void refuse_second(struct admin_request *q)
{
    struct refusal no;

    refusal_what(&no, RC_AGAIN, "this host is not looked at twice at a time");
    refusal_why(&no, "a look that reads every image is under way");
    refusal_todo(&no, "ask again when it has been answered");
    admin_refuse(q, &no);
}

void doctor_get(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct fleet_gauges gauges;
    struct look *look;

    if (q->admin->looking) {
        refuse_second(q);
        return;
    }
    look = calloc(1, sizeof *look);
    if (!look) {
        admin_fail(q, RC_NOMEM, "cannot look at this host");
        return;
    }
    fleet_gauges(house->fleet, &gauges);
    look->gone = gone(house);
    look->host = house->host;
    look->host.workers = (int)gauges.workers;
    look->host.gone = look->gone;
    look->host.stop = &q->gone;
    look->request = q;
    look->work.data = look;
    q->admin->looking = true;
    admin_later(q);
    uv_queue_work(house->loop, &look->work, work, after);
}
