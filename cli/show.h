/* How the API's objects are shown to people. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/command.h"

/* --json: prints `answer` as it came and is true. */
bool show_json(const struct call *c, const json_t *answer);

/* GETs, and shows the answer as JSON, or to people as `show` does. */
int show_get(const struct call *c, const char *path, void (*show)(const json_t *answer));

/* "  name      value" with a column of fixed width; an empty value is "-". */
__attribute__((format(printf, 2, 3))) void show_field(const char *name, const char *fmt, ...);

/* Each prints a table of an array of those objects. */
void show_images(const json_t *list);
void show_tenants(const json_t *list);
void show_instances(const json_t *list);
void show_certificates(const json_t *list);
void show_tenant(const json_t *tenant); /* the whole of one */

/* "TIME TENANT KIND TEXT" */
void show_event(const json_t *event);

#endif
