/* Requests that would change something while another program holds the registry: they wait here, so
 * that the loop need not, and go on in the order in which they came.  Past the deadline they go on,
 * and say why they fail. */
#include "common/host/clock.h"
#include "orchestrator/admin/server.h"

#define AGAIN_MS 25u
#define MOST_US  2000000u

static void on_time(uv_timer_t *timer)
{
    struct admin *a = timer->data;
    bool held = registry_writable(a->house.registry) == RC_BUSY;
    struct admin_request *q;

    while ((q = TAILQ_FIRST(&a->held))) {
        if (held && q->connection && clock_us() < q->held_until) {
            uv_timer_start(timer, on_time, AGAIN_MS, 0);
            return; /* those behind it came later, and have as long */
        }
        TAILQ_REMOVE(&a->held, q, held);
        admin_request_go_on(q);
    }
}

bool admin_held(struct admin_request *q)
{
    struct admin *a = q->admin;
    bool first = TAILQ_EMPTY(&a->held);

    if (first && registry_writable(a->house.registry) != RC_BUSY)
        return false;
    q->held_until = clock_us() + MOST_US;
    TAILQ_INSERT_TAIL(&a->held, q, held);
    if (first)
        uv_timer_start(&a->held_timer, on_time, AGAIN_MS, 0);
    admin_later(q);
    return true;
}

void admin_held_end(struct admin *a)
{
    struct admin_request *q;

    while ((q = TAILQ_FIRST(&a->held))) {
        TAILQ_REMOVE(&a->held, q, held);
        admin_request_go_on(q);
    }
}
