/* A store of certificates in a temporary folder, with the real helper, and pairs that openssl
 * makes. */
#ifndef TESTS_CERT_HOUSE_H
#define TESTS_CERT_HOUSE_H

#include "orchestrator/cert_store.h"
#include "scratch.h"

#define EC  "ec -pkeyopt ec_paramgen_curve:P-256"
#define RSA "rsa:2048"

struct house {
    struct scratch scratch;
    uv_loop_t loop;
    struct cert_store *store; /* owned */
    struct refusal no;        /* of the last import */
    unsigned called;          /* its callback was */
    enum rc rc;
    struct registry_certificate facts;
};

int house_set_up(void **state);
int house_tear_down(void **state);
/* Once more, after cert_store_close(), with that program as the helper. */
void house_open(struct house *h, const char *helper);

/* A command in the folder, which must not fail. */
void house_sh(struct house *h, const char *command);
/* NAME.pem and NAME.key, self-signed, with these arguments and names. */
void house_make_pair(struct house *h, const char *name, const char *kind, const char *san);

/* Notes how an import ended; `arg` is the house. */
void house_on_imported(void *arg, enum rc rc, const struct registry_certificate *facts,
                       const struct refusal *no);
/* Imports, and waits for the end of that.  Files of the folder; key: may be the chain's. */
enum rc house_run(struct house *h, const struct cert_request *request);
enum rc house_import_as(struct house *h, uid_t uid, const char *chain, const char *key,
                        const char *host);
enum rc house_import(struct house *h, const char *chain, const char *key, const char *host);

/* Fails with the refusal's own words. */
void house_must(struct house *h, enum rc rc);
/* The last refusal has these words and all that one has to have, and left nothing behind. */
void house_must_say(struct house *h, const char *words);
/* What a shell command in the folder prints. */
void house_must_equal(struct house *h, const char *value, const char *command);

#endif
