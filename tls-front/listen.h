/* Sockets that the front listens on. */
#ifndef TLS_FRONT_LISTEN_H
#define TLS_FRONT_LISTEN_H

#include <stddef.h>

#include "common/core/rc.h"
#include "tls-front/options.h"

#define LISTEN_TEXT 64

/* `n` TCP sockets (not yet listening) on one address and port, one each into
 * fds[i * stride].  With port 0 the first picks it and *at is changed to it.
 * RC_IO with the reason logged. */
RC_MUST_CHECK enum rc listen_bind(struct options_listen *at, size_t n, int *fds, size_t stride);

/* "127.0.0.1:8443", "[::1]:8443". */
void listen_text(const struct sockaddr_storage *addr, char out[LISTEN_TEXT]);

#endif
