#include "orchestrator/admin/keys.h"

/* What cannot be told is taken for used: a file too many is swept later, one too few is lost. */
static bool chain_used(void *arg, const char *fingerprint)
{
    bool used;

    return registry_chain_used(arg, fingerprint, &used) != RC_OK || used;
}

static bool key_used(void *arg, const char *key_id)
{
    bool used;

    return registry_key_used(arg, key_id, &used) != RC_OK || used;
}

struct cert_store_users keys_users(struct registry *r)
{
    return (struct cert_store_users){chain_used, key_used, r};
}

void keys_drop(struct admin_house *house, const char *fingerprint, const char *key_id)
{
    const struct cert_store_users users = keys_users(house->registry);

    cert_store_drop(house->certs, fingerprint, key_id, &users);
}

void keys_drop_all(struct admin_house *house, const struct registry_dropped *dropped)
{
    for (size_t i = 0; i < dropped->nr; i++)
        keys_drop(house, dropped->cert[i].fingerprint, dropped->cert[i].key_id);
}
