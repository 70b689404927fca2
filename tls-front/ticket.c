#include "tls-front/ticket.h"

#include <mbedtls/hkdf.h>
#include <string.h>
#include <sys/random.h>

#include "common/core/check.h"
#include "common/core/secret.h"

/* It fails on impossible lengths, which these are not, and on no memory for a hash context. */
static enum rc expand(const uint8_t *secret, const void *info, size_t info_len, uint8_t *out,
                      size_t out_len)
{
    return mbedtls_hkdf_expand(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), secret,
                               TICKET_SECRET_SIZE, info, info_len, out, out_len) == 0
               ? RC_OK
               : RC_NOMEM;
}

void ticket_secrets_init(struct ticket_secrets *s)
{
    CHECK(getrandom(s, sizeof *s, 0) == sizeof *s);
}

void ticket_secrets_step(struct ticket_secrets *s)
{
    static const char info[] = "roomkey ticket step";

    memcpy(s->before, s->now, sizeof s->before);
    /* The parent's: without memory it is better restarted than left with a key for good. */
    CHECK(expand(s->before, info, sizeof info, s->now, sizeof s->now) == RC_OK);
}

enum rc ticket_derive(const uint8_t secret[TICKET_SECRET_SIZE],
                      const uint8_t scope[TICKET_SCOPE_SIZE], struct ticket_key *out)
{
    static const char label[] = "roomkey ticket key";
    uint8_t info[sizeof label + TICKET_SCOPE_SIZE];
    uint8_t derived[TICKET_NAME_SIZE + TICKET_KEY_SIZE] = {0};
    enum rc rc;

    memcpy(info, label, sizeof label);
    memcpy(info + sizeof label, scope, TICKET_SCOPE_SIZE);
    rc = expand(secret, info, sizeof info, derived, sizeof derived);
    memcpy(out->name, derived, sizeof out->name);
    memcpy(out->key, derived + sizeof out->name, sizeof out->key);
    secret_wipe(derived, sizeof derived);
    return rc;
}
