#include <mbedtls/ecp.h>
#include <mbedtls/error.h>
#include <mbedtls/pem.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/files.h"
#include "orchestrator/keyimport.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----\n"
#define PEM_END   "-----END CERTIFICATE-----\n"

static const char *library_text(int error, char *buf, size_t size)
{
    mbedtls_strerror(error, buf, size);
    return buf;
}

/*----- the chain -----*/

static enum rc refuse_chain(struct refusal *no, const char *path, const char *why, const char *todo)
{
    refusal_what(no, RC_INVAL, "cannot use the certificate %.256s", path);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "%s", todo);
}

static time_t time_of(const mbedtls_x509_time *t)
{
    struct tm tm = {.tm_year = t->year - 1900,
                    .tm_mon = t->mon - 1,
                    .tm_mday = t->day,
                    .tm_hour = t->hour,
                    .tm_min = t->min,
                    .tm_sec = t->sec};

    return timegm(&tm);
}

static enum rc check_dates(const mbedtls_x509_crt *leaf, const char *path, time_t now,
                           struct refusal *no)
{
    const mbedtls_x509_time *from = &leaf->valid_from, *to = &leaf->valid_to;
    char why[96];

    if (time_of(to) < now) {
        snprintf(why, sizeof why, "it expired on %04d-%02d-%02d %02d:%02d UTC", to->year, to->mon,
                 to->day, to->hour, to->min);
        return refuse_chain(no, path, why, "renew it");
    }
    if (time_of(from) > now) {
        snprintf(why, sizeof why, "it is not valid yet: from %04d-%02d-%02d %02d:%02d UTC",
                 from->year, from->mon, from->day, from->hour, from->min);
        return refuse_chain(no, path, why, "wait until then, or look at this machine's clock");
    }
    return RC_OK;
}

static bool issued(const mbedtls_x509_crt *issuer, const mbedtls_x509_crt *subject)
{
    return issuer->subject_raw.len == subject->issuer_raw.len &&
           memcmp(issuer->subject_raw.p, subject->issuer_raw.p, issuer->subject_raw.len) == 0;
}

static enum rc check_order(const mbedtls_x509_crt *chain, const char *path, struct refusal *no)
{
    char why[96];
    unsigned n = 1;

    for (const mbedtls_x509_crt *c = chain; c->next; c = c->next, n++) {
        if (n == KEYIMPORT_CERTS_MAX)
            return refuse_chain(no, path, "it holds more than 10 certificates",
                                "leave only the leaf and its intermediates in it");
        if (issued(c->next, c))
            continue;
        snprintf(why, sizeof why, "its certificate %u is not the issuer of certificate %u", n + 1,
                 n);
        return refuse_chain(no, path, why,
                            "put the leaf first, then each one's issuer, and nothing else");
    }
    return RC_OK;
}

enum rc keyimport_chain(struct keyimport *k, const char *path, const unsigned char *pem, size_t len,
                        time_t now, struct refusal *no)
{
    char why[192], text[128];
    enum rc rc;
    int rv;

    if (!strstr((const char *)pem, "-----BEGIN CERTIFICATE-----"))
        return refuse_chain(no, path, "there is no PEM certificate in it",
                            "give a file with -----BEGIN CERTIFICATE-----");
    rv = mbedtls_x509_crt_parse(&k->chain, pem, len);
    if (rv > 0)
        return refuse_chain(no, path, "some of its certificates cannot be read",
                            "leave only the leaf and its intermediates in it, without the root");
    if (rv < 0) {
        snprintf(why, sizeof why, "it cannot be read (%s)", library_text(rv, text, sizeof text));
        return refuse_chain(no, path, why, "give a PEM file with the leaf, then its intermediates");
    }
    rc = check_order(&k->chain, path, no);
    return rc ? rc : check_dates(&k->chain, path, now, no);
}

/*----- the key -----*/

static enum rc refuse_key(struct refusal *no, const char *path, const char *why, const char *todo)
{
    refusal_what(no, RC_INVAL, "cannot use the private key %.256s", path);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "%s", todo);
}

/* "EC P-256" and so on; false for what the front cannot serve with. */
static bool key_type(const mbedtls_pk_context *key, char *out, size_t size)
{
    size_t bits = mbedtls_pk_get_bitlen(key);

    if (mbedtls_pk_get_type(key) == MBEDTLS_PK_RSA) {
        snprintf(out, size, "RSA %zu", bits);
        return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    }
    if (mbedtls_pk_get_type(key) != MBEDTLS_PK_ECKEY)
        return false;
    switch (mbedtls_ecp_keypair_get_group_id(mbedtls_pk_ec(*key))) {
    case MBEDTLS_ECP_DP_SECP256R1:
        snprintf(out, size, "EC P-256");
        return true;
    case MBEDTLS_ECP_DP_SECP384R1:
        snprintf(out, size, "EC P-384");
        return true;
    default:
        return false;
    }
}

enum rc keyimport_key(struct keyimport *k, const char *path, const unsigned char *pem, size_t len,
                      struct refusal *no)
{
    static const char types[] = "use EC P-256, EC P-384, or RSA of 2048 to 4096 bits";
    char why[192], text[128];
    int rv;

    if (!strstr((const char *)pem, "PRIVATE KEY-----"))
        return refuse_key(no, path, "there is no PEM private key in it",
                          "give a file with -----BEGIN PRIVATE KEY-----");
    if (strstr((const char *)pem, "BEGIN ENCRYPTED PRIVATE KEY") ||
        strstr((const char *)pem, "Proc-Type: 4,ENCRYPTED"))
        return refuse_key(no, path, "it is encrypted, and nobody is there to type its passphrase",
                          "decrypt it first: openssl pkey -in KEY -out PLAIN");
    rv = mbedtls_pk_parse_key(&k->key, pem, len, NULL, 0, mbedtls_ctr_drbg_random, k->random);
    if (rv == MBEDTLS_ERR_PK_UNKNOWN_NAMED_CURVE || rv == MBEDTLS_ERR_PK_UNKNOWN_PK_ALG ||
        rv == MBEDTLS_ERR_PK_FEATURE_UNAVAILABLE)
        return refuse_key(no, path, "it is of a kind that Roomkey does not serve with", types);
    if (rv != 0) {
        snprintf(why, sizeof why, "it cannot be read (%s)", library_text(rv, text, sizeof text));
        return refuse_key(no, path, why, "give an unencrypted PEM private key");
    }
    if (!key_type(&k->key, k->facts.key_type, sizeof k->facts.key_type))
        return refuse_key(no, path, "it is of a kind that Roomkey does not serve with", types);
    return RC_OK;
}

/*----- together -----*/

static enum rc check_match(struct keyimport *k, struct refusal *no)
{
    unsigned n = 1;

    if (mbedtls_pk_check_pair(&k->chain.pk, &k->key, mbedtls_ctr_drbg_random, k->random) == 0)
        return RC_OK;
    refusal_what(no, RC_INVAL, "the private key does not match the certificate");
    refusal_why(no, "the certificate was made for another key");
    refusal_todo(no, "give the key that the certificate was asked for with");
    for (mbedtls_x509_crt *c = k->chain.next; c; c = c->next) {
        n++;
        if (mbedtls_pk_check_pair(&c->pk, &k->key, mbedtls_ctr_drbg_random, k->random) == 0) {
            refusal_why(no, "it matches certificate %u of the chain, which is not the first", n);
            refusal_todo(no, "put the leaf first, then each one's issuer");
        }
    }
    return no->rc;
}

/* DNS names that a list can hold; another kind (IP address, mail) is of no use to SNI. */
static enum rc list_names(struct keyimport *k, struct refusal *no)
{
    char *out = k->facts.names;
    size_t used = 0;

    out[0] = '\0';
    for (const mbedtls_x509_sequence *s = &k->chain.subject_alt_names; s && s->buf.p; s = s->next) {
        mbedtls_x509_subject_alternative_name san;
        const mbedtls_x509_buf *name = &san.san.unstructured_name;

        if (mbedtls_x509_parse_subject_alt_name(&s->buf, &san) != 0)
            continue;
        if (san.type == MBEDTLS_X509_SAN_DNS_NAME && name->len > 0 && name->len < HOSTNAME_SIZE) {
            bool plain = true;

            for (size_t i = 0; i < name->len; i++)
                plain = plain && name->p[i] > ' ' && name->p[i] < 0x7f && name->p[i] != ',';
            if (plain && used + name->len + 2 > sizeof k->facts.names) {
                refusal_what(no, RC_TOO_LARGE, "the certificate has too many names");
                refusal_why(no, "together they are longer than %d characters", REGISTRY_NAMES_SIZE);
                return refusal_todo(no,
                                    "use one with a wildcard, or with this tenant's names only");
            }
            if (plain)
                used += (size_t)snprintf(out + used, sizeof k->facts.names - used, "%s%.*s",
                                         used ? "," : "", (int)name->len, (const char *)name->p);
        }
        mbedtls_x509_free_subject_alt_name(&san);
    }
    return RC_OK;
}

static enum rc check_hosts(const struct keyimport *k, struct refusal *no)
{
    for (size_t i = 0; i < k->hosts_nr; i++) {
        if (hostname_covered(k->facts.names, k->hosts[i]))
            continue;
        refusal_what(no, RC_INVAL, "the certificate does not cover host name %s", k->hosts[i]);
        if (k->facts.names[0])
            refusal_why(no, "its names are %.200s", k->facts.names);
        else
            refusal_why(no,
                        "it has no subject alternative names, and clients look at nothing else");
        return refusal_todo(no, "give a certificate that has all of the tenant's host names");
    }
    return RC_OK;
}

static enum rc fill_facts(struct keyimport *k)
{
    struct registry_certificate *f = &k->facts;
    const mbedtls_x509_crt *leaf = &k->chain;
    unsigned char hash[32];

    if (mbedtls_sha256(leaf->raw.p, leaf->raw.len, hash, 0) != 0)
        return RC_CRYPTO;
    files_hex(hash, f->fingerprint);
    if (mbedtls_sha256(leaf->pk_raw.p, leaf->pk_raw.len, hash, 0) != 0)
        return RC_CRYPTO;
    files_hex(hash, f->key_id);
    /* For display; one that does not fit is left out. */
    if (mbedtls_x509_dn_gets(f->subject, sizeof f->subject, &leaf->subject) < 0)
        f->subject[0] = '\0';
    f->self_signed = issued(leaf, leaf);
    f->not_before = (int64_t)time_of(&leaf->valid_from) * 1000;
    f->not_after = (int64_t)time_of(&leaf->valid_to) * 1000;
    return RC_OK;
}

enum rc keyimport_match(struct keyimport *k, struct refusal *no)
{
    enum rc rc = check_match(k, no);

    if (!rc)
        rc = list_names(k, no);
    if (!rc)
        rc = check_hosts(k, no);
    if (rc)
        return rc;
    rc = fill_facts(k);
    return rc ? refusal_what(no, rc, "cannot hash the certificate") : RC_OK;
}

/*----- out -----*/

enum rc keyimport_chain_pem(const struct keyimport *k, unsigned char *out, size_t size, size_t *len)
{
    *len = 0;
    for (const mbedtls_x509_crt *c = &k->chain; c; c = c->next) {
        size_t n;

        if (mbedtls_pem_write_buffer(PEM_BEGIN, PEM_END, c->raw.p, c->raw.len, out + *len,
                                     size - *len, &n) != 0)
            return RC_TOO_LARGE;
        *len += n - 1; /* its NUL */
    }
    return RC_OK;
}

enum rc keyimport_key_pem(const struct keyimport *k, unsigned char *out, size_t size, size_t *len)
{
    if (mbedtls_pk_write_key_pem(&k->key, out, size) != 0)
        return RC_TOO_LARGE;
    *len = strlen((const char *)out);
    return RC_OK;
}
