#include "orchestrator/cert_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/fd.h"
#include "orchestrator/cert_store_private.h"
#include "orchestrator/files.h"

#define SUFFIX ".pem"

void cert_store_pem(char out[CERT_STORE_PEM_SIZE], const char *hash)
{
    snprintf(out, CERT_STORE_PEM_SIZE, "%.64s" SUFFIX, hash);
}

/*----- open and close -----*/

static void remove_temp(void *arg, const char *name)
{
    const int *dir = arg;

    if (strncmp(name, CERT_STORE_TEMP, strlen(CERT_STORE_TEMP)) == 0)
        (void)unlinkat(*dir, name, 0);
}

enum rc cert_store_open(uv_loop_t *loop, const char *state_dir, const char *helper,
                        struct cert_store **out, struct refusal *no)
{
    struct cert_store *s = calloc(1, sizeof *s);
    enum rc rc;

    if (!s)
        return refusal_what(no, RC_NOMEM, "cannot open the certificate store: out of memory");
    s->loop = loop;
    s->certs = s->keys = -1;
    s->helper = strdup(helper);
    rc = s->helper ? files_folder(state_dir, "certs", &s->certs, no)
                   : refusal_what(no, RC_NOMEM, "cannot open the certificate store: out of memory");
    if (!rc)
        rc = files_folder(state_dir, "keys", &s->keys, no);
    if (!rc && (files_each(s->certs, remove_temp, &s->certs) != RC_OK ||
                files_each(s->keys, remove_temp, &s->keys) != RC_OK)) {
        rc = refusal_what(no, RC_IO, "cannot read the folders %s/certs and keys", state_dir);
        refusal_why(no, "%s", strerror(errno));
    }
    if (rc)
        cert_store_close(s);
    else
        *out = s;
    return rc;
}

void cert_store_close(struct cert_store *s)
{
    if (!s)
        return;
    CHECK(!s->imports);
    fd_close(&s->certs);
    fd_close(&s->keys);
    free(s->helper);
    free(s);
}

/*----- what is there -----*/

static enum rc open_pem(int dir, const char *hash, int *fd)
{
    char name[CERT_STORE_PEM_SIZE];

    if (!files_is_hash(hash))
        return RC_INVAL;
    cert_store_pem(name, hash);
    *fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *fd < 0 ? files_rc(errno) : RC_OK;
}

enum rc cert_store_chain(struct cert_store *s, const char *fingerprint, int *fd)
{
    return open_pem(s->certs, fingerprint, fd);
}

enum rc cert_store_key(struct cert_store *s, const char *key_id, int *fd)
{
    return open_pem(s->keys, key_id, fd);
}

void cert_store_watch_keys(struct cert_store *s, void (*gone)(void *arg, const char *key_id),
                           void *arg)
{
    s->key_gone = gone;
    s->key_gone_arg = arg;
}

/* True when it was removed. */
static bool drop(int dir, const char *hash, bool (*used)(void *arg, const char *hash), void *arg)
{
    char name[CERT_STORE_PEM_SIZE];

    if (!files_is_hash(hash) || used(arg, hash))
        return false;
    cert_store_pem(name, hash);
    return unlinkat(dir, name, 0) == 0;
}

void cert_store_drop(struct cert_store *s, const char *fingerprint, const char *key_id,
                     const struct cert_store_users *users)
{
    (void)drop(s->certs, fingerprint, users->chain, users->arg);
    if (drop(s->keys, key_id, users->key, users->arg) && s->key_gone)
        s->key_gone(s->key_gone_arg, key_id);
}

struct sweep {
    int dir;
    bool (*used)(void *arg, const char *hash);
    void *arg;
};

static void sweep_one(void *arg, const char *name)
{
    const struct sweep *sweep = arg;
    char hash[REGISTRY_HASH_SIZE];

    if (strlen(name) != 64 + strlen(SUFFIX) || strcmp(name + 64, SUFFIX) != 0)
        return;
    memcpy(hash, name, 64);
    hash[64] = '\0';
    (void)drop(sweep->dir, hash, sweep->used, sweep->arg);
}

enum rc cert_store_sweep(struct cert_store *s, const struct cert_store_users *users)
{
    struct sweep certs = {s->certs, users->chain, users->arg};
    struct sweep keys = {s->keys, users->key, users->arg};
    enum rc rc = files_each(s->certs, sweep_one, &certs);

    return rc ? rc : files_each(s->keys, sweep_one, &keys);
}
