#include "orchestrator/backend/xen/xen_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "orchestrator/backend/state_id.h"
#include "orchestrator/backend/xen/xen_event.h"

enum rc xen_house_of(const char *state_dir, struct xen_house *out)
{
    uint64_t id;
    enum rc rc = state_id(state_dir, &id);

    if (rc)
        return rc;
    for (unsigned n = 0; n < XEN_UUID_TAG; n++)
        out->tag[n] = (uint8_t)(id >> (56 - 8 * n));
    if (!(out->tag[0] | out->tag[1] | out->tag[2] | out->tag[3]))
        out->tag[0] = 1; /* 0 means that no uuid is asked for */
    snprintf(out->text, sizeof out->text, "%02x%02x%02x%02x", out->tag[0], out->tag[1], out->tag[2],
             out->tag[3]);
    return RC_OK;
}

void xen_name_prefix(const struct xen_house *h, char out[XEN_NAME_MAX])
{
    snprintf(out, XEN_NAME_MAX, "rk-%s-", h->text);
}

enum rc xen_name_instance(const struct xen_house *h, const char *tenant, uint64_t generation,
                          char out[XEN_NAME_MAX])
{
    int n = snprintf(out, XEN_NAME_MAX, "rk-%s-%s-%" PRIu64, h->text, tenant, generation);

    return n > 0 && n < XEN_NAME_MAX ? RC_OK : RC_INVAL;
}

void xen_name_pool(const struct xen_house *h, const uint8_t uuid[XEN_UUID_SIZE],
                   char out[XEN_NAME_MAX])
{
    char text[XEN_UUID_TEXT];

    /* The last twelve digits: all random, and longer than a generation ever is. */
    xen_uuid_text(uuid, text);
    snprintf(out, XEN_NAME_MAX, "rk-%s-pool-%s", h->text, text + XEN_UUID_TEXT - 1 - 12);
}

enum rc xen_uuid_new(const struct xen_house *h, uint8_t uuid[XEN_UUID_SIZE])
{
    if (getrandom(uuid, XEN_UUID_SIZE, 0) != XEN_UUID_SIZE)
        return RC_CRYPTO;
    memcpy(uuid, h->tag, sizeof h->tag);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 4122: random */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return RC_OK;
}
