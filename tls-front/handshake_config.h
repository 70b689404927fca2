/* A configuration as handshake.c works with it; handshake.h says what it is for. */
#ifndef TLS_FRONT_HANDSHAKE_CONFIG_H
#define TLS_FRONT_HANDSHAKE_CONFIG_H

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>

#include "tls-front/handshake.h"
#include "tls-front/handshake_sign.h"

#define ALPN_MAX  8
#define ALPN_TEXT 64

struct tls_config {
    unsigned refs;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt chains[TLS_CERTS_MAX];
    struct handshake_key keys[TLS_CERTS_MAX];
    size_t certs;
    mbedtls_ssl_ticket_context tickets;
    uint32_t ticket_lifetime; /* seconds */
    uint8_t scope[TICKET_SCOPE_SIZE];
    char alpn_text[ALPN_TEXT];
    const char *alpn[ALPN_MAX + 1]; /* into alpn_text */
};

/* handshake.c's: whether the connection whose turn it is may have a ticket, or use one. */
mbedtls_ssl_ticket_write_t handshake_write_ticket;
mbedtls_ssl_ticket_parse_t handshake_parse_ticket;

#endif
