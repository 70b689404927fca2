#include "tls-front/handshake_message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/secret.h"

#define HEAD_SIZE 4u
#define FLUSH     1

int mbedtls_ssl_write_record(mbedtls_ssl_context *ssl, int flush);
int mbedtls_ssl_add_hs_msg_to_checksum(mbedtls_ssl_context *ssl, unsigned type,
                                       const unsigned char *body, size_t len);
int __real_mbedtls_ssl_write_handshake_msg_ext(mbedtls_ssl_context *ssl, int checksum, int flush);
int __wrap_mbedtls_ssl_write_handshake_msg_ext(mbedtls_ssl_context *ssl, int checksum, int flush);
int __wrap_mbedtls_ssl_finish_handshake_msg(mbedtls_ssl_context *ssl, size_t size, size_t len);

void handshake_messages_init(struct handshake_messages *all, mbedtls_ssl_context *ssl)
{
    *all = (struct handshake_messages){0};
    mbedtls_ssl_set_user_data_p(ssl, all);
}

/* The hellos are what the limit is agreed on with, and short. */
static bool is_too_long(const mbedtls_ssl_context *ssl)
{
    int most = mbedtls_ssl_get_max_out_record_payload(ssl);

    return ssl->MBEDTLS_PRIVATE(out_msgtype) == MBEDTLS_SSL_MSG_HANDSHAKE &&
           ssl->MBEDTLS_PRIVATE(out_msg)[0] > MBEDTLS_SSL_HS_SERVER_HELLO && most > 0 &&
           ssl->MBEDTLS_PRIVATE(out_msglen) > (size_t)most;
}

/* Each record is sealed where it stands, and what is behind it overwritten. */
static int write_in_pieces(mbedtls_ssl_context *ssl, const uint8_t *message, size_t len)
{
    size_t most = (size_t)mbedtls_ssl_get_max_out_record_payload(ssl);
    int r = 0;

    for (size_t at = 0, n; r == 0 && at < len; at += n) {
        n = len - at < most ? len - at : most;
        memcpy(ssl->MBEDTLS_PRIVATE(out_msg), message + at, n);
        ssl->MBEDTLS_PRIVATE(out_msglen) = n;
        ssl->MBEDTLS_PRIVATE(out_msgtype) = MBEDTLS_SSL_MSG_HANDSHAKE;
        r = mbedtls_ssl_write_record(ssl, FLUSH);
    }
    return r;
}

static int cut(mbedtls_ssl_context *ssl, int checksum)
{
    uint8_t *head = ssl->MBEDTLS_PRIVATE(out_msg), *copy;
    size_t len = ssl->MBEDTLS_PRIVATE(out_msglen), body = len - HEAD_SIZE;
    int r = 0;

    head[1] = (uint8_t)(body >> 16);
    head[2] = (uint8_t)(body >> 8);
    head[3] = (uint8_t)body;
    if (checksum)
        r = mbedtls_ssl_add_hs_msg_to_checksum(ssl, head[0], head + HEAD_SIZE, body);
    if (r)
        return r;
    copy = malloc(len);
    if (!copy)
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    memcpy(copy, head, len);
    r = write_in_pieces(ssl, copy, len);
    secret_wipe(copy, len); /* it may be a ticket's */
    free(copy);
    return r;
}

int __wrap_mbedtls_ssl_write_handshake_msg_ext(mbedtls_ssl_context *ssl, int checksum, int flush)
{
    struct handshake_messages *all = mbedtls_ssl_get_user_data_p(ssl);

    if (all && ssl->MBEDTLS_PRIVATE(out_msgtype) == MBEDTLS_SSL_MSG_HANDSHAKE &&
        ssl->MBEDTLS_PRIVATE(out_msg)[0] == MBEDTLS_SSL_HS_CERTIFICATE)
        all->certificate = true;
    return is_too_long(ssl) ? cut(ssl, checksum)
                            : __real_mbedtls_ssl_write_handshake_msg_ext(ssl, checksum, flush);
}

/* TLS 1.3's way there: the message is in the transcript already. */
int __wrap_mbedtls_ssl_finish_handshake_msg(mbedtls_ssl_context *ssl, size_t size, size_t len)
{
    (void)size;
    ssl->MBEDTLS_PRIVATE(out_msglen) = HEAD_SIZE + len;
    return __wrap_mbedtls_ssl_write_handshake_msg_ext(ssl, 0, 0);
}
