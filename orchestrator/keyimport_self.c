#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/keyimport.h"

#define DER_MAX (REGISTRY_HOSTS_MAX * 260 + 1024)
/* A clock that is a little behind ours must not refuse it. */
#define BACKDATED_S 3600
#define CN_MAX      64 /* X.520's bound of a common name */

static bool date(char out[16], time_t t)
{
    struct tm tm;

    return gmtime_r(&t, &tm) && strftime(out, 16, "%Y%m%d%H%M%S", &tm) == 14;
}

/* The common name is for people; clients look at the alternative names. */
static int set_subject(mbedtls_x509write_cert *w, const char *host)
{
    char dn[8 + CN_MAX];
    int rv;

    snprintf(dn, sizeof dn, "CN=%s", strlen(host) <= CN_MAX ? host : "roomkey");
    rv = mbedtls_x509write_crt_set_subject_name(w, dn);
    return rv ? rv : mbedtls_x509write_crt_set_issuer_name(w, dn);
}

static int set_names(mbedtls_x509write_cert *w, const struct keyimport *k)
{
    mbedtls_x509_san_list names[REGISTRY_HOSTS_MAX];

    memset(names, 0, sizeof names);
    for (size_t i = 0; i < k->hosts_nr; i++) {
        const char *host = k->hosts[k->hosts_nr - 1 - i]; /* the library turns them round */

        names[i].node.type = MBEDTLS_X509_SAN_DNS_NAME;
        names[i].node.san.unstructured_name.p = (unsigned char *)(uintptr_t)host;
        names[i].node.san.unstructured_name.len = strlen(host);
        names[i].next = i + 1 < k->hosts_nr ? &names[i + 1] : NULL;
    }
    return mbedtls_x509write_crt_set_subject_alternative_name(w, names);
}

static int set_usage(mbedtls_x509write_cert *w)
{
    mbedtls_asn1_sequence server = {
        .buf = {.tag = MBEDTLS_ASN1_OID,
                .len = MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH),
                .p = (unsigned char *)(uintptr_t)MBEDTLS_OID_SERVER_AUTH},
    };
    int rv = mbedtls_x509write_crt_set_basic_constraints(w, 0, -1);

    if (!rv)
        rv = mbedtls_x509write_crt_set_key_usage(w, MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    return rv ? rv : mbedtls_x509write_crt_set_ext_key_usage(w, &server);
}

static int write_cert(struct keyimport *k, time_t now, unsigned char *der, size_t size)
{
    mbedtls_x509write_cert w;
    unsigned char serial[16];
    char from[16], to[16];
    int rv = mbedtls_ctr_drbg_random(k->random, serial, sizeof serial);

    mbedtls_x509write_crt_init(&w);
    if (rv || !date(from, now - BACKDATED_S) ||
        !date(to, now + (time_t)KEYIMPORT_DAYS * 24 * 3600)) {
        rv = rv ? rv : MBEDTLS_ERR_X509_INVALID_DATE;
        goto out;
    }
    serial[0] = (serial[0] & 0x7f) | 1; /* positive, and not zero */
    mbedtls_x509write_crt_set_version(&w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, &k->key);
    mbedtls_x509write_crt_set_issuer_key(&w, &k->key);
    rv = mbedtls_x509write_crt_set_serial_raw(&w, serial, sizeof serial);
    if (!rv)
        rv = mbedtls_x509write_crt_set_validity(&w, from, to);
    if (!rv)
        rv = set_subject(&w, k->hosts[0]);
    if (!rv)
        rv = set_names(&w, k);
    if (!rv)
        rv = set_usage(&w);
    if (!rv)
        rv = mbedtls_x509write_crt_der(&w, der, size, mbedtls_ctr_drbg_random, k->random);
out:
    mbedtls_x509write_crt_free(&w);
    return rv;
}

enum rc keyimport_self_signed(struct keyimport *k, time_t now, struct refusal *no)
{
    static unsigned char der[DER_MAX];
    int rv = mbedtls_pk_setup(&k->key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));

    if (!rv)
        rv = mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(k->key),
                                 mbedtls_ctr_drbg_random, k->random);
    if (!rv)
        rv = write_cert(k, now, der, sizeof der);
    /* The certificate is at the end of the buffer. */
    if (rv > 0)
        rv = mbedtls_x509_crt_parse_der(&k->chain, der + sizeof der - rv, (size_t)rv);
    if (rv) {
        refusal_what(no, RC_CRYPTO, "cannot make a self-signed certificate");
        refusal_why(no, "Mbed TLS says -0x%04x", (unsigned)-rv);
        return refusal_todo(no, "give a certificate of your own with --cert and --key");
    }
    strcpy(k->facts.key_type, "EC P-256");
    return RC_OK;
}
