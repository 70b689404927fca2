/* No key outlives its use: another process is the tenant, and all of its memory is
 * searched for the secret, key, IV and (AES-GCM) hash key of each generation.
 *
 * Each search is known to work, since it finds the generation that is in use.  Seen to
 * fail with each of these taken out: in record_key.c derive's wipe of the key,
 * record_key_update's and record_key_wipe's aead_dispose, both wipes of a nonce; in aead.c
 * mbedtls_gcm_free and each wipe of the stack; the wipes of a direction that is over in
 * record.c (put_last, record_fail, record_dispose) and record_read.c (both). */
#include <mbedtls/aes.h>
#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/secret.h"
#include "tenant-runtime/runtime/record.h"
#include "tests/unit/memory_search.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/unit.h"

#define MESSAGE_MAX 4096

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/*----- the tenant -----*/

/* What the first byte of a message asks for; the rest is its argument. */
enum { TAKE_HANDOVER, READ, CLOSE, FAIL, DISPOSE };

static void tenant_do(struct record *r, uint8_t *message, size_t len)
{
    struct handover h;
    uint8_t *data;
    size_t used, data_len;

    switch (message[0]) {
    case TAKE_HANDOVER: /* as channel.c does */
        if (handover_decode(message + 1, len - 1, &h) || record_init(r, &h))
            _exit(1);
        handover_wipe(&h);
        break;
    case READ:
        (void)!record_read(r, message + 1, len - 1, &used, &data, &data_len);
        break;
    case CLOSE:
        record_close(r);
        break;
    case FAIL:
        record_fail(r, TLS_INTERNAL_ERROR);
        break;
    case DISPOSE:
        record_dispose(r);
        break;
    default:
        _exit(1);
    }
}

/* Answers each message with what it has to send, behind a byte. */
__attribute__((noreturn)) static void be_tenant(int fd)
{
    static struct record r;
    static uint8_t message[MESSAGE_MAX], out[MESSAGE_MAX];
    size_t used, written;
    ssize_t n;

    while ((n = recv(fd, message, sizeof message, 0)) > 0) {
        tenant_do(&r, message, (size_t)n);
        secret_wipe(message, sizeof message);
        written = 0;
        if (record_pending(&r))
            (void)!record_write(&r, 1, NULL, 0, &used, out + 1, sizeof out - 1, &written);
        if (send(fd, out, written + 1, MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}

static pid_t tenant_pid;
static int to_tenant;

static int start_tenant(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    tenant_pid = fork();
    assert_true(tenant_pid >= 0);
    if (tenant_pid == 0) {
        close(fds[0]);
        be_tenant(fds[1]);
    }
    close(fds[1]);
    to_tenant = fds[0];
    return 0;
}

static int stop_tenant(void **state)
{
    int status;

    (void)state;
    close(to_tenant);
    assert_int_equal(waitpid(tenant_pid, &status, 0), tenant_pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

/* The answer's length, without its first byte. */
static size_t ask(uint8_t what, const void *arg, size_t len, uint8_t *answer)
{
    uint8_t message[MESSAGE_MAX];
    ssize_t n;

    assert_true(len < sizeof message);
    message[0] = what;
    memcpy(message + 1, arg, len);
    assert_int_equal(send(to_tenant, message, len + 1, MSG_NOSIGNAL), len + 1);
    n = recv(to_tenant, message, sizeof message, 0);
    assert_true(n > 0);
    memcpy(answer, message + 1, (size_t)n - 1);
    return (size_t)n - 1;
}

/*----- what must not be found -----*/

struct needles {
    const char *whose;
    const struct tls_suite *suite;
    uint8_t secret[HANDOVER_SECRET_MAX], key[HANDOVER_KEY_MAX], iv[HANDOVER_IV_SIZE];
    uint8_t hash_key[2][16]; /* as gcm.c keeps it: as bytes, or without AES-NI as two numbers */
};

static void expand_key(struct needles *n)
{
    uint8_t info[] = "\0\0\x09tls13 key"; /* the NUL at its end is the empty context */

    info[1] = n->suite->key_len;
    assert_int_equal(
        mbedtls_hkdf_expand(mbedtls_md_info_from_type(n->suite->hash_len == 48 ? MBEDTLS_MD_SHA384
                                                                               : MBEDTLS_MD_SHA256),
                            n->secret, n->suite->hash_len, info, sizeof info, n->key,
                            n->suite->key_len),
        0);
}

static void compute_hash_key(struct needles *n)
{
    uint8_t zero[16] = {0}, *h = n->hash_key[0];
    mbedtls_aes_context aes;

    mbedtls_aes_init(&aes);
    assert_int_equal(mbedtls_aes_setkey_enc(&aes, n->key, n->suite->key_len * 8u), 0);
    assert_int_equal(mbedtls_aes_crypt_ecb(&aes, MBEDTLS_AES_ENCRYPT, zero, h), 0);
    mbedtls_aes_free(&aes);
    for (int i = 0; i < 8; i++) {
        n->hash_key[1][i] = h[7 - i];
        n->hash_key[1][8 + i] = h[15 - i];
    }
}

/* Of one direction as it stands; `side`: of a handover, in TLS 1.2. */
static struct needles needles_of(const char *whose, const struct record_key *k,
                                 const struct handover_side *side)
{
    struct needles n = {.whose = whose, .suite = k->suite};

    memcpy(n.iv, k->iv, sizeof n.iv);
    if (k->suite->version == TLS_1_3) {
        memcpy(n.secret, k->secret, k->suite->hash_len);
        expand_key(&n);
    } else {
        memcpy(n.key, side->key, side->key_len);
    }
    if (!k->suite->chacha)
        compute_hash_key(&n);
    return n;
}

static void expect_one(bool there, const char *whose, const char *what, const void *p, size_t len)
{
    if (memory_has(tenant_pid, p, len) != there)
        fail_msg("%s's %s is %s the tenant's memory", whose, what, there ? "not in" : "still in");
}

static void expect(bool there, const struct needles *n)
{
    if (n->suite->version == TLS_1_3)
        expect_one(there, n->whose, "secret", n->secret, n->suite->hash_len);
    for (size_t at = 0; at < n->suite->key_len; at += 16) /* a vector register spills so much */
        expect_one(there, n->whose, "key", n->key + at, 16);
    if (n->suite->version == TLS_1_3 || n->suite->chacha) /* AES-GCM has 4 bytes in 1.2 */
        expect_one(there, n->whose, "IV", n->iv, sizeof n->iv);
    if (n->suite->chacha)
        return;
    if (there && memory_has(tenant_pid, n->hash_key[1], 16))
        return;
    expect_one(there, n->whose, "hash key", n->hash_key[0], 16);
    if (!there)
        expect_one(there, n->whose, "hash key", n->hash_key[1], 16);
}

/*----- a connection -----*/

static struct fixture_client client;
static struct handover handover;
static struct needles in, out; /* of the generation in use */

static void connect_with(uint16_t suite)
{
    uint8_t encoded[HANDOVER_SIZE_MAX], answer[MESSAGE_MAX];
    struct handover_side *sides[] = {&handover.in, &handover.out};
    size_t len;

    fixture_handover(suite, &handover);
    for (int i = 0; i < 2; i++) {
        assert_true(getrandom(sides[i]->secret, sides[i]->secret_len, 0) >= 0);
        assert_true(getrandom(sides[i]->key, sides[i]->key_len, 0) >= 0);
        assert_true(getrandom(sides[i]->iv, sides[i]->iv_len, 0) >= 0);
    }
    fixture_client_init(&client, &handover);
    assert_int_equal(handover_encode(&handover, encoded, sizeof encoded, &len), RC_OK);
    assert_int_equal(ask(TAKE_HANDOVER, encoded, len, answer), 0);
    in = needles_of("the client", &client.out, &handover.in);
    out = needles_of("the tenant", &client.in, &handover.out);
    expect(true, &in);
    expect(true, &out);
}

/* One sealed record; the length of the one that comes back (0: none), which is opened. */
static size_t say(uint8_t type, const void *text, size_t len)
{
    uint8_t record[512], answer[MESSAGE_MAX], got_type, *got;
    size_t n, got_len, size = fixture_seal(&client, type, text, len, 0, record);

    n = ask(READ, record, size, answer);
    if (n > 0)
        assert_int_equal(fixture_open(&client, answer, n, &got_type, &got, &got_len), n);
    return n;
}

static void each_generation_is_wiped_by_the_next(void **state)
{
    const uint16_t *suite = *state;

    connect_with(*suite);
    for (int generation = 0; generation < 3; generation++) {
        struct needles old_in = in, old_out = out;

        assert_int_equal(say(TLS_DATA, "some data", 9), 0);
        assert_true(say(TLS_HANDSHAKE, "\x18\0\0\x01\x01", 5) > 0);
        assert_int_equal(record_key_update(&client.out), RC_OK);
        assert_int_equal(record_key_update(&client.in), RC_OK);
        in = needles_of("the client", &client.out, NULL);
        out = needles_of("the tenant", &client.in, NULL);
        expect(false, &old_in);
        expect(false, &old_out);
        expect(true, &in);
        expect(true, &out);
    }
}

static void each_direction_is_wiped_when_it_is_over(void **state)
{
    const uint16_t *suite = *state;
    uint8_t answer[MESSAGE_MAX];

    connect_with(*suite);
    assert_int_equal(say(TLS_DATA, "some data", 9), 0);
    assert_int_equal(say(TLS_ALERT, "\x01\0", 2), 0);
    expect(false, &in);
    expect(true, &out);
    assert_true(ask(CLOSE, NULL, 0, answer) > 0);
    expect(false, &out);
}

static void a_refusal_wipes_both(void **state)
{
    const uint16_t *suite = *state;

    connect_with(*suite);
    assert_true(say(20, "\x01", 1) > 0);
    expect(false, &in);
    expect(false, &out);
}

static void a_fatal_alert_wipes_both(void **state)
{
    const uint16_t *suite = *state;

    connect_with(*suite);
    assert_int_equal(say(TLS_ALERT, "\x02\x28", 2), 0);
    expect(false, &in);
    expect(false, &out);
}

static void giving_up_wipes_both(void **state)
{
    const uint16_t *suite = *state;
    uint8_t answer[MESSAGE_MAX];

    connect_with(*suite);
    assert_true(ask(FAIL, NULL, 0, answer) > 0);
    expect(false, &in);
    expect(false, &out);
}

static void dispose_wipes_both(void **state)
{
    const uint16_t *suite = *state;
    uint8_t answer[MESSAGE_MAX];

    connect_with(*suite);
    assert_int_equal(say(TLS_DATA, "some data", 9), 0);
    assert_int_equal(ask(DISPOSE, NULL, 0, answer), 0);
    expect(false, &in);
    expect(false, &out);
}

static uint16_t aes_128 = 0x1301, aes_256 = 0x1302, chacha = 0x1303, aes_12 = 0xc030,
                chacha_12 = 0xcca9;

#define TEST(name, suite)                                         \
    {                                                             \
#name " " #suite, name, start_tenant, stop_tenant, &suite \
    }
#define EACH_SUITE(name)                                                              \
    TEST(name, aes_128), TEST(name, aes_256), TEST(name, chacha), TEST(name, aes_12), \
        TEST(name, chacha_12)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_generation_is_wiped_by_the_next, aes_128),
        TEST(each_generation_is_wiped_by_the_next, aes_256),
        TEST(each_generation_is_wiped_by_the_next, chacha),
        EACH_SUITE(each_direction_is_wiped_when_it_is_over),
        EACH_SUITE(a_refusal_wipes_both),
        EACH_SUITE(a_fatal_alert_wipes_both),
        EACH_SUITE(giving_up_wipes_both),
        EACH_SUITE(dispose_wipes_both),
    };

    if (SANITIZED) {
        print_message(
            "left out: a sanitizer keeps what was freed, and maps more than can be read\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
