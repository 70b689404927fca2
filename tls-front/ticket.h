/* Session ticket keys: one secret of the front, from which the keys of a period are derived
 * for each scope: a tenant's host name with its certificates (handshake_config.c).
 *
 * The parent makes the secret at its start and moves it on each period by a
 * one-way step, so that what leaks later opens no earlier ticket; workers are
 * given the secret of this period and the last one's, whose tickets are still
 * good.  The keys are a function of secret and scope alone: every worker has the
 * same, a restarted one too (and a restarted front, see ticket_file.h), and a
 * ticket of one scope means nothing to another. */
#ifndef TLS_FRONT_TICKET_H
#define TLS_FRONT_TICKET_H

#include <stdint.h>

#include "common/core/rc.h"

#define TICKET_SECRET_SIZE 32
#define TICKET_NAME_SIZE   4
#define TICKET_KEY_SIZE    32
#define TICKET_SCOPE_SIZE  32

struct ticket_secrets {
    uint8_t now[TICKET_SECRET_SIZE];
    uint8_t before[TICKET_SECRET_SIZE];
};

struct ticket_key {
    uint8_t name[TICKET_NAME_SIZE]; /* goes in clear with each ticket */
    uint8_t key[TICKET_KEY_SIZE];
};

/* Fresh secrets; there is no period before the first. */
void ticket_secrets_init(struct ticket_secrets *s);
/* The next period. */
void ticket_secrets_step(struct ticket_secrets *s);

/* `scope`: a digest of whom a ticket is good for.  RC_NOMEM: and *out is zeroes. */
RC_MUST_CHECK enum rc ticket_derive(const uint8_t secret[TICKET_SECRET_SIZE],
                                    const uint8_t scope[TICKET_SCOPE_SIZE], struct ticket_key *out);

#endif
