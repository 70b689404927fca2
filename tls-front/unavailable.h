/* What a client is told when its tenant has no instance: a small 503 page, in the
 * TLS session that the front still holds the keys of. */
#ifndef TLS_FRONT_UNAVAILABLE_H
#define TLS_FRONT_UNAVAILABLE_H

#include "tls-front/conn.h"

/* The handshake is over and nothing was handed over.  The request is not read:
 * the answer is the same for each, and then the connection ends. */
void unavailable_answer(struct conn *c);

#endif
