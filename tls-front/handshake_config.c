#include "tls-front/handshake_config.h"

#include <mbedtls/psa_util.h>
#include <mbedtls/sha256.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/secret.h"

static enum rc from_mbedtls(int r)
{
    switch (r) {
    case 0:
        return RC_OK;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED:
    case MBEDTLS_ERR_X509_ALLOC_FAILED:
    case MBEDTLS_ERR_PK_ALLOC_FAILED:
        return RC_NOMEM;
    default:
        return RC_INVAL;
    }
}

static enum rc parse_pem(struct tls_config *c, const struct tls_pem *pem)
{
    mbedtls_x509_crt *chain = &c->chains[c->certs];
    struct handshake_key *key = &c->keys[c->certs];
    int r;

    if (strlen(pem->key) >= sizeof key->id)
        return RC_INVAL;
    mbedtls_x509_crt_init(chain);
    c->certs++;
    r = mbedtls_x509_crt_parse(chain, pem->chain, pem->chain_len);
    /* What Mbed TLS takes for the private key is the public one of the certificate: it
     * tells it of which kind the key is, and us which one to sign with. */
    key->pk = &chain->pk;
    memcpy(key->id, pem->key, strlen(pem->key) + 1);
    if (r == 0)
        r = mbedtls_ssl_conf_own_cert(&c->conf, chain, &chain->pk);
    return r > 0 ? RC_INVAL : from_mbedtls(r); /* > 0: so many bad certificates */
}

static enum rc set_alpn(struct tls_config *c, const char *alpn)
{
    size_t n = 0;
    char *rest;

    if (strlen(alpn) >= sizeof c->alpn_text)
        return RC_TOO_LARGE;
    memcpy(c->alpn_text, alpn, strlen(alpn) + 1);
    for (char *p = strtok_r(c->alpn_text, ",", &rest); p && n < ALPN_MAX;
         p = strtok_r(NULL, ",", &rest))
        c->alpn[n++] = p;
    return n == 0 ? RC_OK : from_mbedtls(mbedtls_ssl_conf_alpn_protocols(&c->conf, c->alpn));
}

/* A resumed session shows no certificate: it must be of the name that is asked for now (RFC
 * 6066, 3), and of a certificate that is still the name's. */
static enum rc set_scope(struct tls_config *c, const struct tls_for *who)
{
    mbedtls_sha256_context sha;
    int r;

    mbedtls_sha256_init(&sha);
    r = mbedtls_sha256_starts(&sha, 0);
    r |= mbedtls_sha256_update(&sha, (const uint8_t *)&who->tenant, sizeof who->tenant);
    r |= mbedtls_sha256_update(&sha, (const uint8_t *)who->hostname, strlen(who->hostname) + 1);
    for (size_t i = 0; i < c->certs; i++)
        r |= mbedtls_sha256_update(&sha, c->chains[i].raw.p, c->chains[i].raw.len);
    r |= mbedtls_sha256_finish(&sha, c->scope);
    mbedtls_sha256_free(&sha);
    return r ? RC_CRYPTO : RC_OK;
}

static enum rc rotate(struct tls_config *c, const uint8_t *secret)
{
    struct ticket_key key;
    enum rc rc = ticket_derive(secret, c->scope, &key);

    if (!rc)
        rc = from_mbedtls(mbedtls_ssl_ticket_rotate(&c->tickets, key.name, sizeof key.name, key.key,
                                                    sizeof key.key, c->ticket_lifetime));
    secret_wipe(&key, sizeof key);
    return rc;
}

enum rc tls_config_tickets(struct tls_config *c, const struct ticket_secrets *secrets)
{
    /* The context keeps two keys and issues with the one that came last. */
    enum rc rc = rotate(c, secrets->before);

    return rc ? rc : rotate(c, secrets->now);
}

static enum rc set_up(struct tls_config *c, const char *alpn)
{
    static const uint16_t groups[] = {
        MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
        MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
    int r = mbedtls_ssl_config_defaults(&c->conf, MBEDTLS_SSL_IS_SERVER,
                                        MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (r)
        return from_mbedtls(r);
    mbedtls_ssl_conf_rng(&c->conf, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
    mbedtls_ssl_conf_min_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(&c->conf, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_groups(&c->conf, groups);
    mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_NONE);
    return set_alpn(c, alpn);
}

static enum rc set_up_tickets(struct tls_config *c, const struct tls_for *who,
                              const struct ticket_secrets *secrets)
{
    enum rc rc = set_scope(c, who);
    int r;

    if (rc)
        return rc;
    c->ticket_lifetime = who->ticket_lifetime;
    r = mbedtls_ssl_ticket_setup(&c->tickets, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE,
                                 MBEDTLS_CIPHER_AES_256_GCM, c->ticket_lifetime);
    if (r)
        return from_mbedtls(r);
    rc = tls_config_tickets(c, secrets);
    if (rc)
        return rc;
    mbedtls_ssl_conf_session_tickets_cb(&c->conf, handshake_write_ticket, handshake_parse_ticket,
                                        &c->tickets);
    mbedtls_ssl_conf_new_session_tickets(&c->conf, TLS_TICKETS);
    return RC_OK;
}

enum rc tls_config_new(struct tls_config **out, const struct tls_pem *pems, size_t n,
                       const struct tls_for *who, const struct ticket_secrets *secrets)
{
    struct tls_config *c;
    enum rc rc;

    CHECK(n >= 1 && n <= TLS_CERTS_MAX);
    c = calloc(1, sizeof *c);
    if (!c)
        return RC_NOMEM;
    c->refs = 1;
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_ssl_ticket_init(&c->tickets);
    rc = set_up(c, who->alpn);
    for (size_t i = 0; !rc && i < n; i++)
        rc = parse_pem(c, &pems[i]);
    if (!rc)
        rc = set_up_tickets(c, who, secrets);
    if (rc) {
        tls_config_unref(c);
        return rc;
    }
    *out = c;
    return RC_OK;
}

struct tls_config *tls_config_ref(struct tls_config *c)
{
    c->refs++;
    return c;
}

void tls_config_unref(struct tls_config *c)
{
    if (!c || --c->refs > 0)
        return;
    mbedtls_ssl_config_free(&c->conf);
    mbedtls_ssl_ticket_free(&c->tickets);
    for (size_t i = 0; i < c->certs; i++)
        mbedtls_x509_crt_free(&c->chains[i]);
    secret_wipe(c, sizeof *c);
    free(c);
}
