/* The table of calls: docs/ADMIN-API.md in code. */
#include <stddef.h>

#include "orchestrator/admin/handlers.h"

#define SETTINGS                                                                              \
    (ADMIN_BIT(HOSTS) | ADMIN_BIT(MEMORY) | ADMIN_BIT(IDLE_MS) | ADMIN_BIT(MAX_CONNECTIONS) | \
     ADMIN_BIT(WAKE_TIMEOUT_MS))
#define FILES   (ADMIN_BIT(CERT_FILE) | ADMIN_BIT(KEY_FILE))
#define NEW     (ADMIN_BIT(NAME) | ADMIN_BIT(IMAGE) | ADMIN_BIT(HOSTS))
#define UPGRADE (ADMIN_BIT(IMAGE) | ADMIN_BIT(MAX_WAIT_MS) | ADMIN_BIT(WAIT))

#define GET(path, handler)                     \
    {                                          \
        "GET", path, 0, 0, handler, NULL, NULL \
    }
#define POST(path, handler)                     \
    {                                           \
        "POST", path, 0, 0, handler, NULL, NULL \
    }
#define DELETE(path, handler)                     \
    {                                             \
        "DELETE", path, 0, 0, handler, NULL, NULL \
    }
#define TAKES(method, path, takes, needs, handler)      \
    {                                                   \
        method, path, takes, needs, handler, NULL, NULL \
    }

const struct admin_route admin_routes[] = {
    GET("/v1/status", status_get),
    GET("/v1/doctor", doctor_get),
    GET("/metrics", metrics_get),
    GET("/v1/images", images_list),
    {"PUT", "/v1/images/{}", 0, 0, images_add, images_upload, images_abort},
    GET("/v1/images/{}", images_show),
    DELETE("/v1/images/{}", images_remove),
    GET("/v1/tenants", tenants_list),
    TAKES("POST", "/v1/tenants", NEW | SETTINGS | FILES | ADMIN_BIT(SELF_SIGNED), NEW, tenants_add),
    GET("/v1/tenants/{}", tenants_show),
    TAKES("PATCH", "/v1/tenants/{}", SETTINGS, 0, tenants_set),
    DELETE("/v1/tenants/{}", tenants_remove),
    POST("/v1/tenants/{}/suspend", tenants_suspend),
    POST("/v1/tenants/{}/resume", tenants_resume),
    TAKES("POST", "/v1/tenants/{}/upgrade", UPGRADE, ADMIN_BIT(IMAGE), tenants_upgrade),
    TAKES("PUT", "/v1/tenants/{}/certs", FILES, FILES, certs_set),
    GET("/v1/tenants/{}/logs", logs_get),
    GET("/v1/certs", certs_list),
    GET("/v1/instances", instances_list),
    POST("/v1/instances/{}/stop", instances_stop),
    GET("/v1/events", events_get),
    {NULL, NULL, 0, 0, NULL, NULL, NULL},
};
