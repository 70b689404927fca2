/* Clients that leave before they are handed over: whoever cannot want an answer any more gives its
 * place free at once, whatever the worker waits for; who can is waited with.
 *
 * Seen to fail: with nothing read in ROUTE, in WAKING and while the agent signs (their deadlines
 * are longer than the rig's patience), without on_end()'s look at what was said, and without
 * conns_second(). */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "front_peer.h"

static const char *const unhurried[] = {"--handshake-timeout", "600", "--route-timeout", "600",
                                        NULL};
static const char request[] = "GET / HTTP/1.0\r\nHost: acme.example\r\n\r\n";

static struct rig rig;
static struct rig_tenant tenant;
static struct rig_client clients[16];
static size_t come;   /* of those */
static uint64_t wake; /* that they wait for; 0: none yet */

static pid_t agent; /* stopped; 0: none is */

static void go_on(void)
{
    if (agent)
        kill(agent, SIGCONT);
    agent = 0;
}

static int set_up(void **state)
{
    (void)state;
    rig_start(&rig, unhurried);
    rig_tenant_make(&tenant, 1);
    come = 0;
    wake = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    go_on();
    while (come-- > 0)
        if (clients[come].ssl)
            rig_hang_up(&clients[come], false);
    rig_stop(&rig);
    rig_tenant_free(&tenant);
    return 0;
}

/* The tenant's instance is gone, and the next client has to wait again. */
static void let_sleep(void)
{
    struct control_msg m = {.type = CONTROL_GONE};

    m.instance = (struct control_instance){RIG_INSTANCE + tenant.generation, tenant.generation};
    rig_send(&rig, &m, NULL, 0);
    rig_tenant_free(&tenant);
    rig_tenant_make(&tenant, tenant.generation + 1);
    wake = 0;
}

static struct rig_client *hello(int version, bool route)
{
    struct rig_tls how = {.version = version};
    struct rig_client *c = &clients[come++];
    struct control_msg m;

    assert_true(come <= sizeof clients / sizeof *clients);
    rig_hello(&rig, c, &how);
    if (!wake) {
        rig_expect(&rig, CONTROL_WAKE, &m);
        wake = m.wake.request;
        if (route)
            rig_route(&rig, wake, 600000, m.wake.route_revision == 0);
    }
    return c;
}

/* Its handshake is over, and no instance there. */
static struct rig_client *waiting(int version)
{
    struct rig_client *c = hello(version, true);

    assert_true(rig_shake(c));
    return c;
}

static struct rig_client *waiting_with_request(int version)
{
    struct rig_client *c = waiting(version);

    rig_write(c, request, sizeof request - 1);
    return c;
}

/* Behind close_notify. */
static void end_side(struct rig_client *c)
{
    SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
}

static void expect_nobody(struct control_msg *m)
{
    do
        rig_expect(&rig, CONTROL_STATS, m);
    while (m->counters[CONTROL_COUNTER_connections] > 0);
}

static void expect_all_gone(void)
{
    struct control_msg m;

    expect_nobody(&m);
    assert_int_equal(m.counters[CONTROL_COUNTER_handshake_aborted_total], come);
}

static void a_client_that_is_reset_while_its_tenant_boots_is_gone(void **state)
{
    static const char much[16384]; /* more than is read meanwhile */
    struct rig_client *c;

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        waiting(version);
        waiting_with_request(version);
        c = waiting_with_request(version);
        rig_write(c, much, sizeof much);
        c = waiting_with_request(version);
        end_side(c);
    }
    peer_worker_has_read(&rig);
    for (size_t i = 0; i < come; i++)
        rig_hang_up(&clients[i], true);
    expect_all_gone();
}

static void a_client_that_ends_its_side_without_a_request_is_gone(void **state)
{
    struct rig_client *c;

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        c = waiting(version);
        waiting_with_request(version); /* the wake is for somebody */
        shutdown(c->fd, SHUT_WR);
        end_side(waiting(version));
    }
    peer_worker_has_read(&rig);
    for (size_t i = 0; i < come; i++)
        if (i % 3 == 1)
            rig_hang_up(&clients[i], true);
    expect_all_gone();
}

static void expect_answer(struct rig_client *c, const char *begin)
{
    char got[2048];
    bool clean;

    assert_true(rig_read_all(c, got, sizeof got, &clean) >= strlen(begin));
    assert_memory_equal(got, begin, strlen(begin));
    assert_true(clean);
    rig_hang_up(c, false);
}

static void one_that_ends_its_side_behind_a_request_gets_its_answer(void **state)
{
    char got[sizeof request];
    struct rig_client *c;
    struct rig_frame f;
    struct peer p;

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        c = waiting_with_request(version);
        end_side(c);
        peer_worker_has_read(&rig);
        rig_ready(&rig, wake, &tenant);
        peer_take(&tenant, &p);
        peer_read(&tenant, &p, got, sizeof request - 1); /* close_notify came with it */
        assert_memory_equal(got, request, sizeof request - 1);
        rig_take(&tenant, MUX_CLOSE, &f);
        peer_write(&tenant, &p, "answer", 6);
        peer_close(&tenant, &p);
        expect_answer(c, "answer");
        peer_dispose(&p);
        let_sleep();
    }
}

static void or_the_page_when_there_is_no_instance(void **state)
{
    struct control_msg m;
    struct rig_client *c;

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        c = waiting_with_request(version);
        end_side(c);
        peer_worker_has_read(&rig);
        rig_refuse(&rig, wake, RC_FAILED);
        wake = 0;
        expect_answer(c, "HTTP/1.1 503 ");
    }
    expect_nobody(&m);
    assert_int_equal(m.counters[CONTROL_COUNTER_wake_failed_total], come);
}

/* Before their handshakes are over they can have asked for nothing. */
static void leave_in_each_way(bool route)
{
    for (int i = 0; i < 4; i++)
        hello(i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, route);
    peer_worker_has_read(&rig);
    for (int i = 0; i < 4; i++)
        if (i < 2)
            rig_hang_up(&clients[i], true);
        else
            shutdown(clients[i].fd, SHUT_WR);
    expect_all_gone();
}

static void a_client_that_leaves_before_its_route_is_known_is_gone(void **state)
{
    (void)state;
    leave_in_each_way(false);
}

static void a_client_that_leaves_while_the_agent_signs_is_gone(void **state)
{
    (void)state;
    agent = rig_agent(&rig, 0);
    kill(agent, SIGSTOP);
    leave_in_each_way(true);
    go_on();
}

/* In pieces, of which the last are more than is read meanwhile. */
static void what_is_said_meanwhile_reaches_the_tenant_whole(void **state)
{
    static char sent[20000], got[sizeof sent];
    struct rig_client *c;
    struct rig_frame f;
    struct peer p;

    (void)state;
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (char)(i * 31 + 7);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        c = waiting(version);
        for (size_t at = 0, n = 1; at < sizeof sent; at += n, n = 2 * n) {
            n = n < sizeof sent - at ? n : sizeof sent - at;
            rig_write(c, sent + at, n);
            if (at < 5000)
                peer_worker_has_read(&rig);
        }
        rig_ready(&rig, wake, &tenant);
        peer_take(&tenant, &p);
        peer_read(&tenant, &p, got, sizeof got);
        assert_memory_equal(got, sent, sizeof got);
        rig_hang_up(c, true);
        rig_take(&tenant, MUX_RESET, &f);
        peer_dispose(&p);
        let_sleep();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_client_that_is_reset_while_its_tenant_boots_is_gone),
        TEST(a_client_that_ends_its_side_without_a_request_is_gone),
        TEST(one_that_ends_its_side_behind_a_request_gets_its_answer),
        TEST(or_the_page_when_there_is_no_instance),
        TEST(a_client_that_leaves_before_its_route_is_known_is_gone),
        TEST(a_client_that_leaves_while_the_agent_signs_is_gone),
        TEST(what_is_said_meanwhile_reaches_the_tenant_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
