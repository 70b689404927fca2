/* From a client's first byte to its tenant: handshakes, handovers, refusals. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front_peer.h"
#include "tests/unit/memory_search.h"

static struct rig rig;
static struct rig_tenant tenant;

static int set_up(void **state)
{
    (void)state;
    rig_start(&rig, NULL);
    rig_tenant_make(&tenant, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_stop(&rig);
    rig_tenant_free(&tenant);
    return 0;
}

/* A client whose handshake is over and whose tenant has taken it. */
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
    assert_int_equal(f.head.conn, p->id);
    peer_dispose(p);
}

static void a_handover_carries_on_what_the_handshake_agreed_in_every_suite(void **state)
{
    static const struct {
        struct rig_tls how;
        uint16_t suite;
    } cases[] = {
        {{.version = TLS1_3_VERSION, .suite = "TLS_AES_128_GCM_SHA256"}, 0x1301},
        {{.version = TLS1_3_VERSION, .suite = "TLS_AES_256_GCM_SHA384"}, 0x1302},
        {{.version = TLS1_3_VERSION,
          .suite = "TLS_CHACHA20_POLY1305_SHA256",
          .sigalgs = "RSA-PSS+SHA256:RSA+SHA256"},
         0x1303},
        {{.version = TLS1_2_VERSION, .suite = "ECDHE-ECDSA-AES128-GCM-SHA256"}, 0xc02b},
        {{.version = TLS1_2_VERSION, .suite = "ECDHE-ECDSA-AES256-GCM-SHA384"}, 0xc02c},
        {{.version = TLS1_2_VERSION, .suite = "ECDHE-RSA-AES128-GCM-SHA256"}, 0xc02f},
        {{.version = TLS1_2_VERSION, .suite = "ECDHE-RSA-AES256-GCM-SHA384"}, 0xc030},
        {{.version = TLS1_2_VERSION, .suite = "ECDHE-RSA-CHACHA20-POLY1305"}, 0xcca8},
        {{.version = TLS1_2_VERSION, .suite = "ECDHE-ECDSA-CHACHA20-POLY1305"}, 0xcca9},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig_client c;
        struct peer p;

        open_client(&c, &p, &cases[i].how, i == 0);
        assert_int_equal(p.info.suite, cases[i].suite);
        assert_int_equal(p.info.tls_version, cases[i].how.version);
        assert_string_equal(p.info.sni, RIG_NAME);
        assert_string_equal(p.info.alpn, "http/1.1");
        assert_string_equal(p.info.client_addr, "127.0.0.1");
        assert_true(p.info.client_port != 0);
        assert_false(p.info.resumed);
        assert_int_equal(p.info.woken, i == 0);
        assert_int_equal(p.info.times.boot_done_us != 0, i == 0);
        assert_true(p.info.times.route_us <= p.info.times.handshake_us);
        assert_true(p.info.times.handshake_us <= p.info.times.handover_us);
        peer_exchange(&tenant, &p, &c);
        hang_up(&c, &p);
    }
}

static void a_ticket_resumes_with_its_own_tenant(void **state)
{
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rig_tls how = {.version = versions[i]};
        struct rig_client c;
        struct peer p;

        open_client(&c, &p, &how, i == 0);
        assert_int_equal(p.info.out.seq, 1);
        peer_exchange(&tenant, &p, &c); /* OpenSSL takes the ticket when it reads */
        how.resume = SSL_get1_session(c.ssl);
        assert_true(SSL_SESSION_is_resumable(how.resume));
        hang_up(&c, &p);

        open_client(&c, &p, &how, false);
        assert_true(SSL_session_reused(c.ssl));
        assert_true(p.info.resumed);
        assert_int_equal(p.info.out.seq, 1);
        assert_int_equal(p.info.in.seq, versions[i] == TLS1_3_VERSION ? 0 : 1);
        peer_exchange(&tenant, &p, &c);
        hang_up(&c, &p);
        SSL_SESSION_free(how.resume);
    }
}

static void what_follows_finished_in_one_segment_reaches_the_tenant_unopened(void **state)
{
    struct rig_tls how = {0};
    struct rig_client c;
    struct peer p;
    char got[6] = "";
    int on = 1, off = 0;

    (void)state;
    rig_hello(&rig, &c, &how);
    peer_answer_wake(&rig, NULL);
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    assert_true(rig_shake(&c));
    rig_write(&c, "early", 5);
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    rig_ready(&rig, 1, &tenant);
    peer_take(&tenant, &p);
    peer_read(&tenant, &p, got, 5);
    assert_string_equal(got, "early");
    hang_up(&c, &p);
}

/* The deadline is that of the one who began the wake. */
static void who_joins_a_wake_late_may_wait_for_longer_than_it(void **state)
{
    struct rig_tls how = {0};
    struct control_msg m;
    struct rig_client c;
    struct peer p;

    (void)state;
    rig_hello(&rig, &c, &how);
    rig_expect(&rig, CONTROL_WAKE, &m);
    rig_route(&rig, m.wake.request, 10000, true);
    assert_true(rig_shake(&c));
    rig_refuse(&rig, m.wake.request, RC_TIMEDOUT);
    peer_answer_wake(&rig, &tenant);
    peer_take(&tenant, &p);
    hang_up(&c, &p);
}

/* It joins a wake whose ROUTE has come and is no longer true. */
static void who_comes_after_an_invalidate_in_mid_wake_is_served_too(void **state)
{
    struct control_msg m, invalidate = {.type = CONTROL_INVALIDATE, .tenant = RIG_TENANT};
    struct rig_tls how = {0};
    struct rig_client a, b;
    struct peer p, q;

    (void)state;
    rig_hello(&rig, &a, &how);
    rig_expect(&rig, CONTROL_WAKE, &m);
    rig_route(&rig, m.wake.request, 10000, true);
    assert_true(rig_shake(&a));
    rig_send(&rig, &invalidate, NULL, 0);
    rig_hello(&rig, &b, &how);
    peer_worker_has_read(&rig);
    rig_ready(&rig, m.wake.request, &tenant);
    peer_take(&tenant, &p);

    peer_answer_wake(&rig, &tenant);
    assert_true(rig_shake(&b));
    peer_take(&tenant, &q);
    hang_up(&a, &p);
    hang_up(&b, &q);
}

/* Nobody knows the tenant any more when its READY comes. */
static void who_is_left_alone_after_an_invalidate_in_mid_wake_is_served_too(void **state)
{
    struct control_msg m, invalidate = {.type = CONTROL_INVALIDATE, .tenant = RIG_TENANT};
    struct rig_tls how = {0};
    struct rig_client a, b;
    struct peer q;

    (void)state;
    rig_hello(&rig, &a, &how);
    rig_expect(&rig, CONTROL_WAKE, &m);
    rig_route(&rig, m.wake.request, 10000, true);
    assert_true(rig_shake(&a));
    rig_send(&rig, &invalidate, NULL, 0);
    rig_hello(&rig, &b, &how);
    peer_worker_has_read(&rig);
    rig_hang_up(&a, true);
    peer_worker_has_read(&rig);
    rig_ready(&rig, m.wake.request, &tenant);

    peer_answer_wake(&rig, &tenant);
    assert_true(rig_shake(&b));
    peer_take(&tenant, &q);
    hang_up(&b, &q);
}

static void expect_503(struct rig_client *c)
{
    char page[2048];
    bool clean;
    size_t n;

    rig_write(c, "GET / HTTP/1.1\r\nHost: acme.example\r\n\r\n", 39);
    n = rig_read_all(c, page, sizeof page - 1, &clean);
    page[n] = '\0';
    assert_non_null(strstr(page, "HTTP/1.1 503 "));
    assert_non_null(strstr(page, "\r\nRetry-After: "));
    assert_true(clean);
    rig_hang_up(c, false);
}

static void a_refusal_after_the_route_is_a_503_page(void **state)
{
    struct rig_tls how = {0};
    struct control_msg m;
    struct rig_client c;

    (void)state;
    for (how.version = TLS1_2_VERSION; how.version <= TLS1_3_VERSION; how.version++) {
        rig_hello(&rig, &c, &how);
        rig_expect(&rig, CONTROL_WAKE, &m);
        rig_route(&rig, m.wake.request, 10000, m.wake.route_revision == 0);
        rig_refuse(&rig, m.wake.request, RC_FAILED);
        assert_true(rig_shake(&c));
        expect_503(&c);
    }
}

static void no_instance_by_the_deadline_is_a_503_page(void **state)
{
    struct rig_tls how = {0};
    struct control_msg m;
    struct rig_client c;

    (void)state;
    rig_hello(&rig, &c, &how);
    rig_expect(&rig, CONTROL_WAKE, &m);
    rig_route(&rig, m.wake.request, 50, true);
    assert_true(rig_shake(&c));
    expect_503(&c);
}

static void expect_alert(struct rig_client *c, int alert)
{
    assert_false(rig_shake(c));
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_AD_REASON_OFFSET + alert);
    rig_hang_up(c, false);
}

static void an_unknown_name_is_an_alert_and_its_owner_is_asked_each_time(void **state)
{
    struct rig_tls how = {.name = "nobody.example"};
    struct control_msg m;
    struct rig_client c;

    (void)state;
    for (int i = 0; i < 2; i++) {
        rig_hello(&rig, &c, &how);
        rig_expect(&rig, CONTROL_WAKE, &m);
        assert_string_equal(m.wake.hostname, "nobody.example");
        rig_refuse(&rig, m.wake.request, RC_NOT_FOUND);
        expect_alert(&c, SSL_AD_UNRECOGNIZED_NAME);
    }
}

static void a_name_that_cannot_be_one_is_an_alert_without_asking(void **state)
{
    struct rig_tls how = {.name = "10.0.0.1"};
    struct rig_client c;

    (void)state;
    rig_hello(&rig, &c, &how);
    expect_alert(&c, SSL_AD_UNRECOGNIZED_NAME);
}

static void garbage_is_unexpected_message_and_plain_http_an_answer_in_kind(void **state)
{
    struct rig_client c;
    uint8_t got[512];

    (void)state;
    rig_connect(&rig, &c);
    assert_int_equal(write(c.fd, "\x80\x2e\x01garbage", 10), 10);
    assert_int_equal(rig_raw(&c, got, sizeof got), 7);
    assert_memory_equal(got, "\x15\x03\x03\0\2\2\x0a", 7);
    rig_hang_up(&c, false);

    rig_connect(&rig, &c);
    assert_int_equal(write(c.fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    assert_true(rig_raw(&c, got, sizeof got) > 12);
    assert_memory_equal(got, "HTTP/1.1 400", 12);
    rig_hang_up(&c, false);
}

static void no_session_key_stays_in_the_worker_after_its_handover(void **state)
{
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it keeps what was freed, and maps more than can be searched */
#endif
    if (geteuid() != 0)
        skip(); /* only root may read another user's memory */
    for (size_t i = 0; i < 2; i++) {
        struct rig_tls how = {.version = versions[i]};
        uint8_t master[48];
        struct rig_client c;
        struct peer p;

        open_client(&c, &p, &how, i == 0);
        peer_exchange(&tenant, &p, &c);
        /* The search itself works: this is in the worker, in clear. */
        assert_true(memory_has(rig.worker, RIG_NAME, strlen(RIG_NAME)));
        if (versions[i] == TLS1_3_VERSION) {
            assert_false(memory_has(rig.worker, p.info.in.secret, 32));
            assert_false(memory_has(rig.worker, p.info.out.secret, 32));
        } else {
            assert_false(memory_has(rig.worker, p.info.in.key, p.info.in.key_len));
            assert_false(memory_has(rig.worker, p.info.out.key, p.info.out.key_len));
            assert_int_equal(SSL_SESSION_get_master_key(SSL_get0_session(c.ssl), master, 48), 48);
            assert_false(memory_has(rig.worker, master, 48));
        }
        hang_up(&c, &p);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_handover_carries_on_what_the_handshake_agreed_in_every_suite),
        TEST(a_ticket_resumes_with_its_own_tenant),
        TEST(what_follows_finished_in_one_segment_reaches_the_tenant_unopened),
        TEST(who_joins_a_wake_late_may_wait_for_longer_than_it),
        TEST(who_comes_after_an_invalidate_in_mid_wake_is_served_too),
        TEST(who_is_left_alone_after_an_invalidate_in_mid_wake_is_served_too),
        TEST(a_refusal_after_the_route_is_a_503_page),
        TEST(no_instance_by_the_deadline_is_a_503_page),
        TEST(an_unknown_name_is_an_alert_and_its_owner_is_asked_each_time),
        TEST(a_name_that_cannot_be_one_is_an_alert_without_asking),
        TEST(garbage_is_unexpected_message_and_plain_http_an_answer_in_kind),
        TEST(no_session_key_stays_in_the_worker_after_its_handover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
