/* The two streams: a tenant's log and the events. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"
#include "cli/text.h"

#define FOLLOW                                                                               \
    {                                                                                        \
        "follow", NULL, NULL, OPTION_FLAG, false, "go on with what comes, until interrupted" \
    }

static const struct option logs_options[] = {
    FOLLOW,
    {"lines", "N", NULL, OPTION_COUNT, false, "only the last N (default: 1000)"},
    {NULL, NULL, NULL, OPTION_FLAG, false, NULL},
};
static const struct option events_options[] = {
    FOLLOW,
    {"tenant", "TENANT", NULL, OPTION_TEXT, false, "only this one's"},
    {NULL, NULL, NULL, OPTION_FLAG, false, NULL},
};

/* With --json a finished stream is one array; a followed one a value a line. */
struct stream {
    const struct call *call;
    bool follow;
    json_t *all; /* owned; NULL when it is printed as it comes */
};

/* Consumes `value`. */
static void take_json(struct stream *s, json_t *value)
{
    if (s->all) {
        json_array_append_new(s->all, value);
        return;
    }
    json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(value);
}

static void on_log(void *arg, const char *text)
{
    struct stream *s = arg;

    if (s->call->json) {
        json_t *line = json_string(text);

        take_json(s, line ? line : json_string("(a line that is not UTF-8)"));
    } else {
        text_print(stdout, text);
        putchar('\n');
    }
    if (s->follow)
        fflush(stdout);
}

static void on_event(void *arg, const char *text)
{
    struct stream *s = arg;
    json_t *event = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    if (!event)
        return;
    if (s->call->json) {
        take_json(s, event);
    } else {
        show_event(event);
        json_decref(event);
    }
    if (s->follow)
        fflush(stdout);
}

static int stream(struct call *c, const char *path, void (*line)(void *arg, const char *text))
{
    struct stream s = {.call = c, .follow = command_value(c, "follow")->given};
    const char *follow = strchr(path, '?') ? "&follow=1" : "?follow=1";
    char whole[CLIENT_PATH_MAX + 16];

    if (c->json && !s.follow)
        s.all = json_array();
    snprintf(whole, sizeof whole, "%s%s", path, s.follow ? follow : "");
    int rc = client_stream(c->run, whole, line, &s);
    if (!rc && s.all)
        show_json(c, s.all);
    json_decref(s.all);
    return rc;
}

static int logs(struct call *c)
{
    char path[CLIENT_PATH_MAX];

    const struct value *lines = command_value(c, "lines");

    client_path(path, "/v1/tenants/%s/logs", c->operands[0]);
    if (lines->given) {
        size_t len = strlen(path);

        snprintf(path + len, sizeof path - len, "?lines=%lld", (long long)lines->number);
    }
    return stream(c, path, on_log);
}

static int events(struct call *c)
{
    char path[CLIENT_PATH_MAX];
    const struct value *tenant = command_value(c, "tenant");

    if (!tenant->given)
        return stream(c, "/v1/events", on_event);
    client_path(path, "/v1/events?tenant=%s", tenant->text);
    return stream(c, path, on_event);
}

const struct command logs_commands[] = {
    {"",
     {"TENANT"},
     "what a tenant's program wrote, oldest first: TIME GENERATION LEVEL TEXT",
     logs_options,
     logs},
    {NULL, {NULL}, NULL, NULL, NULL},
};
const struct command events_commands[] = {
    {"", {NULL}, "what happened, oldest first: TIME TENANT KIND TEXT", events_options, events},
    {NULL, {NULL}, NULL, NULL, NULL},
};
