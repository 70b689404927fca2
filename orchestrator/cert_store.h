/* The certificate store: chains as STATE/certs/<fingerprint>.pem, private keys as
 * STATE/keys/<key id>.pem, mode 0600.
 *
 * roomkeyd never has a private key in its memory.  It makes two empty temporary files and
 * runs roomkey-keyimport, which becomes the asking admin (so that it reads only what that admin
 * may read), checks chain, key and host names, or makes a self-signed pair, fills the files and
 * prints what it found.  Then they get their names here.
 *
 * Happy path: import -> helper -> files renamed and fsynced -> callback with the facts.
 * Failure modes (one refusal each): the helper's refusal in its words, the helper does not
 * run, its deadline, disk full; nothing is left behind.  A crash leaves temporary files, which
 * the next open removes, or a pair that no row knows, which cert_store_sweep() removes. */
#ifndef ORCHESTRATOR_CERT_STORE_H
#define ORCHESTRATOR_CERT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "common/core/rc.h"
#include "orchestrator/refusal.h"
#include "orchestrator/registry.h"

#define CERT_IMPORT_DEADLINE_MS 20000u

struct cert_store;

/* What an admin asks for; all borrowed during cert_store_import(). */
struct cert_request {
    uid_t uid; /* of the asking admin: the files are opened as this user */
    gid_t gid;
    const char *chain_path, *key_path; /* absolute; both NULL: self-signed */
    const char *const *hosts;          /* kept form (hostname.h); each must be covered */
    size_t hosts_nr;                   /* 1 to REGISTRY_HOSTS_MAX */
};

/* RC_OK with facts (id, tenant and added_at are 0), or a refusal; both borrowed during the call.
 * The files are there at that moment: put the row into the registry in this very call, and
 * cert_store_drop() them if that refuses. */
typedef void cert_import_cb(void *arg, enum rc rc, const struct registry_certificate *facts,
                            const struct refusal *no);

/* `helper`: path of roomkey-keyimport. */
RC_MUST_CHECK enum rc cert_store_open(uv_loop_t *loop, const char *state_dir, const char *helper,
                                      struct cert_store **out, struct refusal *no);
/* Ends the imports that are under way (their callbacks say RC_CANCELED). */
void cert_store_cancel(struct cert_store *s);
/* After the loop has run dry.  NULL is fine. */
void cert_store_close(struct cert_store *s);

/* On RC_OK `cb` is called exactly once, later; else never. */
RC_MUST_CHECK enum rc cert_store_import(struct cert_store *s, const struct cert_request *request,
                                        cert_import_cb *cb, void *arg, struct refusal *no);

/* Read-only descriptors, owned by the caller: of a chain, as ROUTE carries it, and of a private
 * key, as KEY_FILE does.  RC_NOT_FOUND. */
RC_MUST_CHECK enum rc cert_store_chain(struct cert_store *s, const char *fingerprint, int *fd);
RC_MUST_CHECK enum rc cert_store_key(struct cert_store *s, const char *key_id, int *fd);

/* Who still needs a file: asked before one is removed. */
struct cert_store_users {
    bool (*chain)(void *arg, const char *fingerprint);
    bool (*key)(void *arg, const char *key_id);
    void *arg;
};

/* `gone` is called when the file of a private key has been removed; NULL: nobody is told. */
void cert_store_watch_keys(struct cert_store *s, void (*gone)(void *arg, const char *key_id),
                           void *arg);

/* Removes what of the pair nobody needs any more. */
void cert_store_drop(struct cert_store *s, const char *fingerprint, const char *key_id,
                     const struct cert_store_users *users);
/* Removes all that nobody needs; at start, before the first import. */
RC_MUST_CHECK enum rc cert_store_sweep(struct cert_store *s, const struct cert_store_users *users);

#endif
