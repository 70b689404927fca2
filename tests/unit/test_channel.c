/* A channel and its connections: the life of both, credit, bounds, doorbells, a worker's death. */
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/channel_house.h"
#include "tests/unit/record_fixture.h"

/*----- connections -----*/

static void both_versions_are_served_over_and_over(void **state)
{
    static const uint16_t suites[] = {SUITE_13, SUITE_12, 0x1302, 0x1303, 0xcca9};

    (void)state;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        struct front_client *c = front_open((unsigned)i % 2, suites[i], NULL);

        for (int n = 0; n < 20; n++) {
            front_send_text(c, GET("/"));
            assert_true(house_served(c, "hello"));
        }
        front_close(c, true);
        assert_true(c->closed && c->notified && !c->reset);
    }
    assert_int_equal(rt.connections, 0);
}

/* The worker maps the ring for as long as it lives, and must learn nothing from it. */
static void neither_keys_nor_plaintext_stay_in_the_ring(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    struct handover h;

    (void)state;
    fixture_handover(SUITE_13, &h);
    assert_non_null(memmem(front_ring[0].tx, front_ring[0].tx_size, h.in.secret, 16));
    front_send_text(c, GET("/"));
    assert_true(house_served(c, "hello"));
    assert_null(memmem(front_ring[0].tx, front_ring[0].tx_size, h.in.secret, 16));
    assert_null(memmem(front_ring[0].tx, front_ring[0].tx_size, h.out.secret, 16));
    assert_null(memmem(front_ring[0].rx, front_ring[0].rx_size, "hello", 5));
}

static void a_long_answer_comes_whole_through_credit_and_ring(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    const char *body;

    (void)state;
    front_send_text(c, GET("/big"));
    body = strstr(c->got, "\r\n\r\n") + 4;
    assert_int_equal(c->got_len - (size_t)(body - c->got), 5000000);
    for (size_t i = 0; i < 5000000; i += 997)
        assert_int_equal(body[i], 'a' + i % 50000 % 23);
}

static void a_long_body_comes_through_with_its_credit_returned(void **state)
{
    struct front_client *c = front_open(0, SUITE_12, NULL);
    static char block[100000];

    (void)state;
    front_send_text(c,
                    "POST /read HTTP/1.1\r\nHost: acme.example\r\nContent-Length: 3000000\r\n\r\n");
    for (int i = 0; i < 30; i++) {
        memset(block, i, sizeof block);
        front_send(c, block, sizeof block);
        front_pump();
        assert_int_equal(c->out_len, 0);
    }
    assert_true(house_served(c, "read"));
}

static void a_slow_reader_stops_nobody_else(void **state)
{
    struct front_client *slow = front_open(0, SUITE_13, NULL), *c;

    (void)state;
    slow->no_credit = true;
    front_send_text(slow, GET("/big"));
    assert_true(slow->got_len < 70000);
    c = front_open(0, SUITE_13, NULL);
    front_send_text(c, GET("/"));
    assert_true(house_served(c, "hello"));
    assert_false(slow->reset);

    front_sleep(60000); /* and is given up in the end */
    assert_true(slow->reset);
    assert_int_equal(app.gone, 1);
    assert_int_equal(rt.in_flight, 0);
}

/* Its window is full to the last bytes: there is no credit for close_notify. */
static void a_slow_reader_gets_the_end_of_its_answer_too(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    c->no_credit = true;
    front_send_text(c, "GET /window HTTP/1.1\r\nHost: " FRONT_SNI "\r\nConnection: close\r\n\r\n");
    assert_int_equal(rt.in_flight, 0);
    assert_false(c->closed);
    front_sleep(LIMIT_WRITE_MS - 1000);
    assert_false(c->reset);
    c->no_credit = false;
    front_pump();
    assert_true(c->closed && c->notified);
    front_sleep(LIMIT_LINGER_MS); /* it has less time for its own end */
    assert_true(c->reset);
}

static void a_full_ring_is_shared_when_there_is_room_again(void **state)
{
    struct front_client *c[12];

    (void)state;
    for (int i = 0; i < 12; i++)
        c[i] = front_open(0, SUITE_13, NULL);
    front_stall(0, true); /* the worker takes nothing: 12 windows do not fit in its ring */
    for (int i = 0; i < 12; i++)
        front_send_text(c[i], GET("/big"));
    front_stall(0, false);
    front_pump();
    for (int i = 0; i < 12; i++)
        assert_true(c[i]->got_len > 5000000);
}

static void requests_past_the_bound_wait_for_their_turn(void **state)
{
    struct front_client *c[6];

    (void)state;
    rt.requests_max = 2;
    for (int i = 0; i < 6; i++) {
        c[i] = front_open(0, SUITE_13, NULL);
        front_send_text(c[i], GET("/sleep"));
    }
    assert_int_equal(rt.in_flight, 6);
    front_reset(c[4]); /* while it waits */
    assert_int_equal(rt.in_flight, 5);
    front_sleep(60000);
    assert_true(house_served(c[0], "slept") && house_served(c[1], "slept"));
    assert_int_equal(c[2]->got_len, 0);
    front_sleep(60000);
    assert_true(house_served(c[2], "slept") && house_served(c[3], "slept"));
    front_sleep(60000);
    assert_true(house_served(c[5], "slept"));
    assert_int_equal(rt.in_flight, 0);
}

static void connections_past_the_bound_are_reset(void **state)
{
    struct front_client *c[3];

    (void)state;
    rt.connections_max = 2;
    for (int i = 0; i < 3; i++)
        c[i] = front_open(0, SUITE_13, NULL);
    front_pump();
    assert_true(!c[0]->reset && !c[1]->reset && c[2]->reset);
}

static void input_past_the_memory_for_it_resets_who_sends_it(void **state)
{
    static const char body[60000];
    struct front_client *hog = front_open(0, SUITE_13, NULL), *c = front_open(0, SUITE_13, NULL);

    (void)state;
    rt.input_max = 32768;
    front_send_text(hog, GET("/sleep"));
    front_send(hog, body, sizeof body);
    front_pump();
    assert_true(hog->reset);
    front_send_text(c, GET("/"));
    assert_true(house_served(c, "hello"));
}

static void a_client_that_goes_away_wakes_its_request(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/sleep"));
    assert_int_equal(rt.in_flight, 1);
    front_reset(c);
    assert_int_equal(app.gone, 1);
    assert_int_equal(rt.in_flight, 0);
    assert_int_equal(rt.connections, 0);
}

static void a_half_closed_client_gets_its_answer(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/sleep"));
    front_close(c, true);
    assert_false(c->closed);
    front_sleep(60000);
    assert_true(house_served(c, "slept"));
    assert_true(c->closed && c->notified && !c->reset);
    assert_int_equal(rt.connections, 0);
}

static void frames_that_race_with_the_end_are_dropped(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    uint32_t credit = 100;

    (void)state;
    front_reset(c);
    front_put(0, MUX_DATA, c->id, "late", 4);
    front_put(0, MUX_CREDIT, c->id, &credit, 4);
    front_put(0, MUX_CLOSE, c->id, NULL, 0);
    front_put(0, MUX_RESET, c->id, NULL, 0);
    front_put(0, 200, 0, "from the future", 15);
    front_pump();
    assert_int_equal(ring_peer(&front_ring[0]), RING_CONNECTED);
}

/*----- the worker's death -----*/

static void a_dead_worker_takes_its_connections_and_frees_its_slot(void **state)
{
    struct front_client *c = house_sleeper(), *other = front_open(1, SUITE_13, NULL);

    (void)state;
    front_kill_worker(0);
    assert_int_equal(app.gone, 1);
    assert_int_equal(rt.connections, 1);
    assert_int_equal(front_said.slot, 1);
    assert_int_equal(front_said.last_slot, 0);
    assert_int_equal(ring_peer(&front_ring[0]), RING_CONNECTED);

    front_attach(0);
    c = front_open(0, SUITE_13, NULL);
    front_send_text(c, GET("/"));
    assert_true(house_served(c, "hello"));
    front_send_text(other, GET("/"));
    assert_true(house_served(other, "hello"));
}

/*----- doorbells -----*/

static void doorbells_ring_only_for_who_asked(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    unsigned before;

    (void)state;
    front_pump();
    before = front_rings[1];
    ring_want(&front_ring[0], RING_NOTIFY_WRITE);
    front_send_text(c, GET("/"));
    assert_int_equal(front_rings[1], before + 1);
    front_send_text(c, GET("/"));
    assert_int_equal(front_rings[1], before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(both_versions_are_served_over_and_over),
        HOUSE_TEST(neither_keys_nor_plaintext_stay_in_the_ring),
        HOUSE_TEST(a_long_answer_comes_whole_through_credit_and_ring),
        HOUSE_TEST(a_long_body_comes_through_with_its_credit_returned),
        HOUSE_TEST(a_slow_reader_stops_nobody_else),
        HOUSE_TEST(a_slow_reader_gets_the_end_of_its_answer_too),
        HOUSE_TEST(a_full_ring_is_shared_when_there_is_room_again),
        HOUSE_TEST(requests_past_the_bound_wait_for_their_turn),
        HOUSE_TEST(connections_past_the_bound_are_reset),
        HOUSE_TEST(input_past_the_memory_for_it_resets_who_sends_it),
        HOUSE_TEST(a_client_that_goes_away_wakes_its_request),
        HOUSE_TEST(a_half_closed_client_gets_its_answer),
        HOUSE_TEST(frames_that_race_with_the_end_are_dropped),
        HOUSE_TEST(a_dead_worker_takes_its_connections_and_frees_its_slot),
        HOUSE_TEST(doorbells_ring_only_for_who_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
