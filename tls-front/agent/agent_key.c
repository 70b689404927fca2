#include "tls-front/agent/agent_key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "tls-front/agent/agent_arena.h"

#define PEM_MAX      ((off_t)64 * 1024)
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096

struct agent_key {
    char id[CONTROL_KEY_SIZE];
    enum agent_key_kind kind;
    EVP_PKEY *pkey; /* owned */
    TAILQ_ENTRY(agent_key) by_use;
};

static struct {
    void *by_id;                    /* tsearch() tree */
    TAILQ_HEAD(, agent_key) by_use; /* least recently used first */
    unsigned count;
} keys = {.by_use = TAILQ_HEAD_INITIALIZER(keys.by_use)};

/*----- libcrypto -----*/

static void *take(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return agent_arena_alloc(n);
}

static void *change(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    if (n > 0)
        return agent_arena_realloc(p, n);
    agent_arena_free(p);
    return NULL;
}

static void give(void *p, const char *file, int line)
{
    (void)file, (void)line;
    agent_arena_free(p);
}

enum rc agent_keys_open(unsigned order, bool secret)
{
    enum rc rc = agent_arena_open(order, secret);

    if (rc)
        return rc;
    /* It refuses once it has allocated anything. */
    if (CRYPTO_set_mem_functions(take, change, give) != 1)
        return RC_CRYPTO;
    /* Whatever openssl.cnf says is not for this process. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
        return RC_CRYPTO;
    return RC_OK;
}

/*----- the table -----*/

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct agent_key *)a)->id, ((const struct agent_key *)b)->id);
}

static struct agent_key *lookup(const char *id)
{
    struct agent_key key;
    void *node;

    strncpy(key.id, id, sizeof key.id - 1);
    key.id[sizeof key.id - 1] = '\0';
    node = tfind(&key, &keys.by_id, compare);
    return node ? *(struct agent_key **)node : NULL;
}

static void drop(struct agent_key *k)
{
    tdelete(k, &keys.by_id, compare);
    TAILQ_REMOVE(&keys.by_use, k, by_use);
    keys.count--;
    EVP_PKEY_free(k->pkey); /* wipes: see agent_arena_free() */
    free(k);
}

/* Keeps `last`, the one used last, and what an RSA key takes when it first signs. */
static void make_room(const struct agent_key *last)
{
    while (keys.count > AGENT_KEYS_MAX || agent_arena_used() > agent_arena_size() / 4 * 3) {
        struct agent_key *k = TAILQ_FIRST(&keys.by_use);

        if (!k || k == last)
            return;
        drop(k);
    }
}

struct agent_key *agent_keys_find(const char *id)
{
    struct agent_key *k = lookup(id);

    if (k) {
        TAILQ_REMOVE(&keys.by_use, k, by_use);
        TAILQ_INSERT_TAIL(&keys.by_use, k, by_use);
        make_room(k);
    }
    return k;
}

void agent_keys_forget(const char *id)
{
    struct agent_key *k = lookup(id);

    if (k)
        drop(k);
}

unsigned agent_keys_count(void)
{
    return keys.count;
}

EVP_PKEY *agent_key_pkey(const struct agent_key *k)
{
    return k->pkey;
}

enum agent_key_kind agent_key_kind(const struct agent_key *k)
{
    return k->kind;
}

/*----- a file -----*/

/* Nobody is there to be asked for one. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

/* Straight into the arena.  By pread(): the file offset is shared with whoever else
 * was sent this file. */
static enum rc parse(int fd, EVP_PKEY **out)
{
    struct stat st;
    char *pem;
    BIO *bio;
    enum rc rc = RC_OK;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > PEM_MAX)
        return RC_INVAL;
    pem = agent_arena_alloc((size_t)st.st_size);
    bio = pem ? BIO_new_mem_buf(pem, (int)st.st_size) : NULL;
    if (!bio)
        rc = RC_NOMEM;
    else if (pread(fd, pem, (size_t)st.st_size, 0) != st.st_size)
        rc = RC_IO;
    if (!rc) {
        *out = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (!*out)
            rc = ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE ? RC_NOMEM : RC_INVAL;
    }
    BIO_free(bio);
    agent_arena_free(pem);
    ERR_clear_error();
    secret_wipe_stack();
    return rc;
}

static enum rc find_kind(EVP_PKEY *pkey, enum agent_key_kind *out)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(pkey, "RSA") && EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN &&
        EVP_PKEY_get_bits(pkey) <= RSA_BITS_MAX) {
        *out = AGENT_KEY_RSA;
        return RC_OK;
    }
    if (!EVP_PKEY_is_a(pkey, "EC") ||
        EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                       NULL) != 1)
        return RC_UNSUPPORTED;
    if (strcmp(group, "prime256v1") == 0)
        *out = AGENT_KEY_P256;
    else if (strcmp(group, "secp384r1") == 0)
        *out = AGENT_KEY_P384;
    else
        return RC_UNSUPPORTED;
    return RC_OK;
}

static enum rc insert(const char *id, EVP_PKEY *pkey, enum agent_key_kind kind)
{
    struct agent_key *k = calloc(1, sizeof *k);

    if (!k)
        return RC_NOMEM;
    strncpy(k->id, id, sizeof k->id - 1);
    k->kind = kind;
    k->pkey = pkey;
    if (!tsearch(k, &keys.by_id, compare)) {
        free(k);
        return RC_NOMEM;
    }
    TAILQ_INSERT_TAIL(&keys.by_use, k, by_use);
    keys.count++;
    make_room(k);
    return RC_OK;
}

enum rc agent_keys_load(const char *id, int fd)
{
    enum agent_key_kind kind;
    EVP_PKEY *pkey = NULL;
    enum rc rc;

    agent_keys_forget(id);
    rc = parse(fd, &pkey);
    if (!rc)
        rc = find_kind(pkey, &kind);
    if (!rc)
        rc = insert(id, pkey, kind);
    if (rc)
        EVP_PKEY_free(pkey);
    ERR_clear_error();
    return rc;
}
