#include "orchestrator/admin/object.h"

#include <string.h>

#include "common/core/check.h"

/* All texts are the registry's or were cleaned on their way in; one that is not UTF-8 all the
 * same must not lose the whole object. */
static json_t *text(const char *s)
{
    json_t *value = json_string(s);

    return value ? value : json_string("(not UTF-8)");
}

static json_t *text_or_null(const char *s)
{
    return *s ? text(s) : json_null();
}

/* NULL is what jansson gives when there is no memory, or for a format that is wrong. */
static json_t *made(json_t *value)
{
    CHECK(value);
    return value;
}

json_t *object_image(const struct registry_image *image, json_t *tenants)
{
    return made(json_pack("{s:o, s:o, s:s, s:I, s:I, s:o, s:I, s:o}", "name", text(image->name),
                          "version", text(image->version), "sha256", image->sha256, "size",
                          (json_int_t)image->size, "memory", (json_int_t)image->memory_kib * 1024,
                          "alpn", text(image->alpn), "added_at", (json_int_t)image->added_at,
                          "tenants", tenants));
}

static bool add_host(void *arg, const char *host)
{
    json_array_append_new(arg, text(host));
    return true;
}

static json_t *upgrade_of(const struct registry_tenant *t)
{
    if (t->upgrade == REGISTRY_UPGRADE_NONE)
        return json_null();
    return made(json_pack("{s:o, s:s, s:o}", "image", text(t->image_ref), "state",
                          registry_upgrade_text(t->upgrade), "deadline",
                          t->upgrade_deadline ? json_integer(t->upgrade_deadline) : json_null()));
}

json_t *object_tenant(struct admin_house *house, const struct registry_tenant *t)
{
    json_t *hosts = made(json_array());
    struct registry_image image;
    uint64_t memory = t->memory;

    if (registry_hosts(house->registry, t->id, add_host, hosts))
        json_array_clear(hosts);
    if (!memory && !registry_image(house->registry, t->image, &image))
        memory = (uint64_t)image.memory_kib * 1024;
    return made(json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:I}", "name",
        t->name, "state", t->suspended ? "suspended" : "active", "image", t->image_ref,
        "last_good_image", text_or_null(t->last_good_ref), "failed_image",
        text_or_null(t->failed_ref), "failed_reason", text_or_null(t->failed_why), "upgrade",
        upgrade_of(t), "hosts", hosts, "memory", (json_int_t)memory, "idle_ms",
        (json_int_t)t->idle_ms, "max_connections", (json_int_t)t->max_connections,
        "wake_timeout_ms", (json_int_t)t->wake_timeout_ms, "generation", (json_int_t)t->generation,
        "instance_state", fleet_tenant_state(house->fleet, t->id), "created_at",
        (json_int_t)t->created_at));
}

static json_t *names_of(const char *names)
{
    json_t *list = made(json_array());

    while (*names) {
        size_t len = strcspn(names, ",");

        json_array_append_new(list, json_stringn(names, len));
        names += len + (names[len] == ',');
    }
    return list;
}

json_t *object_certificate(const struct registry_certificate *c)
{
    return made(json_pack("{s:s, s:o, s:o, s:s, s:I, s:I, s:s, s:b}", "tenant", c->tenant_name,
                          "subject", text(c->subject), "names", names_of(c->names), "key_type",
                          c->key_type, "not_before", (json_int_t)c->not_before, "not_after",
                          (json_int_t)c->not_after, "fingerprint", c->fingerprint, "self_signed",
                          (int)c->self_signed));
}

static json_t *object_start(const struct fleet_start_steps *s)
{
    if (!s->ready_us)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:I}", "created_us", (json_int_t)s->created_us, "unpaused_us",
                     (json_int_t)s->unpaused_us, "entered_us", (json_int_t)s->entered_us,
                     "ready_us", (json_int_t)s->ready_us);
}

json_t *object_instance(const struct fleet_instance_info *i)
{
    return made(json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:I, s:o}", "tenant",
                          i->tenant_name, "image", i->image, "generation",
                          (json_int_t)i->generation, "state", i->state, "ground", i->ground,
                          "connections", (json_int_t)i->connections, "started_at",
                          (json_int_t)i->started_at, "ready_at",
                          i->ready_at ? json_integer(i->ready_at) : json_null(), "memory",
                          (json_int_t)i->memory, "cpu_us", (json_int_t)i->cpu_us, "id",
                          (json_int_t)i->id, "start", object_start(&i->start)));
}

json_t *object_event(const struct registry_event *e)
{
    return made(json_pack("{s:I, s:I, s:o, s:o, s:o}", "id", (json_int_t)e->id, "at",
                          (json_int_t)e->at, "tenant", text_or_null(e->tenant), "kind",
                          text(e->kind), "text", text(e->text)));
}
