/* roomkey-keyimport: the one program that reads a private key which an admin gave.
 *
 * Short-lived, started by roomkeyd (cert_import.c) for one import:
 *
 *   roomkey-keyimport UID GID pair CHAIN KEY HOST…
 *   roomkey-keyimport UID GID self-signed HOST…
 *
 * with an empty file for the key as descriptor 3 and one for the chain as 4.  It becomes
 * UID and GID for good, with that user's groups, before it opens or parses anything.  Happy path:
 * the files are filled and synced, and one line of JSON on stdout says what they are; exit 0.
 * Failure: the line is a refusal (rc, what, why, todo), and both files are empty; exit 1.  Secrets
 * are wiped on every path.  Nothing is written but those two files.
 *
 * keyimport.c: privileges, files, what is printed.  keyimport_pair.c: are chain, key and
 * host names fit.  keyimport_self.c: makes a pair. */
#ifndef ORCHESTRATOR_KEYIMPORT_H
#define ORCHESTRATOR_KEYIMPORT_H

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <time.h>

#include "orchestrator/refusal.h"
#include "orchestrator/registry.h"

#define KEYIMPORT_CHAIN_MAX (256u << 10) /* bytes of PEM */
#define KEYIMPORT_KEY_MAX   (64u << 10)
#define KEYIMPORT_CERTS_MAX 10 /* of a chain */
#define KEYIMPORT_DAYS      825

#define KEYIMPORT_KEY_FD   3
#define KEYIMPORT_CHAIN_FD 4

struct keyimport {
    mbedtls_ctr_drbg_context *random;
    const char *const *hosts;
    size_t hosts_nr;
    mbedtls_pk_context key;
    mbedtls_x509_crt chain;
    struct registry_certificate facts;
};

/* Parses and checks; `pem` ends in a NUL that `len` counts.  The path is for the refusal. */
RC_MUST_CHECK enum rc keyimport_chain(struct keyimport *k, const char *path,
                                      const unsigned char *pem, size_t len, time_t now,
                                      struct refusal *no);
RC_MUST_CHECK enum rc keyimport_key(struct keyimport *k, const char *path, const unsigned char *pem,
                                    size_t len, struct refusal *no);
/* Key and leaf, leaf and hosts; fills the facts. */
RC_MUST_CHECK enum rc keyimport_match(struct keyimport *k, struct refusal *no);

/* A new EC P-256 key and a certificate for all hosts. */
RC_MUST_CHECK enum rc keyimport_self_signed(struct keyimport *k, time_t now, struct refusal *no);

/* The chain and the key as PEM, and nothing else that was in the files; RC_TOO_LARGE. */
RC_MUST_CHECK enum rc keyimport_chain_pem(const struct keyimport *k, unsigned char *out,
                                          size_t size, size_t *len);
RC_MUST_CHECK enum rc keyimport_key_pem(const struct keyimport *k, unsigned char *out, size_t size,
                                        size_t *len);

#endif
