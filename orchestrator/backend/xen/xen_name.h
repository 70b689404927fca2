/* Names and uuids of domains: "rk-HOUSE-…", and uuids that begin with HOUSE, say
 * whose they are, in xl list and to a sweep. */
#ifndef XEN_NAME_H
#define XEN_NAME_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

/* Whose domains they are: eight hex digits. */
struct xen_house {
    char text[9];
    uint8_t tag[XEN_UUID_TAG];
};

RC_MUST_CHECK enum rc xen_house_of(const char *state_dir, struct xen_house *out);
/* What all its names begin with. */
void xen_name_prefix(const struct xen_house *h, char out[XEN_NAME_MAX]);
/* RC_INVAL: too long. */
RC_MUST_CHECK enum rc xen_name_instance(const struct xen_house *h, const char *tenant,
                                        uint64_t generation, char out[XEN_NAME_MAX]);
void xen_name_pool(const struct xen_house *h, const uint8_t uuid[XEN_UUID_SIZE],
                   char out[XEN_NAME_MAX]);
/* A new random one of the house. */
RC_MUST_CHECK enum rc xen_uuid_new(const struct xen_house *h, uint8_t uuid[XEN_UUID_SIZE]);

#endif
