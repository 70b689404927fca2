/* The API's objects as JSON (docs/ADMIN-API.md).  Each is owned by the caller. */
#ifndef ORCHESTRATOR_ADMIN_OBJECT_H
#define ORCHESTRATOR_ADMIN_OBJECT_H

#include <jansson.h>

#include "orchestrator/admin/admin.h"
#include "orchestrator/fleet.h"
#include "orchestrator/registry.h"

/* `tenants`: a count in lists, names in a single one; consumed. */
json_t *object_image(const struct registry_image *image, json_t *tenants);
json_t *object_tenant(struct admin_house *house, const struct registry_tenant *tenant);
json_t *object_certificate(const struct registry_certificate *certificate);
json_t *object_instance(const struct fleet_instance_info *info);
json_t *object_event(const struct registry_event *event);

#endif
