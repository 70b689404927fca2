/* The table of calls, and which one a request is. */
#ifndef ORCHESTRATOR_ADMIN_ROUTE_H
#define ORCHESTRATOR_ADMIN_ROUTE_H

#include "orchestrator/admin/request.h"

/* NULL and the HTTP status of the refusal when there is none: 404, or 405 when the path has
 * other methods.  `name` is what stands for {}; at most one in a path, never empty. */
const struct admin_route *admin_route_find(const char *method, const char *url,
                                           char name[ADMIN_PATH_NAME_SIZE], unsigned *miss);

#endif
