/* Requests that would change something while another program holds the registry: they wait here, so
 * that the loop need not.  Past the deadline they go on, and say why they fail. */
#include "common/host/clock.h"
#include "orchestrator/admin/server.h"

#define AGAIN_MS 25u
#define MOST_US  2000000u

static void on_time(uv_timer_t *timer)
{
    struct admin *a = timer->data;
    bool held = registry_writable(a->house.registry) == RC_BUSY;
    struct admin_request *q = a->held;

    a->held = NULL;
    while (q) {
        struct admin_request *next = q->held_next;

        if (held && q->connection && clock_us() < q->held_until) {
            q->held_next = a->held;
            a->held = q;
        } else {
            admin_request_go_on(q);
        }
        q = next;
    }
    if (a->held)
        uv_timer_start(timer, on_time, AGAIN_MS, 0);
}

bool admin_held(struct admin_request *q)
{
    struct admin *a = q->admin;

    if (registry_writable(a->house.registry) != RC_BUSY)
        return false;
    q->held_until = clock_us() + MOST_US;
    q->held_next = a->held;
    a->held = q;
    uv_timer_start(&a->held_timer, on_time, AGAIN_MS, 0);
    admin_later(q);
    return true;
}

void admin_held_end(struct admin *a)
{
    while (a->held) {
        struct admin_request *q = a->held;

        a->held = q->held_next;
        admin_request_go_on(q);
    }
}
