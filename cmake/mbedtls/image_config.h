/* Mbed TLS 3.6 for the image: what the tenant's own record layer stands on, nothing else. No TLS,
 * no certificates, no public keys, no sockets, no files, no randomness of its own.
 * Change it, then run scripts/setup: the library is built again. */
#ifndef ROOMKEY_MBEDTLS_CONFIG_H
#define ROOMKEY_MBEDTLS_CONFIG_H

#define MBEDTLS_HAVE_ASM

#define MBEDTLS_AES_C
#define MBEDTLS_AESNI_C
#define MBEDTLS_GCM_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_CHACHAPOLY_C

#define MBEDTLS_MD_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA384_C
#define MBEDTLS_SHA512_C
#define MBEDTLS_HKDF_C

#endif
