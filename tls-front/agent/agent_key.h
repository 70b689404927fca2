/* The private keys that the key agent holds, by their ids, in the arena's memory.
 *
 * Happy path: agent_keys_open() once; agent_keys_find() of a key that is there;
 * agent_keys_load() of the file that roomkeyd has sent; agent_keys_forget() when it
 * was removed.  Of more than AGENT_KEYS_MAX, or when a quarter of the
 * arena is all that is left for signing, the least recently used go.
 *
 * Failure modes of a load: RC_INVAL (no private key in PEM, or too long a file),
 * RC_UNSUPPORTED (of a kind that the front does not serve with), RC_NOMEM, RC_IO. */
#ifndef TLS_FRONT_AGENT_KEY_H
#define TLS_FRONT_AGENT_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>

#include "common/core/control.h"
#include "common/core/rc.h"

#define AGENT_KEYS_MAX 2048

enum agent_key_kind { AGENT_KEY_P256, AGENT_KEY_P384, AGENT_KEY_RSA };

struct agent_key;

/* Has libcrypto take its memory from the arena and load what it needs, before the
 * system call filter.  Before any other call of libcrypto in this process.  The
 * arguments are agent_arena_open()'s. */
RC_MUST_CHECK enum rc agent_keys_open(unsigned order, bool secret);

/* Borrowed until the next call; NULL: not there. */
struct agent_key *agent_keys_find(const char *id);
/* `fd` is borrowed. */
RC_MUST_CHECK enum rc agent_keys_load(const char *id, int fd);
void agent_keys_forget(const char *id);
unsigned agent_keys_count(void);

EVP_PKEY *agent_key_pkey(const struct agent_key *k);
enum agent_key_kind agent_key_kind(const struct agent_key *k);

#endif
