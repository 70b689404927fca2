#include <stdio.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/show.h"
#include "cli/text.h"

static int set(struct call *c)
{
    char path[CLIENT_PATH_MAX], text[TEXT_SIZE];
    json_t *certificate = NULL;

    client_path(path, "/v1/tenants/%s/certs", c->operands[0]);
    int rc = client_call(c->run, "PUT", path, command_body(c), NULL, &certificate);
    if (!rc && !show_json(c, certificate))
        printf("%s has a new %s certificate, good until %s\n", c->operands[0],
               json_text(certificate, "key_type"),
               text_time(json_number(certificate, "not_after"), text));
    json_decref(certificate);
    return rc;
}

static int list(struct call *c)
{
    return show_get(c, "/v1/certs", show_certificates);
}

static const struct option set_options[] = {
    {"cert", "FILE", "cert_file", OPTION_FILE, true, "certificate chain, PEM, leaf first"},
    {"key", "FILE", "key_file", OPTION_FILE, true, "its private key, PEM"},
    {NULL, NULL, NULL, OPTION_FLAG, false, NULL},
};

const struct command cert_commands[] = {
    {"set",
     {"TENANT"},
     "add a certificate, or replace the one of the same kind of key",
     set_options,
     set},
    {"list", {NULL}, "all certificates and the days that they have left", NULL, list},
    {NULL, {NULL}, NULL, NULL, NULL},
};
