#include <stdio.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/show.h"

static int list(struct call *c)
{
    return show_get(c, "/v1/instances", show_instances);
}

static int stop(struct call *c)
{
    char path[CLIENT_PATH_MAX];
    json_t *answer = NULL;

    client_path(path, "/v1/instances/%s/stop", c->operands[0]);
    int rc = client_call(c->run, "POST", path, NULL, "waiting for it to stop", &answer);
    if (!rc && !show_json(c, answer))
        printf("stopped %s; its next connection wakes it\n", c->operands[0]);
    json_decref(answer);
    return rc;
}

const struct command instance_commands[] = {
    {"list", {NULL}, "all instances that are there now", NULL, list},
    {"stop", {"TENANT"}, "put a tenant to sleep now", NULL, stop},
    {NULL, {NULL}, NULL, NULL, NULL},
};
