/* What the registry's files about tenants share.  Private to registry*.c; within a transaction. */
#ifndef ORCHESTRATOR_REGISTRY_TENANT_DB_H
#define ORCHESTRATOR_REGISTRY_TENANT_DB_H

#include "orchestrator/registry.h"

/* Something in the tenant's route has changed: a new revision. */
RC_MUST_CHECK enum rc tenant_revise(struct registry *r, uint64_t tenant);

/* Puts the tenant's host names and certificates into the wished-for state, or refuses. */
RC_MUST_CHECK enum rc tenant_set_hosts(struct registry *r, const struct registry_tenant *t,
                                       const struct registry_wish *wish, struct refusal *no);
RC_MUST_CHECK enum rc tenant_set_cert(struct registry *r, const struct registry_tenant *t,
                                      const struct registry_certificate *cert, int64_t now,
                                      struct registry_dropped *dropped, struct refusal *no);
/* Every host is covered by every certificate; those that do not are removed when `newer` is
 * set (not that one), else refused. */
RC_MUST_CHECK enum rc tenant_check_cover(struct registry *r, const struct registry_tenant *t,
                                         const struct registry_certificate *newer,
                                         struct registry_dropped *dropped, struct refusal *no);
/* All of the tenant's certificates into the list. */
RC_MUST_CHECK enum rc tenant_list_certs(struct registry *r, uint64_t tenant,
                                        struct registry_dropped *out);

#endif
