#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/say.h"
#include "cli/show.h"
#include "cli/text.h"

static int add(struct call *c)
{
    bool self_signed = command_value(c, "self-signed")->given;
    bool cert = command_value(c, "cert")->given, key = command_value(c, "key")->given;
    json_t *tenant = NULL, *body;

    if (self_signed && (cert || key))
        return say_misused(c, "--self-signed and --cert or --key exclude each other");
    if (!self_signed && !(cert && key))
        return say_misused(c, "give --cert FILE and --key FILE, or --self-signed");
    body = command_body(c);
    json_object_set_new(body, "name", json_string(c->operands[0]));
    int rc = client_call(c->run, "POST", "/v1/tenants", body, NULL, &tenant);
    if (!rc && !show_json(c, tenant)) {
        char *hosts = json_joined(json_object_get(tenant, "hosts"), ", ");

        printf("added %s, reachable as %s\n", c->operands[0], hosts);
        free(hosts);
    }
    json_decref(tenant);
    return rc;
}

static int list(struct call *c)
{
    return show_get(c, "/v1/tenants", show_tenants);
}

/* Changes one tenant; `done` for people, who read its name behind it. */
static int on_tenant(struct call *c, const char *method, const char *template, json_t *body,
                     const char *waiting, const char *done)
{
    char path[CLIENT_PATH_MAX];
    json_t *answer = NULL;

    client_path(path, template, c->operands[0]);
    int rc = client_call(c->run, method, path, body, waiting, &answer);
    if (!rc && !show_json(c, answer))
        printf("%s %s\n", done, c->operands[0]);
    json_decref(answer);
    return rc;
}

static int show(struct call *c)
{
    char path[CLIENT_PATH_MAX];

    client_path(path, "/v1/tenants/%s", c->operands[0]);
    return show_get(c, path, show_tenant);
}

static int set(struct call *c)
{
    json_t *body = command_body(c);

    if (json_object_size(body) == 0) {
        json_decref(body);
        return say_misused(c, "say what to change");
    }
    return on_tenant(c, "PATCH", "/v1/tenants/%s", body, NULL, "changed");
}

static int suspend(struct call *c)
{
    return on_tenant(c, "POST", "/v1/tenants/%s/suspend", NULL, "waiting", "suspended");
}

static int resume(struct call *c)
{
    return on_tenant(c, "POST", "/v1/tenants/%s/resume", NULL, NULL, "resumed");
}

static int remove_tenant(struct call *c)
{
    return on_tenant(c, "DELETE", "/v1/tenants/%s", NULL, "waiting for its instance to end",
                     "removed");
}

static int upgrade(struct call *c)
{
    char path[CLIENT_PATH_MAX];
    json_t *answer = NULL;

    client_path(path, "/v1/tenants/%s/upgrade", c->operands[0]);
    int rc = client_call(c->run, "POST", path, command_body(c), "waiting for the upgrade", &answer);
    if (!rc) {
        const char *state = json_text(answer, "state"), *text = json_text(answer, "text");
        bool back = strcmp(state, "rolled back") == 0;

        if (!show_json(c, answer) && !back) {
            text_print(stdout, c->operands[0]);
            printf(": ");
            text_print(stdout, *text ? text : state);
            putchar('\n');
        }
        if (back)
            rc = say_failed("%s was rolled back: %s", c->operands[0], text);
    }
    json_decref(answer);
    return rc;
}

#define LIMITS                                                                               \
    {"memory",    "SIZE", "memory",                                                          \
     OPTION_SIZE, false,  "of an instance (default: what its image asks for)"},              \
        {"idle",    "DURATION",                                                              \
         "idle_ms", OPTION_DURATION,                                                         \
         false,     "without connections or bytes, then it is put to sleep (default: 60s)"}, \
        {"max-connections", "N",   "max_connections",                                        \
         OPTION_COUNT,      false, "at once in each front worker (default: 0, no limit)"},   \
    {                                                                                        \
        "wake-timeout", "DURATION", "wake_timeout_ms", OPTION_DURATION, false,               \
            "what a connection waits for an instance, then gets a 503 (default: 10s)"        \
    }

static const struct option add_options[] = {
    {"image", "NAME:VERSION", "image", OPTION_TEXT, true, "what it runs"},
    {"host", "HOST[,HOST...]", "hosts", OPTION_LIST, true,
     "its host names; *.name for all directly below"},
    {"cert", "FILE", "cert_file", OPTION_FILE, false, "certificate chain, PEM, leaf first"},
    {"key", "FILE", "key_file", OPTION_FILE, false, "its private key, PEM"},
    {"self-signed", NULL, "self_signed", OPTION_FLAG, false,
     "make a certificate that browsers warn of"},
    LIMITS,
    {NULL, NULL, NULL, OPTION_FLAG, false, NULL},
};
static const struct option set_options[] = {
    {"host", "HOST[,HOST...]", "hosts", OPTION_LIST, false, "all its host names from now on"},
    LIMITS,
    {NULL, NULL, NULL, OPTION_FLAG, false, NULL},
};
static const struct option upgrade_options[] = {
    {"image", "NAME:VERSION", "image", OPTION_TEXT, true, "the version to move to"},
    {"max-wait", "DURATION", "max_wait_ms", OPTION_DURATION, false,
     "for the tenant to be idle, then new connections move (default: 10m)"},
    {"wait", NULL, "wait", OPTION_FLAG, false, "return when it has moved or was rolled back"},
    {NULL, NULL, NULL, OPTION_FLAG, false, NULL},
};

const struct command tenant_commands[] = {
    {"add", {"NAME"}, "onboard a tenant; it is reachable at once", add_options, add},
    {"list", {NULL}, "all tenants", NULL, list},
    {"show", {"TENANT"}, "one tenant, its certificates, instance and last events", NULL, show},
    {"set", {"TENANT"}, "change host names or limits", set_options, set},
    {"suspend", {"TENANT"}, "stop it and wake it no more", NULL, suspend},
    {"resume", {"TENANT"}, "let it wake again", NULL, resume},
    {"upgrade",
     {"TENANT"},
     "move it to another version while it is idle",
     upgrade_options,
     upgrade},
    {"remove", {"TENANT"}, "stop it and forget it, its host names and keys", NULL, remove_tenant},
    {NULL, {NULL}, NULL, NULL, NULL},
};
