/* Our handshake messages on their way to the record layer: Mbed TLS makes one record of each,
 * however long; here those that are longer than the client's records may be are cut (RFC 6066, 4;
 * RFC 8449, 4), before anything of them is sealed.
 *
 * Happy path: handshake_messages_init() of a server's context; its messages come through here,
 * diverted at link time (-Wl,--wrap, see CMakeLists.txt).
 *
 * Failure modes: no memory for a copy of the message, and the handshake fails. */
#ifndef TLS_FRONT_HANDSHAKE_MESSAGE_H
#define TLS_FRONT_HANDSHAKE_MESSAGE_H

#include <mbedtls/ssl.h>
#include <stdbool.h>

struct handshake_messages {
    bool certificate; /* was among them: nothing is resumed */
};

/* It is the context's user data from here on. */
void handshake_messages_init(struct handshake_messages *all, mbedtls_ssl_context *ssl);

#endif
