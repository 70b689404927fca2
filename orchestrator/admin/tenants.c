/* /v1/tenants: wishes go to the registry, the fleet is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/host/clock.h"
#include "orchestrator/admin/certs.h"
#include "orchestrator/admin/handlers.h"
#include "orchestrator/admin/keys.h"
#include "orchestrator/admin/list.h"

#define EVENTS_SHOWN 10u

static bool add_listed(void *arg, const struct registry_tenant *tenant)
{
    struct list *l = arg;

    snprintf(l->after, sizeof l->after, "%s", tenant->name);
    list_add(l, object_tenant(l->house, tenant));
    return true;
}

static enum rc page(struct list *l)
{
    return registry_tenants(l->house->registry, *l->after ? l->after : NULL, LIST_PAGE, add_listed,
                            l);
}

void tenants_list(struct admin_request *q)
{
    list_answer(q, page);
}

bool tenants_find(struct admin_request *q, struct registry_tenant *out)
{
    struct refusal no;

    if (registry_tenant_by_name(admin_of(q)->registry, admin_name(q), out, &no) == RC_OK)
        return true;
    admin_refuse(q, &no);
    return false;
}

/*----- show -----*/

static bool add_certificate(void *arg, const struct registry_certificate *certificate)
{
    json_array_append_new(arg, object_certificate(certificate));
    return true;
}

static void add_instance(void *arg, const struct fleet_instance_info *info)
{
    json_array_append_new(arg, object_instance(info));
}

static bool add_event(void *arg, const struct registry_event *event)
{
    json_array_append_new(arg, object_event(event));
    if (json_array_size(arg) > EVENTS_SHOWN)
        json_array_remove(arg, 0);
    return true;
}

void tenants_show(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    json_t *certificates, *instances, *events, *object;
    struct registry_tenant tenant;
    enum rc rc;

    if (!tenants_find(q, &tenant))
        return;
    certificates = json_array();
    instances = json_array();
    events = json_array();
    object = object_tenant(house, &tenant);
    rc = registry_certificates(house->registry, tenant.id, 0, REGISTRY_CERTS_MAX, add_certificate,
                               certificates);
    if (!rc)
        rc = registry_events(house->registry, tenant.name, 0, REGISTRY_EVENTS_KEPT, add_event,
                             events);
    fleet_instances(house->fleet, tenant.id, add_instance, instances);
    json_object_set_new(object, "certificates", certificates);
    json_object_set_new(object, "instances", instances);
    json_object_set_new(object, "events", events);
    if (rc) {
        json_decref(object);
        admin_fail(q, rc, "cannot read the tenant");
    } else {
        admin_answer(q, 200, object);
    }
}

/*----- add and set -----*/

static bool given(const struct admin_body *b, enum admin_member m)
{
    return b->given & (1u << m);
}

static void read_wish(const struct admin_body *b, struct registry_wish *out)
{
    *out = (struct registry_wish){
        .image = b->text[ADMIN_MEMBER_IMAGE],
        .hosts = b->hosts,
        .hosts_nr = b->hosts_nr,
        .has_memory = given(b, ADMIN_MEMBER_MEMORY),
        .memory = b->number[ADMIN_MEMBER_MEMORY],
        .has_idle_ms = given(b, ADMIN_MEMBER_IDLE_MS),
        .idle_ms = (uint32_t)b->number[ADMIN_MEMBER_IDLE_MS],
        .has_max_connections = given(b, ADMIN_MEMBER_MAX_CONNECTIONS),
        .max_connections = (uint32_t)b->number[ADMIN_MEMBER_MAX_CONNECTIONS],
        .has_wake_timeout_ms = given(b, ADMIN_MEMBER_WAKE_TIMEOUT_MS),
        .wake_timeout_ms = (uint32_t)b->number[ADMIN_MEMBER_WAKE_TIMEOUT_MS],
    };
}

static bool on_certificate(struct admin_request *q, const struct registry_certificate *facts)
{
    struct admin_house *house = admin_of(q);
    struct registry_tenant tenant;
    struct registry_wish wish;
    struct refusal no;

    read_wish(admin_body(q), &wish);
    wish.cert = facts;
    if (registry_tenant_add(house->registry, admin_body(q)->text[ADMIN_MEMBER_NAME], &wish,
                            clock_unix_ms(), &tenant, &no)) {
        admin_refuse(q, &no);
        return false;
    }
    fleet_tenant_changed(house->fleet, tenant.id);
    fleet_events_changed(house->fleet);
    admin_answer(q, 201, object_tenant(house, &tenant));
    return true;
}

void tenants_add(struct admin_request *q)
{
    const struct admin_body *b = admin_body(q);
    bool self_signed = b->number[ADMIN_MEMBER_SELF_SIGNED];
    bool cert = given(b, ADMIN_MEMBER_CERT_FILE), key = given(b, ADMIN_MEMBER_KEY_FILE);
    struct refusal no;

    if (cert != key || cert == self_signed) {
        refusal_what(&no, RC_INVAL, "tenant %s is not added", b->text[ADMIN_MEMBER_NAME]);
        refusal_why(&no, "it is not clear what certificate it shall have");
        refusal_todo(&no, "give cert_file and key_file, or self_signed");
        admin_refuse(q, &no);
        return;
    }
    certs_import(q, b->hosts, b->hosts_nr, on_certificate);
}

void tenants_set(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct registry_dropped dropped = {0};
    struct registry_tenant tenant;
    struct registry_wish wish;
    struct refusal no;

    read_wish(admin_body(q), &wish);
    if (registry_tenant_set(house->registry, admin_name(q), &wish, clock_unix_ms(), &tenant,
                            &dropped, &no)) {
        admin_refuse(q, &no);
        return;
    }
    keys_drop_all(house, &dropped);
    fleet_tenant_changed(house->fleet, tenant.id);
    fleet_events_changed(house->fleet);
    admin_answer(q, 200, object_tenant(house, &tenant));
}

/*----- suspend and resume -----*/

static void suspend(struct admin_request *q, bool suspended)
{
    struct admin_house *house = admin_of(q);
    struct registry_tenant tenant;
    struct refusal no;

    if (registry_tenant_suspend(house->registry, admin_name(q), suspended, clock_unix_ms(), &tenant,
                                &no)) {
        admin_refuse(q, &no);
        return;
    }
    fleet_tenant_changed(house->fleet, tenant.id);
    fleet_events_changed(house->fleet);
    admin_answer(q, 200, object_tenant(house, &tenant));
}

void tenants_suspend(struct admin_request *q)
{
    suspend(q, true);
}

void tenants_resume(struct admin_request *q)
{
    suspend(q, false);
}

/*----- remove: its instances first, then its row -----*/

struct removal {
    struct admin_request *request;
    uint64_t tenant;
    char name[REGISTRY_NAME_SIZE];
};

static void on_instances_gone(void *arg, enum rc rc)
{
    struct removal *r = arg, removal = *r;
    struct admin_request *q = removal.request;
    struct admin_house *house = admin_of(q);
    struct registry_dropped dropped = {0};
    struct refusal no;

    free(r);
    if (rc) {
        admin_fail(q, rc, "the tenant's instances did not end");
        return;
    }
    if (registry_tenant_remove(house->registry, removal.name, clock_unix_ms(), &dropped, &no)) {
        fleet_tenant_changed(house->fleet, removal.tenant);
        admin_refuse(q, &no);
        return;
    }
    keys_drop_all(house, &dropped);
    fleet_tenant_removed(house->fleet, removal.tenant);
    fleet_events_changed(house->fleet);
    admin_answer(q, 200, json_object());
}

void tenants_remove(struct admin_request *q)
{
    struct registry_tenant tenant;
    struct removal *r;
    enum rc rc;

    if (!tenants_find(q, &tenant))
        return;
    r = calloc(1, sizeof *r);
    if (!r) {
        admin_fail(q, RC_NOMEM, "the tenant is not removed");
        return;
    }
    r->request = q;
    r->tenant = tenant.id;
    snprintf(r->name, sizeof r->name, "%s", tenant.name);
    rc = fleet_tenant_remove(admin_of(q)->fleet, tenant.id, on_instances_gone, r);
    if (rc) {
        free(r);
        admin_fail(q, rc, "the tenant is not removed");
    } else {
        admin_later(q);
    }
}

/*----- upgrade -----*/

static json_t *upgrade_answer(const char *state, const char *text)
{
    return json_pack("{s:s, s:s}", "state", state, "text", text);
}

static void on_upgraded(void *arg, enum fleet_upgraded how, const char *text)
{
    struct admin_request *q = arg;
    struct refusal no;

    switch (how) {
    case FLEET_UPGRADE_DONE:
        admin_answer(q, 200, upgrade_answer("done", text));
        return;
    case FLEET_UPGRADE_ROLLED_BACK:
        admin_answer(q, 200, upgrade_answer("rolled back", text));
        return;
    case FLEET_UPGRADE_CANCELED:
        refusal_what(&no, RC_BUSY, "the upgrade was called off");
        refusal_why(&no, "%s", text);
        refusal_todo(&no, "look at the tenant and ask again");
        admin_refuse(q, &no);
        return;
    }
}

static void answer_pending(struct admin_request *q, const char *name)
{
    struct admin_house *house = admin_of(q);
    struct registry_tenant tenant;
    struct refusal no;

    if (registry_tenant_by_name(house->registry, name, &tenant, &no))
        admin_refuse(q, &no);
    else if (tenant.upgrade == REGISTRY_UPGRADE_NONE)
        admin_answer(q, 200, upgrade_answer("done", "it runs this version"));
    else
        admin_answer(q, 200,
                     upgrade_answer("pending", "it moves when it is idle, or when it wakes"));
}

void tenants_upgrade(struct admin_request *q)
{
    const struct admin_body *b = admin_body(q);
    bool wait = b->number[ADMIN_MEMBER_WAIT];
    uint64_t max_wait_ms = given(b, ADMIN_MEMBER_MAX_WAIT_MS) ? b->number[ADMIN_MEMBER_MAX_WAIT_MS]
                                                              : FLEET_WAIT_DEFAULT;
    struct refusal no;

    if (fleet_upgrade(admin_of(q)->fleet, admin_name(q), b->text[ADMIN_MEMBER_IMAGE], max_wait_ms,
                      wait ? on_upgraded : NULL, q, &no)) {
        admin_refuse(q, &no);
        return;
    }
    if (wait)
        admin_later(q);
    else
        answer_pending(q, admin_name(q));
}
