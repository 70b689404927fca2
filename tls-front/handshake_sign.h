/* How a handshake waits for its signature, which is made in another process.
 *
 * Mbed TLS signs by a call and goes on when it returns; only in TLS 1.2 can it be left
 * and entered again, and not even there does it say what goes into the hash that it
 * wants signed.  So its call runs on a fiber, and the calls that it makes to sign are
 * diverted at link time (-Wl,--wrap, see CMakeLists.txt) to functions of this file,
 * which note what is to be signed and let the fiber wait.  The stack is the fiber's for
 * as long as it waits, and no longer: a handshake that waits for its client has none.
 *
 * Happy path: handshake_sign_run() runs `step`: RC_OK when that has returned, RC_AGAIN
 * while it waits for handshake_sign_wanted(); then handshake_sign_answer(), and
 * handshake_sign_run() again, which goes on inside of `step`.
 *
 * Failure modes: the answer is none (the call that wanted it fails); no answer comes:
 * handshake_sign_abandon() lets it fail, so that `step` returns and Mbed TLS frees and
 * wipes what it has; no memory for a stack: RC_NOMEM. */
#ifndef TLS_FRONT_HANDSHAKE_SIGN_H
#define TLS_FRONT_HANDSHAKE_SIGN_H

#include <mbedtls/pk.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "tls-front/agent/agent_msg.h"

struct fiber;

/* Which key a public one stands for. */
struct handshake_key {
    const mbedtls_pk_context *pk; /* borrowed */
    char id[CONTROL_KEY_SIZE];
};

struct handshake_sign {
    const struct handshake_key *keys; /* borrowed */
    size_t keys_nr;
    int (*step)(void *arg);
    void *arg;

    /* Private. */
    int result;          /* of `step` */
    struct fiber *fiber; /* that waits for a signature; NULL: none does */
    bool answered, abandoned;
    bool refused; /* there was no signature */
    struct agent_sign want;
    struct agent_signed answer;
    /* What Mbed TLS was seen to work with, until it signs. */
    uint8_t client_random[AGENT_RANDOM_SIZE], server_random[AGENT_RANDOM_SIZE];
    uint8_t transcript[AGENT_HASH_MAX], params[AGENT_PARAMS_MAX];
    size_t transcript_len, params_len;
    bool server_random_seen;
};

/* Fills what is not private, all else zero. */
void handshake_sign_init(struct handshake_sign *s, const struct handshake_key *keys, size_t keys_nr,
                         const uint8_t client_random[AGENT_RANDOM_SIZE], int (*step)(void *arg),
                         void *arg);

/* A record that goes out: the first has the server's random. */
void handshake_sign_sent(struct handshake_sign *s, const uint8_t *record, size_t len);

RC_MUST_CHECK enum rc handshake_sign_run(struct handshake_sign *s, int *result);
/* Borrowed until the answer; NULL: nothing. */
const struct agent_sign *handshake_sign_wanted(const struct handshake_sign *s);
void handshake_sign_answer(struct handshake_sign *s, const struct agent_signed *answer);
void handshake_sign_abandon(struct handshake_sign *s); /* idempotent */

#endif
