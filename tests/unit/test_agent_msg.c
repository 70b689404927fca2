/* What a worker may ask of the key agent, there and back, cut short, and refused.
 *
 * Seen to fail: `is_params() -> true` and `is_scheme_13() -> true` in agent_msg.c. */
#include <string.h>

#include "tls-front/agent/agent_msg.h"
#include "unit.h"

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct agent_msg sign_13(uint16_t scheme, uint8_t len)
{
    struct agent_msg m = {.type = AGENT_SIGN, .request = 7};

    strcpy(m.sign.key, KEY);
    m.sign.kind = AGENT_TLS13;
    m.sign.scheme = scheme;
    m.sign.len = len;
    memset(m.sign.hash, 0xab, len);
    return m;
}

/* Params of this group, with a point of `len` bytes that begins with `first`. */
static struct agent_msg sign_12(uint16_t scheme, uint16_t group, uint8_t len, uint8_t first)
{
    struct agent_msg m = {.type = AGENT_SIGN, .request = 7};

    strcpy(m.sign.key, KEY);
    m.sign.kind = AGENT_TLS12;
    m.sign.scheme = scheme;
    memset(m.sign.client_random, 1, sizeof m.sign.client_random);
    memset(m.sign.server_random, 2, sizeof m.sign.server_random);
    m.sign.len = (uint8_t)(4 + len);
    m.sign.params[0] = 3;
    m.sign.params[1] = (uint8_t)(group >> 8);
    m.sign.params[2] = (uint8_t)group;
    m.sign.params[3] = len;
    memset(m.sign.params + 4, 5, len);
    m.sign.params[4] = first;
    return m;
}

static enum rc through(const struct agent_msg *m, struct agent_msg *out)
{
    uint8_t buf[AGENT_MSG_MAX];
    size_t len;

    assert_int_equal(agent_msg_encode(m, buf, sizeof buf, &len), RC_OK);
    return agent_msg_decode(buf, len, out);
}

static struct agent_msg sample(int n)
{
    struct agent_msg m = {.type = AGENT_PREPARE};

    switch (n) {
    case 0:
        strcpy(m.key, KEY);
        return m;
    case 1:
        return sign_13(AGENT_RSA_PSS_SHA512, 48);
    case 2:
        return sign_12(AGENT_RSA_PKCS1_SHA256, 0x0018, 97, 4);
    case 3:
        m = (struct agent_msg){.type = AGENT_SIGNED, .request = 9};
        m.done.len = AGENT_SIGNATURE_MAX;
        memset(m.done.signature, 3, sizeof m.done.signature);
        return m;
    default:
        m = (struct agent_msg){.type = AGENT_SIGNED, .request = 9};
        m.done.rc = RC_DENIED;
        return m;
    }
}

static void each_message_comes_back_as_it_was(void **state)
{
    uint8_t buf[AGENT_MSG_MAX], again[AGENT_MSG_MAX];
    size_t len, len2;

    (void)state;
    for (int n = 0; n < 5; n++) {
        struct agent_msg m = sample(n), out;

        assert_int_equal(agent_msg_encode(&m, buf, sizeof buf, &len), RC_OK);
        assert_int_equal(agent_msg_decode(buf, len, &out), RC_OK);
        assert_int_equal(agent_msg_encode(&out, again, sizeof again, &len2), RC_OK);
        assert_int_equal(len, len2);
        assert_memory_equal(buf, again, len);
    }
}

static void a_message_cut_short_or_with_a_byte_behind_it_is_malformed(void **state)
{
    uint8_t buf[AGENT_MSG_MAX];
    size_t len;

    (void)state;
    for (int n = 0; n < 5; n++) {
        struct agent_msg m = sample(n), out;

        assert_int_equal(agent_msg_encode(&m, buf, sizeof buf - 1, &len), RC_OK);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(agent_msg_decode(buf, cut, &out), RC_MALFORMED);
        buf[len] = 0;
        assert_int_equal(agent_msg_decode(buf, len + 1, &out), RC_MALFORMED);
    }
}

static void each_scheme_is_for_its_version_of_tls_alone(void **state)
{
    static const struct {
        uint16_t scheme;
        bool in_13, in_12;
    } cases[] = {
        {AGENT_ECDSA_SHA256, true, true},
        {AGENT_ECDSA_SHA384, true, true},
        {AGENT_RSA_PSS_SHA256, true, false},
        {AGENT_RSA_PSS_SHA384, true, false},
        {AGENT_RSA_PSS_SHA512, true, false},
        {AGENT_RSA_PKCS1_SHA256, false, true},
        {AGENT_RSA_PKCS1_SHA384, false, true},
        {AGENT_RSA_PKCS1_SHA512, false, true},
        {0x0201, false, false}, /* rsa_pkcs1_sha1 */
        {0x0203, false, false}, /* ecdsa_sha1 */
        {0x0101, false, false}, /* MD5 */
        {0x0603, false, false}, /* ecdsa_secp521r1_sha512: the front offers no such curve */
        {0x0807, false, false}, /* ed25519: it signs what it is given */
        {0x0809, false, false}, /* rsa_pss_pss_sha256 */
        {0, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct agent_msg a = sign_13(cases[i].scheme, 32), out;
        struct agent_msg b = sign_12(cases[i].scheme, 0x001d, 32, 5);

        assert_int_equal(through(&a, &out), cases[i].in_13 ? RC_OK : RC_MALFORMED);
        assert_int_equal(through(&b, &out), cases[i].in_12 ? RC_OK : RC_MALFORMED);
    }
}

static void only_a_hash_of_a_transcript_is_taken_in_tls_13(void **state)
{
    (void)state;
    for (uint8_t len = 0; len <= AGENT_HASH_MAX; len++) {
        struct agent_msg m = sign_13(AGENT_ECDSA_SHA256, len), out;

        assert_int_equal(through(&m, &out), len == 32 || len == 48 ? RC_OK : RC_MALFORMED);
    }
}

/* Whatever else is signed with the key, in any protocol, does not begin so. */
static void only_the_params_of_a_key_exchange_are_taken_in_tls_12(void **state)
{
    static const struct {
        uint16_t group;
        uint8_t len, first;
        enum rc want;
    } cases[] =
        {
            {0x0017, 65, 4, RC_OK},        {0x0018, 97, 4, RC_OK},
            {0x001d, 32, 0x99, RC_OK},     {0x0017, 64, 4, RC_MALFORMED}, /* another length */
            {0x0017, 66, 4, RC_MALFORMED}, {0x0018, 65, 4, RC_MALFORMED},
            {0x001d, 33, 4, RC_MALFORMED}, {0x001d, 1, 4, RC_MALFORMED},
            {0x0017, 65, 2, RC_MALFORMED}, /* a compressed point's form */
            {0x0019, 97, 4, RC_MALFORMED}, /* P-521 is not offered */
            {0x001e, 56, 4, RC_MALFORMED}, /* nor X448 */
            {0x0000, 32, 4, RC_MALFORMED},
        };
    struct agent_msg m, out;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m = sign_12(AGENT_ECDSA_SHA256, cases[i].group, cases[i].len, cases[i].first);
        assert_int_equal(through(&m, &out), cases[i].want);
    }
    /* Explicit curves; a length that the params do not have; nothing. */
    m = sign_12(AGENT_ECDSA_SHA256, 0x0017, 65, 4);
    m.sign.params[0] = 1;
    assert_int_equal(through(&m, &out), RC_MALFORMED);
    m = sign_12(AGENT_ECDSA_SHA256, 0x001d, 32, 4);
    m.sign.len--;
    assert_int_equal(through(&m, &out), RC_MALFORMED);
    for (m.sign.len = 0; m.sign.len < 5; m.sign.len++)
        assert_int_equal(through(&m, &out), RC_MALFORMED);
}

static void a_key_has_a_name_that_can_be_one(void **state)
{
    static const char *const names[] = {
        "",
        "../../etc/shadow",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
        "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "0123456789abcdef/123456789abcdef0123456789abcdef0123456789abcdef",
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct agent_msg m = sign_13(AGENT_ECDSA_SHA256, 32), out;
        struct agent_msg p = {.type = AGENT_PREPARE};

        strcpy(m.sign.key, names[i]);
        strcpy(p.key, names[i]);
        assert_int_equal(through(&m, &out), RC_MALFORMED);
        assert_int_equal(through(&p, &out), RC_MALFORMED);
    }
}

static void an_answer_is_a_signature_or_a_reason(void **state)
{
    struct agent_msg m = sample(3), out;

    (void)state;
    m.done.rc = RC_CRYPTO;
    assert_int_equal(through(&m, &out), RC_MALFORMED);
    m.done.rc = RC_OK;
    m.done.len = 0;
    assert_int_equal(through(&m, &out), RC_MALFORMED);
    m.done.rc = RC_NR;
    assert_int_equal(through(&m, &out), RC_MALFORMED);
    assert_int_equal(agent_msg_decode("\x04", 1, &out), RC_MALFORMED);
    assert_int_equal(agent_msg_decode("", 0, &out), RC_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_comes_back_as_it_was),
        cmocka_unit_test(a_message_cut_short_or_with_a_byte_behind_it_is_malformed),
        cmocka_unit_test(each_scheme_is_for_its_version_of_tls_alone),
        cmocka_unit_test(only_a_hash_of_a_transcript_is_taken_in_tls_13),
        cmocka_unit_test(only_the_params_of_a_key_exchange_are_taken_in_tls_12),
        cmocka_unit_test(a_key_has_a_name_that_can_be_one),
        cmocka_unit_test(an_answer_is_a_signature_or_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
