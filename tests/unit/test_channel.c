/* Channels and connections: the life of both, liars, death, drain and stop, credit
 * and the ends of a TLS stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/fake_front.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/unit.h"

#define SUITE_13  0x1301
#define SUITE_12  0xc02b
#define GET(path) "GET " path " HTTP/1.1\r\nHost: " FRONT_SNI "\r\n\r\n"

static int start_result;
static bool healthy;
static unsigned stops, gone;
static uint32_t lease;

/*----- the app -----*/

static int start(void)
{
    if (start_result)
        rk_log(RK_ERROR, "there is a reason");
    return start_result;
}

static void stop(void)
{
    stops++;
}

static bool health(void)
{
    return healthy;
}

static void serve(struct rk_request *req)
{
    static char block[50000], window[64308];
    const char *path = rk_path(req);

    if (strcmp(path, "/sleep") == 0) {
        if (rk_sleep(req, 60000) == RK_GONE)
            gone++;
        else
            rk_reply(req, 200, NULL, "slept", 5);
    } else if (strcmp(path, "/big") == 0) { /* 5,000,000 bytes, each its offset mod 50,000 */
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (char)('a' + i % 23);
        (void)rk_begin(req, 200, NULL, 5000000);
        for (int i = 0; i < 100; i++)
            if (rk_write(req, block, sizeof block)) {
                gone++;
                return;
            }
    } else if (strcmp(path, "/window") == 0) {
        /* Leaves 8 bytes of a TLS 1.3 connection's credit. */
        rk_reply(req, 200, NULL, window, sizeof window);
    } else if (strcmp(path, "/stuck") == 0) { /* the same, in the middle of its answer */
        (void)rk_begin(req, 200, NULL, sizeof window + 5);
        (void)rk_write(req, window, sizeof window);
        if (rk_sleep(req, 60000) == RK_GONE)
            gone++;
    } else if (strcmp(path, "/read") == 0) {
        while (rk_read(req, block, sizeof block) > 0)
            ;
        rk_reply(req, 200, NULL, "read", 4);
    } else if (strcmp(path, "/busy") == 0) {
        lease = rk_busy(5000);
        rk_reply(req, 200, NULL, "busy", 4);
    } else if (strcmp(path, "/log") == 0) {
        for (int i = 0; i < 1000; i++)
            rk_log(RK_INFO, "line %d of a flood of lines, each of them long enough to fill", i);
        rk_reply(req, 200, NULL, "logged", 6);
    } else {
        rk_reply(req, 200, NULL, "hello", 5);
    }
}

ROOMKEY_APP("tests", "1.0.0", .on_start = start, .on_stop = stop, .on_health = health,
            .on_request = serve);

/*----- fixture -----*/

static int setup(void **state)
{
    (void)state;
    start_result = 0;
    healthy = true;
    stops = gone = 0;
    assert_true(front_start());
    front_attach(0);
    front_attach(1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    front_end();
    return 0;
}

static bool served(struct front_client *c, const char *body)
{
    char *got = front_take(c);
    size_t len = strlen(got), n = strlen(body);
    bool is = len > n && strcmp(got + len - n, body) == 0 && strncmp(got, "HTTP/1.1 200", 12) == 0;

    free(got);
    return is;
}

static void assert_left(unsigned channel, const char *why)
{
    front_pump();
    assert_int_equal(ring_peer(&front_ring[channel]), RING_GONE);
    if (!strstr(front_said.text, why))
        print_error("said: %s\n", front_said.text);
    assert_non_null(strstr(front_said.text, why));
}

/*----- start -----*/

static void ready_is_said_once_when_on_start_has_returned(void **state)
{
    (void)state;
    assert_int_equal(front_said.ready, 1);
    assert_int_equal(front_said.failed, 0);
}

static void a_failed_on_start_says_why_and_is_never_ready(void **state)
{
    (void)state;
    start_result = 3;
    assert_false(front_start());
    assert_int_equal(front_said.ready, 0);
    assert_int_equal(front_said.failed, 1);
    assert_non_null(strstr(front_said.text, "there is a reason"));
    assert_non_null(strstr(front_said.text, "tests 1.0.0: on_start returned 3"));
    front_end();
}

/*----- connections -----*/

static void both_versions_are_served_over_and_over(void **state)
{
    static const uint16_t suites[] = {SUITE_13, SUITE_12, 0x1302, 0x1303, 0xcca9};

    (void)state;
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        struct front_client *c = front_open((unsigned)i % 2, suites[i], NULL);

        for (int n = 0; n < 20; n++) {
            front_send_text(c, GET("/"));
            assert_true(served(c, "hello"));
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
    assert_true(served(c, "hello"));
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
    assert_true(served(c, "read"));
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
    assert_true(served(c, "hello"));
    assert_false(slow->reset);

    front_sleep(60000); /* and is given up in the end */
    assert_true(slow->reset);
    assert_int_equal(gone, 1);
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
    assert_true(served(c[0], "slept") && served(c[1], "slept"));
    assert_int_equal(c[2]->got_len, 0);
    front_sleep(60000);
    assert_true(served(c[2], "slept") && served(c[3], "slept"));
    front_sleep(60000);
    assert_true(served(c[5], "slept"));
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
    assert_true(served(c, "hello"));
}

static void a_client_that_goes_away_wakes_its_request(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/sleep"));
    assert_int_equal(rt.in_flight, 1);
    front_reset(c);
    assert_int_equal(gone, 1);
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
    assert_true(served(c, "slept"));
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

/*----- faults of the client's TLS -----*/

static void a_forged_record_gets_its_alert_and_ends(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    uint8_t forged[64] = {23, 3, 3, 0, 59};

    (void)state;
    front_send_raw(c, forged, sizeof forged);
    assert_true(c->closed);
    assert_int_equal(c->read_rc, RC_CANCELED);
    assert_int_equal(record_alert(&c->record), TLS_BAD_RECORD_MAC);
    front_close(c, false);
    assert_int_equal(rt.connections, 0);
}

static void a_forged_record_in_a_body_ends_the_request(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    uint8_t forged[64] = {23, 3, 3, 0, 59};

    (void)state;
    front_send_text(c, "POST /read HTTP/1.1\r\nHost: acme.example\r\nContent-Length: 9\r\n\r\nabc");
    front_send_raw(c, forged, sizeof forged);
    assert_true(c->closed);
    assert_int_equal(record_alert(&c->record), TLS_BAD_RECORD_MAC);
    assert_int_equal(rt.in_flight, 0);
}

/* Without http_input's look at the records while an answer is sent, the next six fail. */
static void a_key_update_is_answered_in_the_middle_of_an_answer(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    uint8_t first[HANDOVER_SECRET_MAX];

    (void)state;
    c->no_credit = true;
    front_send_text(c, GET("/big"));
    memcpy(first, c->record.in.secret, sizeof first);
    c->record.key_update = c->record.key_update_ask = true;
    front_send(c, NULL, 0);
    front_pump();
    front_put(0, MUX_CREDIT, c->id, &c->owed, 4);
    c->owed = 0;
    front_pump();
    assert_true(c->got_len < 200000);
    assert_memory_not_equal(first, c->record.in.secret, sizeof first);
    c->no_credit = false;
    front_pump();
    assert_true(c->got_len > 5000000);
}

static void a_forged_record_in_the_middle_of_an_answer_ends_it(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    uint8_t forged[64] = {23, 3, 3, 0, 59};

    (void)state;
    c->no_credit = true;
    front_send_text(c, GET("/big"));
    front_send_raw(c, forged, sizeof forged);
    assert_int_equal(gone, 1);
    assert_int_equal(rt.in_flight, 0);
    c->no_credit = false; /* there may have been none for the alert */
    front_pump();
    assert_true(c->closed && c->got_len < 200000);
    assert_int_equal(record_alert(&c->record), TLS_BAD_RECORD_MAC);
}

/* In the middle of an answer, and no byte of it can be sent. */
static struct front_client *owed_an_alert(void)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    uint8_t forged[64] = {23, 3, 3, 0, 59};

    c->no_credit = true;
    front_send_text(c, "GET /stuck HTTP/1.1\r\nHost: " FRONT_SNI "\r\nConnection: close\r\n\r\n");
    assert_int_equal(rt.in_flight, 1);
    front_send_raw(c, forged, sizeof forged);
    assert_int_equal(gone, 1);
    assert_int_equal(rt.in_flight, 0);
    assert_false(c->closed || record_alert(&c->record));
    return c;
}

/* Fails with the end said (out_over) when there is no credit for what comes before it. */
static void an_alert_without_credit_waits_for_it(void **state)
{
    struct front_client *c = owed_an_alert();

    (void)state;
    c->no_credit = false;
    front_pump();
    assert_true(c->closed);
    assert_int_equal(record_alert(&c->record), TLS_BAD_RECORD_MAC);
}

/* Fails without the deadline in conn_settle(). */
static void an_alert_that_gets_no_credit_for_ever_is_given_up(void **state)
{
    struct front_client *c = owed_an_alert();

    (void)state;
    front_sleep(LIMIT_WRITE_MS - 1000);
    assert_false(c->reset);
    front_sleep(1000);
    assert_true(c->reset && !record_alert(&c->record));
    assert_int_equal(rt.connections, 0);
}

static void a_forged_record_wakes_a_request_that_sleeps(void **state)
{
    struct front_client *c = front_open(0, SUITE_12, NULL);
    uint8_t forged[64] = {23, 3, 3, 0, 59};

    (void)state;
    front_send_text(c, GET("/sleep"));
    front_send_raw(c, forged, sizeof forged);
    assert_int_equal(gone, 1);
    assert_int_equal(rt.in_flight, 0);
    assert_true(c->closed);
    assert_int_equal(c->got_len, 0);
    assert_int_equal(record_alert(&c->record), TLS_BAD_RECORD_MAC);
}

static void a_fatal_alert_in_the_middle_of_an_answer_ends_it_without_one(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);
    size_t before;

    (void)state;
    c->no_credit = true;
    front_send_text(c, GET("/big"));
    before = c->got_len;
    record_fail(&c->record, TLS_INTERNAL_ERROR);
    front_send(c, NULL, 0);
    front_pump();
    assert_true(c->reset && c->got_len == before);
    assert_int_equal(gone, 1);
    assert_int_equal(rt.connections, 0);
}

static void what_comes_behind_close_notify_is_ignored(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/sleep"));
    record_close(&c->record);
    front_send(c, NULL, 0);
    front_pump();
    front_send_raw(c, GET("/"), strlen(GET("/"))); /* of a peer that is mad */
    assert_int_equal(rt.in_flight, 1);
    front_sleep(60000);
    assert_true(served(c, "slept"));
    assert_true(c->closed && c->notified);
    front_close(c, false);
    assert_int_equal(rt.connections, 0);
}

static void an_end_without_close_notify_ends_it_too(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/"));
    front_close(c, false);
    assert_true(c->closed && c->notified);
    assert_int_equal(rt.connections, 0);
}

/*----- liars -----*/

#define CONN(c) ((c)->id)

/* It has sent a next request as well, behind which nothing is looked at yet. */
static struct front_client *victim(void)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    front_send_text(c, GET("/sleep") GET("/"));
    return c;
}

static void each_lie_closes_the_channel_and_no_other(void **state)
{
    static const uint8_t junk[MUX_PAYLOAD_MAX];
    static const struct {
        uint8_t type;
        bool of_conn;
        uint32_t len;
        int times;
        const char *why;
    } lies[] = {
        {MUX_HELLO, false, MUX_HELLO_SIZE, 1, "HELLO twice"},
        {MUX_HELLO, true, MUX_HELLO_SIZE, 1, "should not be"},
        {MUX_OPEN, true, 100, 1, "OPEN is malformed"},
        {MUX_OPEN, false, 100, 1, "should not be"},
        {MUX_DATA, false, 100, 1, "should not be"},
        {MUX_DATA, true, MUX_PAYLOAD_MAX, 3, "past its credit"},
        {MUX_CREDIT, true, 3, 1, "CREDIT is malformed"},
        {MUX_CLOSE, true, 1, 1, "CLOSE is malformed"},
        {MUX_CLOSE, true, 0, 2, "CLOSE twice"},
        {MUX_RESET, true, 1, 1, "RESET is malformed"},
        {MUX_DRAIN, true, 0, 1, "should not be"},
        {MUX_DRAIN, false, 1, 1, "DRAIN is malformed"},
        {MUX_READY, false, 0, 1, "control channel"},
        {MUX_SLOT, false, 4, 1, "control channel"},
        {0, false, 0, 1, "should not be"},
    };
    struct front_client *bystander = front_open(1, SUITE_13, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct front_client *c = victim();

        front_said.text[0] = '\0';
        for (int n = 0; n < lies[i].times; n++)
            front_put(0, lies[i].type, lies[i].of_conn ? CONN(c) : 0, junk, lies[i].len);
        assert_left(0, lies[i].why);
        assert_int_equal(rt.connections, 1);

        front_send_text(bystander, GET("/"));
        assert_true(served(bystander, "hello"));
        front_kill_worker(0);
        front_attach(0);
    }
    assert_int_equal(gone, sizeof lies / sizeof lies[0]);
}

static void more_credit_than_was_sent_is_a_lie(void **state)
{
    struct front_client *c = victim();
    uint32_t more = 1;

    (void)state;
    front_put(0, MUX_CREDIT, c->id, &more, 4);
    assert_left(0, "more credit than");
}

static void a_frame_before_hello_is_a_lie(void **state)
{
    (void)state;
    front_kill_worker(0);
    front_attach_silent(0);
    front_put(0, MUX_DRAIN, 0, NULL, 0);
    assert_left(0, "not HELLO");
}

static void another_version_is_refused_with_a_clear_line(void **state)
{
    (void)state;
    front_kill_worker(0);
    front_attach_silent(0);
    front_hello(0, MUX_VERSION + 1, HANDOVER_VERSION, 7);
    assert_left(0, "speaks frames 2 and handover 1, this image 1 and 1");
}

static void another_generation_is_refused(void **state)
{
    (void)state;
    front_kill_worker(0);
    front_attach_silent(0);
    front_hello(0, MUX_VERSION, HANDOVER_VERSION, 8);
    assert_left(0, "another generation");
}

static void wild_indices_close_the_channel(void **state)
{
    static const uint32_t wild[] = {1u << 31,   (1u << 17) + 1,
                                    UINT32_MAX, /* of what it wrote */
                                    1u << 31,   1,
                                    1u << 18}; /* of what it read */

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct ring_page *page = front_ring[0].page;
        _Atomic uint32_t *index = i < 3 ? &page->left.prod : &page->right.cons;

        (void)victim();
        atomic_store(index, atomic_load(index) + wild[i]);
        assert_left(0, "makes no sense");
        front_kill_worker(0);
        front_attach(0);
    }
    assert_int_equal(gone, 6);
}

/*----- the worker's death -----*/

static void a_dead_worker_takes_its_connections_and_frees_its_slot(void **state)
{
    struct front_client *c = victim(), *other = front_open(1, SUITE_13, NULL);

    (void)state;
    front_kill_worker(0);
    assert_int_equal(gone, 1);
    assert_int_equal(rt.connections, 1);
    assert_int_equal(front_said.slot, 1);
    assert_int_equal(front_said.last_slot, 0);
    assert_int_equal(ring_peer(&front_ring[0]), RING_CONNECTED);

    front_attach(0);
    c = front_open(0, SUITE_13, NULL);
    front_send_text(c, GET("/"));
    assert_true(served(c, "hello"));
    front_send_text(other, GET("/"));
    assert_true(served(other, "hello"));
}

/*----- drain and stop -----*/

static void drain_ends_the_idle_and_lets_the_active_finish(void **state)
{
    struct front_client *idle = front_open(0, SUITE_13, NULL), *active = victim(), *c;

    (void)state;
    front_send_text(idle, GET("/"));
    front_put(0, MUX_DRAIN, 0, NULL, 0);
    front_pump();
    assert_true(idle->closed && idle->notified);
    assert_false(active->closed);
    front_sleep(60000);
    assert_non_null(strstr(active->got, "Connection: close"));
    assert_true(served(active, "slept"));
    assert_true(active->closed && active->notified);

    c = front_open(0, SUITE_13, NULL); /* takes the drain back */
    front_send_text(c, GET("/"));
    assert_true(served(c, "hello"));
    assert_false(c->closed);
}

static void a_connection_that_has_not_asked_yet_may_do_so_while_draining(void **state)
{
    struct front_client *late = front_open(0, SUITE_13, NULL), *silent;

    (void)state;
    silent = front_open(0, SUITE_13, NULL);
    front_put(0, MUX_DRAIN, 0, NULL, 0);
    front_pump();
    assert_false(late->closed || silent->closed);
    front_send_text(late, GET("/"));
    assert_non_null(strstr(late->got, "Connection: close"));
    assert_true(served(late, "hello"));
    assert_true(late->closed && late->notified);
    front_sleep(2000);
    front_pump();
    assert_true(silent->closed && silent->notified);
}

static void stop_waits_for_requests_and_calls_on_stop(void **state)
{
    struct front_client *idle = front_open(1, SUITE_13, NULL), *active = victim();

    (void)state;
    front_send_text(idle, GET("/"));
    assert_true(served(idle, "hello"));
    assert_int_equal(runtime_verdict(), RC_AGAIN);
    front_stop(100000);
    assert_true(idle->closed);
    front_close(idle, true);
    assert_int_equal(runtime_verdict(), RC_AGAIN);
    front_sleep(60000);
    assert_true(served(active, "slept"));
    front_close(active, true);
    assert_int_equal(runtime_verdict(), RC_OK);
}

static void past_its_deadline_stop_cuts_off(void **state)
{
    struct front_client *active = victim();

    (void)state;
    front_stop(8000);
    front_sleep(6900);
    assert_int_equal(runtime_verdict(), RC_AGAIN);
    front_sleep(200);
    assert_int_equal(gone, 1);
    assert_int_equal(runtime_verdict(), RC_OK);
    active->reset = true; /* it was not told: the channel goes at once */
}

static void an_open_after_stop_is_refused(void **state)
{
    struct front_client *c;

    (void)state;
    (void)victim();
    front_stop(8000);
    c = front_open(0, SUITE_13, NULL);
    front_pump();
    assert_true(c->reset);
}

/*----- health, leases, log -----*/

static void health_tells_what_is_going_on(void **state)
{
    (void)state;
    (void)victim();
    front_open(1, SUITE_13, NULL);
    front_pump();
    front_health(99);
    assert_int_equal(front_said.health, 1);
    assert_int_equal(front_said.last_health.token, 99);
    assert_int_equal(front_said.last_health.healthy, 1);
    assert_int_equal(front_said.last_health.connections, 2);
    assert_int_equal(front_said.last_health.in_flight, 1);
    assert_int_equal(front_said.last_health.leases, 0);
    healthy = false;
    front_health(100);
    assert_int_equal(front_said.last_health.healthy, 0);
}

static void the_end_of_a_lease_is_told_to_who_has_asked(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/busy"));
    assert_int_equal(front_said.busy, 0);
    front_health(1);
    assert_int_equal(front_said.last_health.leases, 1);
    assert_int_equal(front_said.last_health.busy_ms, 5000);
    front_sleep(4999);
    assert_int_equal(front_said.busy, 0);
    front_sleep(1);
    assert_int_equal(front_said.busy, 1);
    assert_int_equal(front_said.last_health.leases, 0);
    assert_int_equal(front_said.last_health.token, 0);

    front_send_text(c, GET("/busy"));
    rk_busy_end(lease);
    front_pump();
    assert_int_equal(front_said.busy, 1); /* nobody has asked since */
}

static void leases_are_counted_and_bounded(void **state)
{
    uint32_t ids[64];

    (void)state;
    for (int i = 0; i < 64; i++)
        assert_true((ids[i] = rk_busy(UINT64_MAX)) != 0);
    assert_int_equal(rk_busy(1), 0);
    for (int i = 0; i < 64; i++)
        rk_busy_end(ids[i]);
    rk_busy_end(ids[0]); /* again: nothing */
    front_health(1);
    assert_int_equal(front_said.last_health.leases, 0);
}

static void log_lines_past_the_ring_are_counted_and_hold_up_nothing(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, GET("/log"));
    assert_true(served(c, "logged"));
    assert_true(front_said.lines < 1000);
    assert_non_null(strstr(front_said.text, "lines of this log were lost"));
}

static void nonsense_on_the_control_channel_ends_the_instance(void **state)
{
    (void)state;
    assert_int_equal(mux_put(&front_control, MUX_OPEN, 0, NULL, 0), RC_OK);
    front_pump();
    assert_int_equal(runtime_verdict(), RC_MALFORMED);
}

static void an_orchestrator_that_leaves_may_come_again(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_control_again();
    front_send_text(c, GET("/"));
    assert_true(served(c, "hello"));
    front_health(5);
    assert_int_equal(front_said.last_health.token, 5);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ready_is_said_once_when_on_start_has_returned),
        cmocka_unit_test(a_failed_on_start_says_why_and_is_never_ready),
        TEST(both_versions_are_served_over_and_over),
        TEST(neither_keys_nor_plaintext_stay_in_the_ring),
        TEST(a_long_answer_comes_whole_through_credit_and_ring),
        TEST(a_long_body_comes_through_with_its_credit_returned),
        TEST(a_slow_reader_stops_nobody_else),
        TEST(a_slow_reader_gets_the_end_of_its_answer_too),
        TEST(a_full_ring_is_shared_when_there_is_room_again),
        TEST(requests_past_the_bound_wait_for_their_turn),
        TEST(connections_past_the_bound_are_reset),
        TEST(input_past_the_memory_for_it_resets_who_sends_it),
        TEST(a_client_that_goes_away_wakes_its_request),
        TEST(a_half_closed_client_gets_its_answer),
        TEST(frames_that_race_with_the_end_are_dropped),
        TEST(a_forged_record_gets_its_alert_and_ends),
        TEST(a_forged_record_in_a_body_ends_the_request),
        TEST(a_key_update_is_answered_in_the_middle_of_an_answer),
        TEST(a_forged_record_in_the_middle_of_an_answer_ends_it),
        TEST(an_alert_without_credit_waits_for_it),
        TEST(an_alert_that_gets_no_credit_for_ever_is_given_up),
        TEST(a_forged_record_wakes_a_request_that_sleeps),
        TEST(a_fatal_alert_in_the_middle_of_an_answer_ends_it_without_one),
        TEST(what_comes_behind_close_notify_is_ignored),
        TEST(an_end_without_close_notify_ends_it_too),
        TEST(each_lie_closes_the_channel_and_no_other),
        TEST(more_credit_than_was_sent_is_a_lie),
        TEST(a_frame_before_hello_is_a_lie),
        TEST(another_version_is_refused_with_a_clear_line),
        TEST(another_generation_is_refused),
        TEST(wild_indices_close_the_channel),
        TEST(a_dead_worker_takes_its_connections_and_frees_its_slot),
        TEST(drain_ends_the_idle_and_lets_the_active_finish),
        TEST(a_connection_that_has_not_asked_yet_may_do_so_while_draining),
        TEST(stop_waits_for_requests_and_calls_on_stop),
        TEST(past_its_deadline_stop_cuts_off),
        TEST(an_open_after_stop_is_refused),
        TEST(health_tells_what_is_going_on),
        TEST(the_end_of_a_lease_is_told_to_who_has_asked),
        TEST(leases_are_counted_and_bounded),
        TEST(log_lines_past_the_ring_are_counted_and_hold_up_nothing),
        TEST(nonsense_on_the_control_channel_ends_the_instance),
        TEST(an_orchestrator_that_leaves_may_come_again),
        TEST(doorbells_ring_only_for_who_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
