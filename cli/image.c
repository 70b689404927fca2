#include <stdio.h>
#include <stdlib.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/show.h"
#include "cli/text.h"

static void show_image(const json_t *image)
{
    char *tenants = json_joined(json_object_get(image, "tenants"), ", ");
    char text[TEXT_SIZE];

    printf("%s:%s\n", json_text(image, "name"), json_text(image, "version"));
    show_field("size", "%s", text_size(json_number(image, "size"), text));
    show_field("least memory", "%s", text_size(json_number(image, "memory"), text));
    show_field("protocols", "%s", json_text(image, "alpn"));
    show_field("sha256", "%s", json_text(image, "sha256"));
    show_field("added", "%s", text_time(json_number(image, "added_at"), text));
    show_field("tenants", "%s", tenants);
    free(tenants);
}

static int add(struct call *c)
{
    char path[CLIENT_PATH_MAX], text[TEXT_SIZE];
    json_t *image = NULL;

    client_path(path, "/v1/images/%s", c->operands[0]);
    int rc = client_upload(c->run, path, c->operands[1], &image);
    if (!rc && !show_json(c, image))
        printf("added %s (%s)\n", c->operands[0], text_size(json_number(image, "size"), text));
    json_decref(image);
    return rc;
}

static int list(struct call *c)
{
    return show_get(c, "/v1/images", show_images);
}

static int show(struct call *c)
{
    char path[CLIENT_PATH_MAX];

    client_path(path, "/v1/images/%s", c->operands[0]);
    return show_get(c, path, show_image);
}

static int remove_image(struct call *c)
{
    char path[CLIENT_PATH_MAX];
    json_t *answer = NULL;

    client_path(path, "/v1/images/%s", c->operands[0]);
    int rc = client_call(c->run, "DELETE", path, NULL, NULL, &answer);
    if (!rc && !show_json(c, answer))
        printf("removed %s\n", c->operands[0]);
    json_decref(answer);
    return rc;
}

const struct command image_commands[] = {
    {"add", {"NAME:VERSION", "FILE"}, "take an image into the store", NULL, add},
    {"list", {NULL}, "all images", NULL, list},
    {"show", {"NAME:VERSION"}, "one image and who uses it", NULL, show},
    {"remove", {"NAME:VERSION"}, "drop an image that no tenant uses", NULL, remove_image},
    {NULL, {NULL}, NULL, NULL, NULL},
};
