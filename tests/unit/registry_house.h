/* A registry in a temporary folder, and what tests of it are made from. */
#ifndef TESTS_REGISTRY_HOUSE_H
#define TESTS_REGISTRY_HOUSE_H

#include "orchestrator/registry_db.h"
#include "scratch.h"

#define NOW 1700000000000
#define MIB (1024u * 1024)

struct house {
    struct scratch scratch;
    struct registry *r; /* owned; NULL: closed */
    struct refusal no;  /* of the last call */
};

int house_set_up(void **state);
int house_tear_down(void **state);
void house_reopen(struct house *h);

/* Fails with the registry's own words. */
void house_must(struct house *h, enum rc rc);
/* The last refusal has these words, and all that one has to have. */
void house_must_say(const struct house *h, const char *words);

/* 64 hex digits that depend on the text. */
void house_hash(char out[REGISTRY_HASH_SIZE], const char *text);
/* Its id; of 2 MiB. */
uint64_t house_add_image(struct house *h, const char *name, const char *version);
/* One chain a seed, one key a type. */
struct registry_certificate house_cert(const char *names, const char *key_type, const char *seed);
/* With one host name and a certificate for that. */
enum rc house_try_tenant(struct house *h, const char *name, const char *image, const char *host,
                         struct registry_tenant *out);
struct registry_tenant house_add_tenant(struct house *h, const char *name, const char *image,
                                        const char *host);
/* Its row now. */
struct registry_tenant house_tenant(struct house *h, uint64_t id);
/* NULL: of anybody. */
struct registry_event house_last_event(struct house *h, const char *of);

#endif
