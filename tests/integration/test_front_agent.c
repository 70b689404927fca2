/* Signatures come from the key agent: every kind of key, and every way for the agent to
 * be slow, gone, or without the key.
 *
 * Seen to fail: the private keys read in the parent before it forks (memory); requests
 * not sent again by signer_connected(), and no other agent started (a killed one); a
 * worker that stands still until it is answered (a slow one); handshake_sign_abandon()
 * left out of handshake_free(), which the worker's end finds (clients that leave); no
 * alert in TLS 1.2 (a key that is not to be had); LINK_MISFIT ignored by the parent (a
 * worker that wants anything else). */
#include <openssl/err.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/packet.h"
#include "front_peer.h"
#include "tests/unit/memory_search.h"

static struct rig rig;
static struct rig_tenant tenant;

static int begin(const char *const *extra)
{
    rig_certs = NULL;
    rig_start(&rig, extra);
    rig_tenant_make(&tenant, 1);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return begin(NULL);
}

static int tear_down(void **state)
{
    (void)state;
    rig_stop(&rig);
    rig_tenant_free(&tenant);
    return 0;
}

static void open_client(struct rig_client *c, struct peer *p, const struct rig_tls *how, bool wake)
{
    rig_hello(&rig, c, how);
    if (wake)
        peer_answer_wake(&rig, &tenant);
    assert_true(rig_shake(c));
    peer_take(&tenant, p);
}

static void hang_up(struct rig_client *c, struct peer *p)
{
    static struct rig_frame f;

    rig_hang_up(c, true);
    rig_take(&tenant, MUX_RESET, &f);
    peer_dispose(p);
}

/* STATS comes once a second, when something has changed. */
static void until_counter(enum control_counter counter, uint64_t value)
{
    struct control_msg m;

    do
        rig_expect(&rig, CONTROL_STATS, &m);
    while (m.counters[counter] != value);
}

static void each_kind_of_key_signs_with_what_the_client_takes(void **state)
{
    static const struct {
        const char *key;
        int type;
        struct rig_tls how;
    } cases[] = {
        {"ec", EVP_PKEY_EC, {.version = TLS1_3_VERSION, .sigalgs = "ECDSA+SHA256"}},
        {"ec", EVP_PKEY_EC, {.version = TLS1_2_VERSION, .sigalgs = "ECDSA+SHA256"}},
        {"ec", EVP_PKEY_EC, {.version = TLS1_2_VERSION, .sigalgs = "ECDSA+SHA384"}},
        {"p384", EVP_PKEY_EC, {.version = TLS1_3_VERSION, .sigalgs = "ECDSA+SHA384"}},
        {"p384", EVP_PKEY_EC, {.version = TLS1_2_VERSION, .sigalgs = "ECDSA+SHA256"}},
        {"p384", EVP_PKEY_EC, {.version = TLS1_2_VERSION, .sigalgs = "ECDSA+SHA384"}},
        {"rsa", EVP_PKEY_RSA, {.version = TLS1_3_VERSION, .sigalgs = "RSA-PSS+SHA256"}},
        {"rsa", EVP_PKEY_RSA, {.version = TLS1_3_VERSION, .sigalgs = "RSA-PSS+SHA384"}},
        {"rsa", EVP_PKEY_RSA, {.version = TLS1_3_VERSION, .sigalgs = "RSA-PSS+SHA512"}},
        {"rsa", EVP_PKEY_RSA, {.version = TLS1_2_VERSION, .sigalgs = "RSA+SHA256"}},
        {"rsa", EVP_PKEY_RSA, {.version = TLS1_2_VERSION, .sigalgs = "RSA+SHA384"}},
        {"rsa", EVP_PKEY_RSA, {.version = TLS1_2_VERSION, .sigalgs = "RSA+SHA512"}},
        {"all", EVP_PKEY_EC, {.version = TLS1_3_VERSION}},
        {"all", EVP_PKEY_EC, {.version = TLS1_2_VERSION}},
        {"all", EVP_PKEY_RSA, {.version = TLS1_3_VERSION, .sigalgs = "RSA-PSS+SHA256"}},
    };
    static const char *const all[] = {"ec", "p384", "rsa", NULL};
    static const char *certs[2];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool anew = i == 0 || strcmp(cases[i].key, cases[i - 1].key) != 0;
        struct rig_client c;
        struct peer p;
        X509 *x509;

        if (anew) {
            struct control_msg m = {.type = CONTROL_INVALIDATE};

            certs[0] = cases[i].key;
            rig_certs = strcmp(cases[i].key, "all") == 0 ? all : certs;
            rig_send(&rig, &m, NULL, 0);
        }
        rig_hello(&rig, &c, &cases[i].how);
        if (i == 0) {
            peer_answer_wake(&rig, &tenant);
        } else if (anew) { /* the instance is there, the route is not */
            struct control_msg m;

            rig_expect(&rig, CONTROL_WAKE, &m);
            rig_route(&rig, m.wake.request, 10000, true);
        }
        if (!rig_shake(&c))
            fail_msg("case %zu: %s", i, ERR_reason_error_string(ERR_peek_error()));
        x509 = SSL_get1_peer_certificate(c.ssl);
        assert_int_equal(EVP_PKEY_base_id(X509_get0_pubkey(x509)), cases[i].type);
        X509_free(x509);
        peer_take(&tenant, &p);
        peer_exchange(&tenant, &p, &c);
        hang_up(&c, &p);
    }
}

static void no_private_key_is_in_a_worker_or_its_parent(void **state)
{
    static const char *const keys[] = {"ec", "rsa"};
    pid_t agent = rig_agent(&rig, 0);
    struct rig_tls how = {0};
    struct rig_client c, waits;
    struct peer p, q;
    char path[128];

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it maps more than can be searched */
#endif
    if (geteuid() != 0)
        skip(); /* only root may read another user's memory */
    open_client(&c, &p, &how, true);
    peer_exchange(&tenant, &p, &c);
    how = (struct rig_tls){.version = TLS1_2_VERSION, .sigalgs = "RSA+SHA256"};
    kill(agent, SIGSTOP);
    rig_hello(&rig, &waits, &how);
    until_counter(CONTROL_COUNTER_handshakes, 1); /* one in the middle, one handed over */
    for (int turn = 0; turn < 2; turn++) {
        for (size_t k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%s.key", rig.dir, keys[k]);
            assert_false(memory_has_key(rig.worker, path));
            assert_false(memory_has_key(rig.front, path));
        }
        if (turn == 0) {
            kill(agent, SIGCONT);
            assert_true(rig_shake(&waits));
            peer_take(&tenant, &q);
        }
    }
    hang_up(&c, &p);
    hang_up(&waits, &q);
}

static void an_agent_that_is_killed_is_replaced_before_anybody_notices(void **state)
{
    struct rig_tls how = {0};
    struct rig_client before, c;
    struct peer p, q;
    pid_t agent = 0;

    (void)state;
    open_client(&before, &p, &how, true);
    for (int turn = 0; turn < 2; turn++) {
        how.version = turn ? TLS1_2_VERSION : TLS1_3_VERSION;
        agent = rig_agent(&rig, agent);
        kill(agent, SIGKILL);
        open_client(&c, &q, &how, false);
        peer_exchange(&tenant, &q, &c);
        hang_up(&c, &q);
        peer_exchange(&tenant, &p, &before);
    }
    hang_up(&before, &p);
}

static void handshakes_that_wait_for_a_killed_agent_get_the_next_ones_signatures(void **state)
{
    enum { CLIENTS = 20 };
    struct rig_client c[CLIENTS];
    struct rig_tls how = {0};
    struct peer p;
    pid_t agent = rig_agent(&rig, 0);

    (void)state;
    open_client(&c[0], &p, &how, true);
    hang_up(&c[0], &p);
    kill(agent, SIGSTOP);
    for (int i = 0; i < CLIENTS; i++) {
        how.version = i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION;
        rig_hello(&rig, &c[i], &how);
    }
    until_counter(CONTROL_COUNTER_handshakes, CLIENTS);
    kill(agent, SIGKILL);
    for (int i = 0; i < CLIENTS; i++) {
        assert_true(rig_shake(&c[i]));
        peer_take(&tenant, &p);
        peer_exchange(&tenant, &p, &c[i]);
        hang_up(&c[i], &p);
    }
}

static bool silent(const struct rig_client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static void a_slow_agent_stops_nobody_but_who_waits_for_it(void **state)
{
    struct rig_tls how = {.version = TLS1_3_VERSION}, again;
    struct rig_client open, waits, resumed;
    struct peer p, q, r;
    pid_t agent = rig_agent(&rig, 0);

    (void)state;
    open_client(&open, &p, &how, true);
    peer_exchange(&tenant, &p, &open);
    again = how;
    again.resume = SSL_get1_session(open.ssl);
    kill(agent, SIGSTOP);
    rig_hello(&rig, &waits, &how);
    until_counter(CONTROL_COUNTER_handshakes, 1);
    for (int i = 0; i < 10; i++)
        peer_exchange(&tenant, &p, &open);
    open_client(&resumed, &q, &again, false); /* a ticket needs no signature */
    assert_true(SSL_session_reused(resumed.ssl));
    peer_exchange(&tenant, &q, &resumed);
    assert_true(silent(&waits));
    kill(agent, SIGCONT);
    assert_true(rig_shake(&waits));
    peer_take(&tenant, &r);
    peer_exchange(&tenant, &r, &waits);
    hang_up(&waits, &r);
    hang_up(&resumed, &q);
    hang_up(&open, &p);
    SSL_SESSION_free(again.resume);
}

/* Some at once, the others at their deadline; then the agent answers what nobody waits
 * for any more. */
static void clients_that_leave_while_they_wait_cost_nothing(void **state)
{
    static const char *const extra[] = {"--handshake-timeout", "1", NULL};
    enum { CLIENTS = 100 };
    struct rig_client c[CLIENTS];
    struct rig_tls how = {0};
    struct control_msg m;
    struct peer p;
    pid_t agent;

    tear_down(state);
    begin(extra);
    agent = rig_agent(&rig, 0);
    open_client(&c[0], &p, &how, true);
    hang_up(&c[0], &p);
    kill(agent, SIGSTOP);
    for (int i = 0; i < CLIENTS; i++) {
        how.version = i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION;
        rig_hello(&rig, &c[i], &how);
        if (i % 3 == 0)
            rig_hang_up(&c[i], true);
    }
    do
        rig_expect(&rig, CONTROL_STATS, &m);
    while (m.counters[CONTROL_COUNTER_accepted_total] != CLIENTS + 1 ||
           m.counters[CONTROL_COUNTER_connections] != 0);
    kill(agent, SIGCONT);
    for (int i = 0; i < CLIENTS; i++)
        if (i % 3)
            rig_hang_up(&c[i], false);
    open_client(&c[0], &p, &how, false);
    peer_exchange(&tenant, &p, &c[0]);
    hang_up(&c[0], &p);
}

static void expect_alert(struct rig_client *c, int alert)
{
    assert_false(rig_shake(c)); /* rig_hello() may have had it already */
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_AD_REASON_OFFSET + alert);
    rig_hang_up(c, false);
}

static void a_key_that_is_not_to_be_had_is_an_alert_until_it_is(void **state)
{
    static const char *const certs[] = {"p384", NULL};
    struct rig_tls how = {.version = TLS1_2_VERSION};
    char command[256];
    struct rig_client c;
    struct peer p;

    (void)state;
    rig_certs = certs;
    snprintf(command, sizeof command, "mv %s/$(cat %s/p384.id).pem %s/away", rig.dir, rig.dir,
             rig.dir);
    assert_int_equal(system(command), 0);
    rig_hello(&rig, &c, &how);
    peer_answer_wake(&rig, NULL);
    expect_alert(&c, SSL_AD_INTERNAL_ERROR);
    how.version = TLS1_3_VERSION;
    rig_hello(&rig, &c, &how);
    peer_answer_wake(&rig, NULL);
    expect_alert(&c, SSL_AD_HANDSHAKE_FAILURE);
    snprintf(command, sizeof command, "mv %s/away %s/$(cat %s/p384.id).pem", rig.dir, rig.dir,
             rig.dir);
    assert_int_equal(system(command), 0);
    open_client(&c, &p, &how, true);
    hang_up(&c, &p);
}

static void without_roomkeyd_the_keys_that_are_here_sign_on(void **state)
{
    struct rig_tls how = {0};
    struct rig_client c;
    struct peer p;

    (void)state;
    open_client(&c, &p, &how, true);
    hang_up(&c, &p);
    rig_orch_dies(&rig);
    kill(rig.keys, SIGSTOP);
    open_client(&c, &p, &how, false);
    peer_exchange(&tenant, &p, &c);
    hang_up(&c, &p);
    kill(rig.keys, SIGCONT);
    assert_int_equal(rig_greet(&rig), 1);
}

static void a_worker_that_wants_anything_else_signed_is_ended_and_replaced(void **state)
{
    struct rig_tls how = {0};
    struct rig_client c;
    struct peer p;
    pid_t before = rig.worker;
    int fd;

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root may take what is another process's */
    open_client(&c, &p, &how, true);
    hang_up(&c, &p);
    fd = rig_taken(&rig, RIG_TO_AGENT);
    assert_int_equal(packet_write(fd, "a hash, please sign it", 22, NULL, 0), RC_OK);
    close(rig.orch);
    assert_int_equal(rig_greet(&rig), 0);
    assert_int_not_equal(rig.worker, before);
    close(fd);
    rig_tenant_free(&tenant);
    rig_tenant_make(&tenant, 2);
    open_client(&c, &p, &how, true);
    peer_exchange(&tenant, &p, &c);
    hang_up(&c, &p);
}

static int set_up_few_files(void **state)
{
    int r;

    (void)state;
    rig_files = 48;
    r = begin(NULL);
    rig_files = 0;
    return r;
}

/* Fewer than the workers that there could be.  Seen to fail with all of them given to poll(), which
 * refuses: the agent died each time. */
static void a_low_limit_of_files_is_enough_for_the_agent(void **state)
{
    pid_t before = rig_agent(&rig, 0);
    struct rig_tls how = {0};
    struct rig_client c;
    struct peer p;

    (void)state;
    open_client(&c, &p, &how, true);
    peer_exchange(&tenant, &p, &c);
    hang_up(&c, &p);
    assert_int_equal(rig_agent(&rig, 0), before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(each_kind_of_key_signs_with_what_the_client_takes),
        TEST(no_private_key_is_in_a_worker_or_its_parent),
        TEST(an_agent_that_is_killed_is_replaced_before_anybody_notices),
        TEST(handshakes_that_wait_for_a_killed_agent_get_the_next_ones_signatures),
        TEST(a_slow_agent_stops_nobody_but_who_waits_for_it),
        TEST(clients_that_leave_while_they_wait_cost_nothing),
        TEST(a_key_that_is_not_to_be_had_is_an_alert_until_it_is),
        TEST(without_roomkeyd_the_keys_that_are_here_sign_on),
        TEST(a_worker_that_wants_anything_else_signed_is_ended_and_replaced),
        cmocka_unit_test_setup_teardown(a_low_limit_of_files_is_enough_for_the_agent,
                                        set_up_few_files, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
