/* The public half of an X25519 key, by Everest.
 *
 * Mbed TLS has Everest's X25519, verified and ten times as fast as its own, and uses it for
 * the shared secret, but not for the key share of TLS 1.3: that goes through PSA, whose
 * built-in code does not know of it.  So the one call of PSA that makes a public key from
 * a private one is diverted here at link time (-Wl,--wrap, see CMakeLists.txt); keys of
 * other kinds go on to where they went. */
#include <mbedtls/ecp.h> /* whose types the next one wants */

#include <everest/x25519.h>
#include <mbedtls/platform_util.h>
#include <psa/crypto.h>
#include <string.h>

psa_status_t __real_mbedtls_psa_ecp_export_public_key(const psa_key_attributes_t *attributes,
                                                      const uint8_t *key, size_t key_len,
                                                      uint8_t *data, size_t size, size_t *len);
psa_status_t __wrap_mbedtls_psa_ecp_export_public_key(const psa_key_attributes_t *attributes,
                                                      const uint8_t *key, size_t key_len,
                                                      uint8_t *data, size_t size, size_t *len);

psa_status_t __wrap_mbedtls_psa_ecp_export_public_key(const psa_key_attributes_t *attributes,
                                                      const uint8_t *key, size_t key_len,
                                                      uint8_t *data, size_t size, size_t *len)
{
    /* The public half is the secret that is shared with whoever has the base point. */
    mbedtls_x25519_context ctx = {.peer_point = {9}};
    int r;

    if (psa_get_key_type(attributes) != PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_MONTGOMERY) ||
        key_len != sizeof ctx.our_secret)
        return __real_mbedtls_psa_ecp_export_public_key(attributes, key, key_len, data, size, len);
    memcpy(ctx.our_secret, key, key_len);
    r = mbedtls_x25519_calc_secret(&ctx, len, data, size, NULL, NULL);
    mbedtls_platform_zeroize(&ctx, sizeof ctx);
    return r == 0 ? PSA_SUCCESS : PSA_ERROR_BUFFER_TOO_SMALL;
}
