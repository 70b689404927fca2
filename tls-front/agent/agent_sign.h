/* The one thing that the key agent does with a private key. */
#ifndef TLS_FRONT_AGENT_SIGN_H
#define TLS_FRONT_AGENT_SIGN_H

#include "common/core/rc.h"
#include "tls-front/agent/agent_key.h"
#include "tls-front/agent/agent_msg.h"

/* Fetches the algorithms, once, before the system call filter. */
RC_MUST_CHECK enum rc agent_sign_open(void);

/* Signs what TLS does with this key, `what` being as agent_msg_decode() lets it
 * through.  RC_DENIED: the key is not one for this scheme; RC_CRYPTO: libcrypto
 * failed. */
RC_MUST_CHECK enum rc agent_sign(const struct agent_key *key, const struct agent_sign *what,
                                 struct agent_signed *out);

#endif
