/* Public keys through PSA, where the front has X25519 diverted.
 *
 * Seen to fail: another base point in x25519.c; every kind of key taken there. */
#include <psa/crypto.h>
#include <string.h>

#include "unit.h"

static void import(const uint8_t *secret, psa_key_type_t type, size_t bits, psa_key_id_t *key)
{
    psa_key_attributes_t a = PSA_KEY_ATTRIBUTES_INIT;

    psa_set_key_type(&a, type);
    psa_set_key_bits(&a, bits);
    psa_set_key_usage_flags(&a, PSA_KEY_USAGE_DERIVE);
    psa_set_key_algorithm(&a, PSA_ALG_ECDH);
    if (secret)
        assert_int_equal(psa_import_key(&a, secret, (bits + 7) / 8, key), PSA_SUCCESS);
    else
        assert_int_equal(psa_generate_key(&a, key), PSA_SUCCESS);
}

/* RFC 7748, 6.1. */
static void the_keys_of_alice_and_bob_are_the_rfcs(void **state)
{
    static const uint8_t alice[32] =
        "\x77\x07\x6d\x0a\x73\x18\xa5\x7d\x3c\x16\xc1\x72\x51\xb2\x66\x45"
        "\xdf\x4c\x2f\x87\xeb\xc0\x99\x2a\xb1\x77\xfb\xa5\x1d\xb9\x2c\x2a";
    static const uint8_t bob[32] =
        "\x5d\xab\x08\x7e\x62\x4a\x8a\x4b\x79\xe1\x7f\x8b\x83\x80\x0e\xe6"
        "\x6f\x3b\xb1\x29\x26\x18\xb6\xfd\x1c\x2f\x8b\x27\xff\x88\xe0\xeb";
    static const uint8_t alice_public[32] =
        "\x85\x20\xf0\x09\x89\x30\xa7\x54\x74\x8b\x7d\xdc\xb4\x3e\xf7\x5a"
        "\x0d\xbf\x3a\x0d\x26\x38\x1a\xf4\xeb\xa4\xa9\x8e\xaa\x9b\x4e\x6a";
    static const uint8_t bob_public[32] =
        "\xde\x9e\xdb\x7d\x7b\x7d\xc1\xb4\xd3\x5b\x61\xc2\xec\xe4\x35\x37"
        "\x3f\x83\x43\xc8\x5b\x78\x67\x4d\xad\xfc\x7e\x14\x6f\x88\x2b\x4f";
    static const uint8_t shared[32] =
        "\x4a\x5d\x9d\x5b\xa4\xce\x2d\xe1\x72\x8e\x3b\xf4\x80\x35\x0f\x25"
        "\xe0\x7e\x21\xc9\x47\xd1\x9e\x33\x76\xf0\x9b\x3c\x1e\x16\x17\x42";
    psa_key_type_t type = PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_MONTGOMERY);
    psa_key_id_t a, b;
    uint8_t out[32];
    size_t len;

    (void)state;
    import(alice, type, 255, &a);
    import(bob, type, 255, &b);
    assert_int_equal(psa_export_public_key(a, out, sizeof out, &len), PSA_SUCCESS);
    assert_int_equal(len, 32);
    assert_memory_equal(out, alice_public, 32);
    assert_int_equal(psa_export_public_key(b, out, sizeof out, &len), PSA_SUCCESS);
    assert_memory_equal(out, bob_public, 32);
    assert_int_equal(psa_raw_key_agreement(PSA_ALG_ECDH, a, bob_public, 32, out, sizeof out, &len),
                     PSA_SUCCESS);
    assert_memory_equal(out, shared, 32);
    assert_int_equal(psa_export_public_key(a, out, 31, &len), PSA_ERROR_BUFFER_TOO_SMALL);
    psa_destroy_key(a);
    psa_destroy_key(b);
}

static void two_of_any_kind_agree(void **state)
{
    static const struct {
        psa_ecc_family_t family;
        size_t bits;
    } kinds[] = {{PSA_ECC_FAMILY_MONTGOMERY, 255},
                 {PSA_ECC_FAMILY_SECP_R1, 256},
                 {PSA_ECC_FAMILY_SECP_R1, 384}};

    (void)state;
    for (int turn = 0; turn < 30; turn++) {
        uint8_t public[2][97], secret[2][48];
        size_t public_len[2], secret_len[2];
        psa_key_id_t key[2];

        for (int i = 0; i < 2; i++) {
            import(NULL, PSA_KEY_TYPE_ECC_KEY_PAIR(kinds[turn % 3].family), kinds[turn % 3].bits,
                   &key[i]);
            assert_int_equal(
                psa_export_public_key(key[i], public[i], sizeof public[i], &public_len[i]),
                PSA_SUCCESS);
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(psa_raw_key_agreement(PSA_ALG_ECDH, key[i], public[1 - i],
                                                   public_len[1 - i], secret[i], sizeof secret[i],
                                                   &secret_len[i]),
                             PSA_SUCCESS);
        assert_int_equal(secret_len[0], secret_len[1]);
        assert_memory_equal(secret[0], secret[1], secret_len[0]);
        psa_destroy_key(key[0]);
        psa_destroy_key(key[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_of_alice_and_bob_are_the_rfcs),
        cmocka_unit_test(two_of_any_kind_agree),
    };

    if (psa_crypto_init() != PSA_SUCCESS)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
