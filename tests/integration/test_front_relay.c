/* Between a client and its tenant, once the handover is over; and what happens
 * when one of the three others goes away or lies. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "front_peer.h"

static struct rig rig;
static struct rig_tenant tenant;
static struct rig_client client;
static struct peer peer;
static struct rig_frame frame;

static void begin(const char *const *extra)
{
    struct rig_tls how = {0};

    rig_start(&rig, extra);
    rig_tenant_make(&tenant, 1);
    rig_hello(&rig, &client, &how);
    peer_answer_wake(&rig, &tenant);
    assert_true(rig_shake(&client));
    peer_take(&tenant, &peer);
    peer_exchange(&tenant, &peer, &client);
}

/* Every test begins with one open connection. */
static int set_up(void **state)
{
    (void)state;
    begin(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peer_dispose(&peer);
    if (client.ssl)
        rig_hang_up(&client, true);
    rig_stop(&rig);
    rig_tenant_free(&tenant);
    return 0;
}

/* A second connection, on the channel that is there. */
static void another_works(struct rig_tenant *t)
{
    struct rig_tls how = {0};
    struct rig_client c;
    struct peer p;

    rig_hello(&rig, &c, &how);
    assert_true(rig_shake(&c));
    peer_take(t, &p);
    peer_exchange(t, &p, &c);
    rig_hang_up(&c, true);
    rig_take(t, MUX_RESET, &frame);
    peer_dispose(&p);
}

static void a_reset_by_the_client_reaches_the_tenant(void **state)
{
    (void)state;
    rig_hang_up(&client, true);
    rig_take(&tenant, MUX_RESET, &frame);
    assert_int_equal(frame.head.conn, peer.id);
}

/* libuv takes it for a FIN.  Seen to fail: without on_bytes()'s look at conn_was_reset(). */
static void a_reset_right_behind_data_is_no_end_of_one_side(void **state)
{
    (void)state;
    kill(rig.worker, SIGSTOP); /* it sees both at once */
    rig_write(&client, "last words", 10);
    rig_hang_up(&client, true);
    kill(rig.worker, SIGCONT);
    rig_take(&tenant, MUX_DATA, &frame);
    rig_take(&tenant, MUX_RESET, &frame);
    assert_int_equal(frame.head.conn, peer.id);
}

static void a_reset_by_the_tenant_reaches_the_client(void **state)
{
    char byte;

    (void)state;
    rig_put(&tenant, MUX_RESET, peer.id, NULL, 0);
    assert_int_equal(rig_raw(&client, &byte, 1), -1);
}

static void a_client_that_ends_its_side_still_gets_its_answer(void **state)
{
    char got[64];
    bool clean;
    size_t n;

    (void)state;
    SSL_shutdown(client.ssl);
    shutdown(client.fd, SHUT_WR);
    rig_take(&tenant, MUX_DATA, &frame); /* close_notify */
    rig_take(&tenant, MUX_CLOSE, &frame);
    peer_write(&tenant, &peer, "late answer", 11);
    peer_close(&tenant, &peer);
    n = rig_read_all(&client, got, sizeof got, &clean);
    assert_int_equal(n, 11);
    assert_memory_equal(got, "late answer", 11);
    assert_true(clean);
}

/* The tenant waits some seconds for the client's end; a slow client needs longer
 * for what is on its way to it. */
static void an_answer_that_is_whole_outlives_the_tenant_that_gave_it(void **state)
{
    static const uint8_t block[16384];
    static char got[4 * sizeof block];
    struct rig_tls how = {.receive = 2048}; /* most of it is on its way for long */
    bool clean;

    (void)state;
    rig_hang_up(&client, true);
    rig_take(&tenant, MUX_RESET, &frame);
    peer_dispose(&peer);
    rig_hello(&rig, &client, &how);
    assert_true(rig_shake(&client));
    peer_take(&tenant, &peer);
    peer_exchange(&tenant, &peer, &client);
    for (int i = 0; i < 3; i++)
        peer_write(&tenant, &peer, block, sizeof block);
    peer_close(&tenant, &peer);
    rig_wait_taken(&tenant);
    rig_put(&tenant, MUX_RESET, peer.id, NULL, 0);
    rig_wait_taken(&tenant);
    assert_int_equal(rig_read_all(&client, got, sizeof got, &clean), 3 * sizeof block);
    assert_true(clean);
}

static void a_tenant_that_ends_its_side_still_gets_the_rest(void **state)
{
    char got[6] = "";
    bool clean;

    (void)state;
    peer_close(&tenant, &peer);
    assert_int_equal(rig_read_all(&client, got, sizeof got, &clean), 0);
    assert_true(clean);
    rig_write(&client, "rest", 4);
    peer_read(&tenant, &peer, got, 4);
    assert_string_equal(got, "rest");
    shutdown(client.fd, SHUT_WR);
    rig_take(&tenant, MUX_CLOSE, &frame);
}

static void a_body_larger_than_ring_and_credit_arrives_whole(void **state)
{
    enum { SIZE = 1 << 20, STEP = 16384 };
    static uint8_t sent[STEP], got[STEP];

    (void)state;
    for (size_t i = 0; i < STEP; i++)
        sent[i] = (uint8_t)(i * 31 + 7);
    for (size_t at = 0; at < SIZE; at += STEP) { /* the records' own MACs find a hole */
        rig_write(&client, sent, STEP);
        peer_read(&tenant, &peer, got, STEP);
        assert_memory_equal(got, sent, STEP);
    }
    for (size_t at = 0; at < SIZE; at += STEP) {
        peer_write(&tenant, &peer, sent, STEP);
        rig_read(&client, got, STEP);
        assert_memory_equal(got, sent, STEP);
    }
}

static void a_client_that_does_not_read_costs_its_credit_and_no_more(void **state)
{
    static uint8_t data[16384];
    uint32_t credit = 0;
    struct rig_frame f;

    (void)state;
    /* A tenant that sends all it may, and is told of what the client took. */
    for (size_t sent = 0; sent < 3 * MUX_CREDIT_INITIAL / 4; sent += sizeof data)
        rig_put(&tenant, MUX_DATA, peer.id, data, sizeof data);
    while (credit < MUX_CREDIT_INITIAL / 2) { /* into the client's kernel buffers */
        rig_take(&tenant, MUX_CREDIT, &f);
        credit +=
            (uint32_t)f.payload[0] | (uint32_t)f.payload[1] << 8 | (uint32_t)f.payload[2] << 16;
    }
    assert_true(credit <= MUX_CREDIT_INITIAL);
    another_works(&tenant);
}

/* What it says stays in the kernel; others are served.  Seen to fail: without relay_second(). */
static void a_client_of_a_tenant_that_gives_no_credit_is_seen_to_go(void **state)
{
    static const char data[16384];
    uint32_t sent = 0;

    (void)state;
    for (int i = 0; i < 6; i++) { /* more than its credit */
        rig_write(&client, data, sizeof data);
        for (; sent < MUX_CREDIT_INITIAL && sent < (unsigned)i * sizeof data;
             sent += frame.head.len)
            rig_take(&tenant, MUX_DATA, &frame);
    }
    another_works(&tenant);
    rig_hang_up(&client, true);
    rig_take(&tenant, MUX_RESET, &frame);
    assert_int_equal(frame.head.conn, peer.id);
}

/* Sends until neither the client's kernel nor ours takes any more: the worker holds it. */
static void fill(void)
{
    static const uint8_t block[16384];
    uint32_t window = 3 * sizeof block, n; /* not all: peer_exchange() took a little */
    struct ring_span payload;
    struct mux_head head;

    while (window >= sizeof block) {
        for (; window >= sizeof block; window -= (uint32_t)sizeof block)
            rig_put(&tenant, MUX_DATA, peer.id, block, sizeof block);
        rig_wait_taken(&tenant);
        while (mux_next(&tenant.ring, &head, &payload) == RC_OK) {
            assert_int_equal(head.type, MUX_CREDIT);
            assert_int_equal(mux_u32_decode(&payload, head.len, &n), RC_OK);
            window += n;
            mux_consume(&tenant.ring, &head);
        }
    }
}

/* Seen to fail: without the deadline that conn_fin() sets. */
static void a_client_that_takes_no_more_of_an_ended_answer_is_ended(void **state)
{
    static const char *const extra[] = {"--stall", "1", NULL};
    struct control_msg m;

    tear_down(state);
    begin(extra);
    fill();
    rig_put(&tenant, MUX_CLOSE, peer.id, NULL, 0);
    rig_take(&tenant, MUX_RESET, &frame);
    assert_int_equal(frame.head.conn, peer.id);
    do
        rig_expect(&rig, CONTROL_STATS, &m);
    while (m.counters[CONTROL_COUNTER_relay_stall_timeout_total] != 1);
    assert_int_equal(m.counters[CONTROL_COUNTER_connections], 0);
    another_works(&tenant);
}

static void expect_complaint(void)
{
    struct control_msg m;
    char byte;

    rig_expect(&rig, CONTROL_COMPLAINT, &m);
    assert_int_equal(m.complaint.id.instance, RIG_INSTANCE + 1);
    assert_true(rig_raw(&client, &byte, 1) <= 0); /* reset, or FIN and then reset */
}

static void a_lying_tenant_loses_its_channel_and_is_complained_of(void **state)
{
    struct rig_tenant next;
    struct rig_tls how = {0};
    struct rig_client c;
    struct peer p;

    (void)state;
    rig_put(&tenant, MUX_CLOSE, peer.id, NULL, 0);
    rig_put(&tenant, MUX_DATA, peer.id, "more", 4);
    expect_complaint();

    /* The next instance of the same tenant is served as if nothing had been. */
    rig_tenant_make(&next, 2);
    rig_hello(&rig, &c, &how);
    peer_answer_wake(&rig, &next);
    assert_true(rig_shake(&c));
    peer_take(&next, &p);
    peer_exchange(&next, &p, &c);
    rig_hang_up(&c, true);
    peer_dispose(&p);
    rig_tenant_free(&next);
}

static void an_impossible_index_is_complained_of(void **state)
{
    (void)state;
    atomic_store(&((struct ring_page *)tenant.mem)->right.prod, 0x7fffffff);
    rig_ring_worker(&tenant);
    expect_complaint();
}

static void a_frame_of_a_type_that_nobody_sends_is_complained_of(void **state)
{
    (void)state;
    rig_put(&tenant, (enum mux_type)99, peer.id, NULL, 0);
    expect_complaint();
}

static void more_credit_than_was_used_is_complained_of(void **state)
{
    (void)state;
    rig_put(&tenant, MUX_CREDIT, peer.id, "\xff\xff\xff\xff", 4);
    expect_complaint();
}

/* It would hold its clients' connections, and their keys here, for as long as it likes. */
static void a_tenant_that_takes_nothing_is_complained_of(void **state)
{
    static const char *const extra[] = {"--stall", "1", NULL};
    static const uint8_t window[MUX_CREDIT_INITIAL];
    struct rig_tls how = {0};
    struct rig_client more[2];

    tear_down(state);
    begin(extra);
    SSL_write(client.ssl, window, sizeof window);
    for (int i = 0; i < 2; i++) { /* as much as the ring holds, and one that waits */
        rig_hello(&rig, &more[i], &how);
        assert_true(rig_shake(&more[i]));
        SSL_write(more[i].ssl, window, sizeof window);
    }
    expect_complaint();
    for (int i = 0; i < 2; i++)
        rig_hang_up(&more[i], true);
}

static void frames_of_a_connection_that_is_over_are_dropped(void **state)
{
    (void)state;
    rig_hang_up(&client, true);
    rig_take(&tenant, MUX_RESET, &frame);
    rig_put(&tenant, MUX_DATA, peer.id, "crossed", 7);
    rig_put(&tenant, MUX_CLOSE, peer.id, NULL, 0);
    another_works(&tenant);
}

static void open_and_awake_go_on_without_roomkeyd(void **state)
{
    struct control_msg m;

    (void)state;
    rig_orch_dies(&rig);
    peer_exchange(&tenant, &peer, &client);
    another_works(&tenant);
    assert_int_equal(rig_greet(&rig), 1); /* it holds one channel */
    peer_exchange(&tenant, &peer, &client);

    m = (struct control_msg){.type = CONTROL_GONE, .instance = {RIG_INSTANCE + 1, 1}};
    rig_send(&rig, &m, NULL, 0);
    assert_int_equal(rig_raw(&client, &m, 1), -1);
}

static void a_release_drains_and_is_told_when_the_last_has_left(void **state)
{
    struct control_msg m = {.type = CONTROL_RELEASE};

    (void)state;
    m.release.id = (struct control_instance){RIG_INSTANCE + 1, 1};
    rig_send(&rig, &m, NULL, 0);
    rig_expect(&rig, CONTROL_BUSY, &m); /* bytes have moved */

    m = (struct control_msg){.type = CONTROL_RELEASE};
    m.release.id = (struct control_instance){RIG_INSTANCE + 1, 1};
    m.release.force = 1;
    rig_send(&rig, &m, NULL, 0);
    rig_take(&tenant, MUX_DRAIN, &frame);
    peer_exchange(&tenant, &peer, &client); /* what is open goes on */
    rig_hang_up(&client, true);
    rig_take(&tenant, MUX_RESET, &frame);
    rig_expect(&rig, CONTROL_RELEASED, &m);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_reset_by_the_client_reaches_the_tenant),
        TEST(a_reset_right_behind_data_is_no_end_of_one_side),
        TEST(a_reset_by_the_tenant_reaches_the_client),
        TEST(a_client_that_ends_its_side_still_gets_its_answer),
        TEST(an_answer_that_is_whole_outlives_the_tenant_that_gave_it),
        TEST(a_tenant_that_ends_its_side_still_gets_the_rest),
        TEST(a_body_larger_than_ring_and_credit_arrives_whole),
        TEST(a_client_that_does_not_read_costs_its_credit_and_no_more),
        TEST(a_client_of_a_tenant_that_gives_no_credit_is_seen_to_go),
        TEST(a_client_that_takes_no_more_of_an_ended_answer_is_ended),
        TEST(a_lying_tenant_loses_its_channel_and_is_complained_of),
        TEST(an_impossible_index_is_complained_of),
        TEST(a_frame_of_a_type_that_nobody_sends_is_complained_of),
        TEST(more_credit_than_was_used_is_complained_of),
        TEST(a_tenant_that_takes_nothing_is_complained_of),
        TEST(frames_of_a_connection_that_is_over_are_dropped),
        TEST(open_and_awake_go_on_without_roomkeyd),
        TEST(a_release_drains_and_is_told_when_the_last_has_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
