/* Certificate files that the registry no longer knows. */
#ifndef ORCHESTRATOR_ADMIN_KEYS_H
#define ORCHESTRATOR_ADMIN_KEYS_H

#include "orchestrator/admin/admin.h"
#include "orchestrator/cert_store.h"
#include "orchestrator/registry.h"

/* Who still needs them, by the registry. */
struct cert_store_users keys_users(struct registry *r);

void keys_drop(struct admin_house *house, const char *fingerprint, const char *key_id);
void keys_drop_all(struct admin_house *house, const struct registry_dropped *dropped);

#endif
