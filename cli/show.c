#include "cli/show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "common/core/check.h"
#include "common/host/clock.h"

#define EVENT_TENANT_WIDTH 12
#define EVENT_KIND_WIDTH   14
#define DAY_MS             INT64_C(86400000)

bool show_json(const struct call *c, const json_t *answer)
{
    if (!c->json)
        return false;
    json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
    return true;
}

int show_get(const struct call *c, const char *path, void (*show)(const json_t *answer))
{
    json_t *answer = NULL;
    int rc = client_call(c->run, "GET", path, NULL, NULL, &answer);

    if (!rc && !show_json(c, answer))
        show(answer);
    json_decref(answer);
    return rc;
}

void show_field(const char *name, const char *fmt, ...)
{
    char *text;
    va_list ap;

    va_start(ap, fmt);
    CHECK(vasprintf(&text, fmt, ap) >= 0);
    va_end(ap);
    printf("  %-16s ", name);
    text_print(stdout, *text ? text : "-");
    putchar('\n');
    free(text);
}

/* "-" for a time that has not come. */
static const char *relative(const json_t *object, const char *member, char out[TEXT_SIZE])
{
    int64_t at = json_number(object, member);

    return at ? text_relative(at, clock_unix_ms(), out) : "-";
}

static const char *size(const json_t *object, const char *member, char out[TEXT_SIZE])
{
    return text_size(json_number(object, member), out);
}

static const char *instance_state(const json_t *tenant)
{
    const char *state = json_text(tenant, "instance_state");

    return strcmp(state, "absent") == 0 ? "asleep" : state;
}

void show_images(const json_t *list)
{
    char text[TEXT_SIZE];
    struct table t;
    json_t *o;
    size_t i;

    table_init(&t, "", "IMAGE|SIZE|MEMORY|ALPN|TENANTS|ADDED|SHA256");
    json_array_foreach(list, i, o)
    {
        table_add(&t, "%s:%s", json_text(o, "name"), json_text(o, "version"));
        table_add(&t, "%s", size(o, "size", text));
        table_add(&t, "%s", size(o, "memory", text));
        table_add(&t, "%s", json_text(o, "alpn"));
        table_add(&t, "%lld", (long long)json_number(o, "tenants"));
        table_add(&t, "%s", relative(o, "added_at", text));
        table_add(&t, "%.12s", json_text(o, "sha256"));
    }
    table_print(&t);
}

void show_tenants(const json_t *list)
{
    char text[TEXT_SIZE];
    struct table t;
    json_t *o;
    size_t i;

    table_init(&t, "", "TENANT|STATE|INSTANCE|IMAGE|IDLE|MEMORY|HOSTS");
    json_array_foreach(list, i, o)
    {
        char *hosts = json_joined(json_object_get(o, "hosts"), ", ");

        table_add(&t, "%s", json_text(o, "name"));
        table_add(&t, "%s", json_text(o, "state"));
        table_add(&t, "%s", instance_state(o));
        table_add(&t, "%s", json_text(o, "image"));
        table_add(&t, "%s", text_duration(json_number(o, "idle_ms"), text));
        table_add(&t, "%s", size(o, "memory", text));
        table_add(&t, "%s", hosts);
        free(hosts);
    }
    table_print(&t);
}

/* How long it took to be ready; "-" when that is not known. */
static const char *ready_after(const json_t *o, char text[TEXT_SIZE])
{
    int64_t us = json_number(json_object_get(o, "start"), "ready_us");

    if (us <= 0)
        return "-";
    snprintf(text, TEXT_SIZE, "%lld.%lld ms", (long long)us / 1000, (long long)us / 100 % 10);
    return text;
}

static void print_instances(const json_t *list, const char *indent)
{
    char text[TEXT_SIZE];
    struct table t;
    json_t *o;
    size_t i;

    table_init(&t, indent,
               "TENANT|IMAGE|GENERATION|STATE|GROUND|CONNECTIONS|MEMORY|CPU|STARTED|READY AFTER");
    json_array_foreach(list, i, o)
    {
        table_add(&t, "%s", json_text(o, "tenant"));
        table_add(&t, "%s", json_text(o, "image"));
        table_add(&t, "%lld", (long long)json_number(o, "generation"));
        table_add(&t, "%s", json_text(o, "state"));
        table_add(&t, "%s", json_text(o, "ground"));
        table_add(&t, "%lld", (long long)json_number(o, "connections"));
        table_add(&t, "%s", size(o, "memory", text));
        table_add(&t, "%lld ms", (long long)json_number(o, "cpu_us") / 1000);
        table_add(&t, "%s", relative(o, "started_at", text));
        table_add(&t, "%s", ready_after(o, text));
    }
    table_print(&t);
}

void show_instances(const json_t *list)
{
    print_instances(list, "");
}

static void print_certificates(const json_t *list, const char *indent)
{
    struct table t;
    json_t *o;
    size_t i;

    table_init(&t, indent, "TENANT|NAMES|KEY|DAYS LEFT|FINGERPRINT");
    json_array_foreach(list, i, o)
    {
        char *names = json_joined(json_object_get(o, "names"), ", ");
        int64_t left = json_number(o, "not_after") - clock_unix_ms();

        table_add(&t, "%s", json_text(o, "tenant"));
        table_add(&t, "%s", names);
        table_add(&t, "%s", json_text(o, "key_type"));
        if (left > 0)
            table_add(&t, "%lld", (long long)(left / DAY_MS));
        else
            table_add(&t, "expired");
        table_add(&t, "%.16s", json_text(o, "fingerprint"));
        free(names);
    }
    table_print(&t);
}

void show_certificates(const json_t *list)
{
    print_certificates(list, "");
}

/* A stream has no widest cell: these columns line up for usual names. */
static void padded(const char *s, int width)
{
    int left = width - (int)text_width(s);

    text_print(stdout, s);
    printf("%*s  ", left > 0 ? left : 0, "");
}

void show_event(const json_t *event)
{
    const char *tenant = json_text(event, "tenant");
    char text[TEXT_SIZE];

    printf("%s  ", text_time(json_number(event, "at"), text));
    padded(*tenant ? tenant : "-", EVENT_TENANT_WIDTH);
    padded(json_text(event, "kind"), EVENT_KIND_WIDTH);
    text_print(stdout, json_text(event, "text"));
    putchar('\n');
}

static void show_upgrade(const json_t *tenant)
{
    const json_t *upgrade = json_object_get(tenant, "upgrade");
    char text[TEXT_SIZE];

    if (!json_is_object(upgrade))
        return;
    show_field("upgrade", "to %s, %s%s%s", json_text(upgrade, "image"), json_text(upgrade, "state"),
               json_number(upgrade, "deadline") ? ", at the latest " : "",
               json_number(upgrade, "deadline") ? relative(upgrade, "deadline", text) : "");
}

void show_tenant(const json_t *tenant)
{
    char text[TEXT_SIZE];
    char *hosts = json_joined(json_object_get(tenant, "hosts"), ", ");
    const json_t *certificates = json_object_get(tenant, "certificates");
    const json_t *instances = json_object_get(tenant, "instances");
    const json_t *events = json_object_get(tenant, "events");
    int64_t limit = json_number(tenant, "max_connections");
    json_t *event;
    size_t i;

    text_print(stdout, json_text(tenant, "name"));
    putchar('\n');
    show_field("state", "%s", json_text(tenant, "state"));
    show_field("image", "%s", json_text(tenant, "image"));
    show_field("last good", "%s", json_text(tenant, "last_good_image"));
    if (*json_text(tenant, "failed_image"))
        show_field("failed", "%s: %s", json_text(tenant, "failed_image"),
                   json_text(tenant, "failed_reason"));
    show_upgrade(tenant);
    show_field("hosts", "%s", hosts);
    show_field("memory", "%s", size(tenant, "memory", text));
    show_field("idle", "%s", text_duration(json_number(tenant, "idle_ms"), text));
    show_field("wake timeout", "%s", text_duration(json_number(tenant, "wake_timeout_ms"), text));
    if (limit)
        show_field("max connections", "%lld", (long long)limit);
    else
        show_field("max connections", "no limit");
    show_field("added", "%s", relative(tenant, "created_at", text));
    show_field("instance", "%s, generation %lld", instance_state(tenant),
               (long long)json_number(tenant, "generation"));
    if (json_array_size(instances)) {
        puts("\nInstances");
        print_instances(instances, "  ");
    }
    if (json_array_size(certificates)) {
        puts("\nCertificates");
        print_certificates(certificates, "  ");
    }
    if (json_array_size(events))
        puts("\nLast events");
    json_array_foreach(events, i, event)
    {
        fputs("  ", stdout);
        show_event(event);
    }
    free(hosts);
}
