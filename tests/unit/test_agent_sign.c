/* Private keys in the agent, and what it signs with them: signatures are checked with
 * the public halves, over contents built here anew from the RFCs.
 *
 * Seen to fail: fits() -> true; the context string of TLS 1.3 left out; agent_keys_forget()
 * empty; make_room() empty. */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "scratch.h"
#include "tls-front/agent/agent_arena.h"
#include "tls-front/agent/agent_key.h"
#include "tls-front/agent/agent_sign.h"

static struct scratch scratch;

static int set_up(void **state)
{
    (void)state;
    scratch_make(&scratch);
    assert_int_equal(
        scratch_sh(
            &scratch,
            "ec() { openssl ecparam -name $2 -genkey -noout -out $1.pem; };"
            "rsa() { openssl genrsa -traditional -out $1.pem $2; };"
            "ec p256 prime256v1 && ec p384 secp384r1 && ec k1 secp256k1 && rsa rsa 2048 &&"
            "rsa small 1024 && rsa large 3072 && openssl genpkey -algorithm ed25519 -out ed.pem &&"
            "openssl pkcs8 -topk8 -nocrypt -in p256.pem -out pkcs8.pem &&"
            "openssl pkey -in p256.pem -aes128 -passout pass:x -out locked.pem &&"
            "echo nothing >text.pem && : >empty.pem && head -c 70000 /dev/zero >long.pem &&"
            "for k in p256 p384 rsa large; do openssl pkey -in $k.pem -pubout -out $k.pub; done"),
        0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static int open_file(const char *name)
{
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/%s", scratch.dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static enum rc load(const char *id, const char *name)
{
    int fd = open_file(name);
    enum rc rc = agent_keys_load(id, fd);

    close(fd);
    return rc;
}

static struct agent_sign want(uint8_t kind, uint16_t scheme)
{
    struct agent_sign s = {.kind = kind, .scheme = scheme};

    if (kind == AGENT_TLS13) {
        s.len = 48;
        memset(s.hash, 0x5a, 48);
    } else {
        s.len = 36;
        memset(s.client_random, 1, 32);
        memset(s.server_random, 2, 32);
        memcpy(s.params, "\x03\x00\x1d\x20", 4);
        memset(s.params + 4, 3, 32);
    }
    return s;
}

/* As a client does: the content, of the RFC's words, against the public key. */
static bool verifies(const char *pub, const struct agent_sign *s, const struct agent_signed *sig)
{
    uint8_t content[256];
    size_t n = 0;
    const EVP_MD *md = s->scheme >> 8 == 4 || s->scheme == 0x0804   ? EVP_sha256()
                       : s->scheme >> 8 == 5 || s->scheme == 0x0805 ? EVP_sha384()
                                                                    : EVP_sha512();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key;
    EVP_PKEY *pkey;
    char path[128];
    FILE *f;
    int r;

    if (s->kind == AGENT_TLS13) {
        memset(content, 0x20, 64);
        memcpy(content + 64, "TLS 1.3, server CertificateVerify", 34);
        memcpy(content + 98, s->hash, s->len);
        n = 98u + s->len;
    } else {
        memcpy(content, s->client_random, 32);
        memcpy(content + 32, s->server_random, 32);
        memcpy(content + 64, s->params, s->len);
        n = 64u + s->len;
    }
    snprintf(path, sizeof path, "%s/%s.pub", scratch.dir, pub);
    f = fopen(path, "r");
    assert_non_null(f);
    pkey = PEM_read_PUBKEY(f, NULL, NULL, NULL);
    fclose(f);
    assert_int_equal(EVP_DigestVerifyInit(ctx, &key, md, NULL, pkey), 1);
    if (s->scheme >> 8 == 8) {
        EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST);
    }
    r = EVP_DigestVerify(ctx, sig->signature, sig->len, content, n);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return r == 1;
}

static void each_key_signs_with_its_schemes_and_no_other(void **state)
{
    static const struct {
        uint16_t scheme;
        uint8_t kind;
        bool p256, p384, rsa;
    } cases[] = {
        {AGENT_ECDSA_SHA256, AGENT_TLS13, true, false, false},
        {AGENT_ECDSA_SHA384, AGENT_TLS13, false, true, false},
        {AGENT_RSA_PSS_SHA256, AGENT_TLS13, false, false, true},
        {AGENT_RSA_PSS_SHA384, AGENT_TLS13, false, false, true},
        {AGENT_RSA_PSS_SHA512, AGENT_TLS13, false, false, true},
        {AGENT_ECDSA_SHA256, AGENT_TLS12, true, true, false},
        {AGENT_ECDSA_SHA384, AGENT_TLS12, true, true, false},
        {AGENT_RSA_PKCS1_SHA256, AGENT_TLS12, false, false, true},
        {AGENT_RSA_PKCS1_SHA384, AGENT_TLS12, false, false, true},
        {AGENT_RSA_PKCS1_SHA512, AGENT_TLS12, false, false, true},
    };
    static const char *const names[] = {"p256", "p384", "rsa", "large"};
    char file[32];

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        snprintf(file, sizeof file, "%s.pem", names[k]);
        assert_int_equal(load(names[k], file), RC_OK);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct agent_sign s = want(cases[i].kind, cases[i].scheme);
            struct agent_signed sig = {0};
            bool may = k == 0 ? cases[i].p256 : k == 1 ? cases[i].p384 : cases[i].rsa;

            assert_int_equal(agent_sign(agent_keys_find(names[k]), &s, &sig),
                             may ? RC_OK : RC_DENIED);
            assert_int_equal(may && verifies(names[k], &s, &sig), may);
            /* The content counts: a bit of it changed, and the signature is another's. */
            s.kind == AGENT_TLS13 ? (s.hash[47] ^= 1) : (s.params[35] ^= 1);
            assert_false(may && verifies(names[k], &s, &sig));
        }
    }
}

static void what_is_no_key_for_the_front_is_refused(void **state)
{
    static const struct {
        const char *name;
        enum rc rc;
    } cases[] = {
        {"pkcs8.pem", RC_OK},          {"k1.pem", RC_UNSUPPORTED},
        {"small.pem", RC_UNSUPPORTED}, {"ed.pem", RC_UNSUPPORTED},
        {"locked.pem", RC_INVAL},      {"text.pem", RC_INVAL},
        {"empty.pem", RC_INVAL},       {"long.pem", RC_INVAL},
        {"p256.pub", RC_INVAL},        {".", RC_INVAL},
    };
    size_t used;

    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        used = agent_arena_used();
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            assert_int_equal(load("x", cases[i].name), cases[i].rc);
            assert_int_equal(agent_keys_find("x") != NULL, cases[i].rc == RC_OK);
            agent_keys_forget("x");
        }
    }
    assert_int_equal(agent_arena_used(), used); /* the first turn may load algorithms */
}

static void a_key_that_is_forgotten_is_gone(void **state)
{
    size_t used = agent_arena_used();

    (void)state;
    assert_int_equal(load("gone", "p256.pem"), RC_OK);
    assert_true(agent_arena_used() > used);
    agent_keys_forget("gone");
    assert_null(agent_keys_find("gone"));
    assert_int_equal(agent_arena_used(), used);
    agent_keys_forget("gone");
}

/* More keys than are kept: the last ones are there, and the one in use stays. */
static void the_least_recently_used_make_room(void **state)
{
    char id[CONTROL_KEY_SIZE];

    (void)state;
    assert_int_equal(load("mine", "p384.pem"), RC_OK);
    for (int n = 0; n < AGENT_KEYS_MAX + 100; n++) {
        snprintf(id, sizeof id, "k%d", n);
        assert_int_equal(load(id, "p256.pem"), RC_OK);
        assert_non_null(agent_keys_find(id));
        assert_non_null(agent_keys_find("mine"));
    }
    assert_int_equal(agent_keys_count(), AGENT_KEYS_MAX);
    assert_null(agent_keys_find("k0"));
    print_message("%u keys, %zu of %zu KiB\n", agent_keys_count(), agent_arena_used() >> 10,
                  agent_arena_size() >> 10);
    for (int n = 0; n < AGENT_KEYS_MAX + 100; n++) {
        snprintf(id, sizeof id, "k%d", n);
        agent_keys_forget(id);
    }
    agent_keys_forget("mine");
}

/* RSA keys that have signed take the most memory, and there is not enough for as many
 * as may be kept: none is refused, and none fails to sign. */
static void memory_that_runs_short_is_made_room_in(void **state)
{
    struct agent_sign s = want(AGENT_TLS13, AGENT_RSA_PSS_SHA256);
    struct agent_signed sig;
    char id[CONTROL_KEY_SIZE];
    int n;

    (void)state;
    for (n = 0; n < AGENT_KEYS_MAX && agent_keys_count() == (unsigned)n; n++) {
        snprintf(id, sizeof id, "k%d", n);
        assert_int_equal(load(id, "rsa.pem"), RC_OK);
        assert_int_equal(agent_sign(agent_keys_find(id), &s, &sig), RC_OK);
        assert_non_null(agent_keys_find("k0")); /* it is in use */
    }
    print_message("room for %d RSA keys of 2048 bits\n", n);
    assert_true(n < AGENT_KEYS_MAX); /* else there was no need to make room */
    assert_null(agent_keys_find("k1"));
    assert_true(agent_arena_used() < agent_arena_size());
}

/* There is one arena in a process: in this one there is little room. */
static void in_a_small_memory_too(void **state)
{
    char command[256];

    (void)state;
    snprintf(command, sizeof command, "/proc/$PPID/exe %s", scratch.dir);
    assert_int_equal(system(command), 0);
}

static int small(const char *dir)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_runs_short_is_made_room_in),
    };

    strcpy(scratch.dir, dir);
    if (agent_keys_open(20, true) || agent_sign_open())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_signs_with_its_schemes_and_no_other),
        cmocka_unit_test(what_is_no_key_for_the_front_is_refused),
        cmocka_unit_test(a_key_that_is_forgotten_is_gone),
        cmocka_unit_test(the_least_recently_used_make_room),
        cmocka_unit_test(in_a_small_memory_too),
    };

    if (argc > 1)
        return small(argv[1]);
    if (agent_keys_open(AGENT_ARENA_ORDER, true) || agent_sign_open())
        return 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
