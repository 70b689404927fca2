/* A real TLS handshake in this process, and the handover that comes of it: an Mbed
 * TLS server that stops once the handshake is over, as the front does, and the
 * client's end for a test to drive.
 *
 * The happy path is: tls_server_init once; tls_server_begin; the client's
 * handshake step and tls_server_step in turn until both are done;
 * tls_server_end gives the handover.  Every failure fails the test. */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/x509_crt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/handover.h"

/* Bytes on their way from one end to the other. */
struct pipe {
    uint8_t bytes[1 << 18];
    size_t len;
};
void pipe_put(struct pipe *p, const void *bytes, size_t len);
size_t pipe_get(struct pipe *p, void *bytes, size_t size); /* how many there were */
void pipe_drop(struct pipe *p, size_t len);

struct tls_wire {
    struct pipe to_server, to_client;
};

struct tls_server {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    mbedtls_ssl_config conf;
    mbedtls_ssl_ticket_context tickets;
    mbedtls_x509_crt ec_crt, rsa_crt;
    mbedtls_pk_context ec_key, rsa_key;

    /* of the connection in progress */
    mbedtls_ssl_context ssl;
    unsigned tickets_written;
    bool resumed;
    uint8_t secrets[2][HANDOVER_SECRET_MAX]; /* TLS 1.3: client's, server's */
    size_t secret_len;
    uint8_t master[48], randoms[64]; /* TLS 1.2: server's random, client's random */
    mbedtls_tls_prf_types prf;
};

void tls_server_init(struct tls_server *s);
void tls_server_dispose(struct tls_server *s);

void tls_server_begin(struct tls_server *s, struct tls_wire *wire);
bool tls_server_step(struct tls_server *s); /* true: the handshake is over */
/* The handover of the finished handshake; the server's own state is gone. */
void tls_server_end(struct tls_server *s, struct handover *out);

/* Mbed TLS's client, to one suite of one version. */
struct tls_client {
    mbedtls_ssl_config conf;
    mbedtls_ssl_context ssl;
    int suites[2];
};

/* A whole handshake.  `session`: in, resumed from when it is not NULL; out, the
 * ticket of this connection in TLS 1.2 (in TLS 1.3 it comes with the first read). */
void tls_client_connect(struct tls_client *c, struct tls_server *s, struct tls_wire *wire,
                        const struct tls_suite *suite, mbedtls_ssl_session *session,
                        struct handover *out);
void tls_client_dispose(struct tls_client *c);

#endif
