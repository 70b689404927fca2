/* /v1/instances: what runs now. */
#include "orchestrator/admin/handlers.h"
#include "orchestrator/admin/object.h"

static void add(void *arg, const struct fleet_instance_info *info)
{
    json_array_append_new(arg, object_instance(info));
}

/* In one piece: their number is bounded by the machine, not by the registry. */
void instances_list(struct admin_request *q)
{
    json_t *list = json_array();

    fleet_instances(admin_of(q)->fleet, 0, add, list);
    admin_answer(q, 200, list);
}

static void on_stopped(void *arg, enum rc rc)
{
    struct admin_request *q = arg;

    if (rc)
        admin_fail(q, rc, "the instance did not stop");
    else
        admin_answer(q, 200, json_object());
}

/* A tenant that sleeps is already as it was asked to be. */
void instances_stop(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct registry_tenant tenant;
    enum rc rc;

    if (!tenants_find(q, &tenant))
        return;
    rc = fleet_instance_stop(house->fleet, tenant.id, on_stopped, q);
    if (rc == RC_NOT_FOUND)
        admin_answer(q, 200, json_object());
    else if (rc)
        admin_fail(q, rc, "the instance is not stopped");
    else
        admin_later(q);
}
