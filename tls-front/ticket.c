#include "tls-front/ticket.h"

#include <mbedtls/hkdf.h>
#include <string.h>
#include <sys/random.h>

#include "common/core/check.h"
#include "common/core/secret.h"

static void expand(const uint8_t *secret, const void *info, size_t info_len, uint8_t *out,
                   size_t out_len)
{
    /* It fails on impossible lengths only, and on no memory for a hash context:
     * there is no service without ticket keys, and no reason to go on. */
    CHECK(mbedtls_hkdf_expand(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), secret,
                              TICKET_SECRET_SIZE, info, info_len, out, out_len) == 0);
}

void ticket_secrets_init(struct ticket_secrets *s)
{
    CHECK(getrandom(s, sizeof *s, 0) == sizeof *s);
}

void ticket_secrets_step(struct ticket_secrets *s)
{
    static const char info[] = "roomkey ticket step";

    memcpy(s->before, s->now, sizeof s->before);
    expand(s->before, info, sizeof info, s->now, sizeof s->now);
}

void ticket_derive(const uint8_t secret[TICKET_SECRET_SIZE], uint64_t tenant,
                   struct ticket_key *out)
{
    static const char label[] = "roomkey ticket key";
    uint8_t info[sizeof label + sizeof tenant];
    uint8_t derived[TICKET_NAME_SIZE + TICKET_KEY_SIZE];

    memcpy(info, label, sizeof label);
    memcpy(info + sizeof label, &tenant, sizeof tenant);
    expand(secret, info, sizeof info, derived, sizeof derived);
    memcpy(out->name, derived, sizeof out->name);
    memcpy(out->key, derived + sizeof out->name, sizeof out->key);
    secret_wipe(derived, sizeof derived);
}
