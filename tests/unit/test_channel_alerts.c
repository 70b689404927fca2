/* Faults of a client's TLS and the ends of its stream, at any time of a request: each gets its
 * alert and ends, whatever credit there is. */
#include <string.h>

#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/channel_house.h"

static void send_forged(struct front_client *c)
{
    static const uint8_t forged[64] = {23, 3, 3, 0, 59};

    front_send_raw(c, forged, sizeof forged);
}

static void a_forged_record_gets_its_alert_and_ends(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    send_forged(c);
    assert_true(c->closed);
    assert_int_equal(c->read_rc, RC_CANCELED);
    assert_int_equal(record_alert(&c->record), TLS_BAD_RECORD_MAC);
    front_close(c, false);
    assert_int_equal(rt.connections, 0);
}

static void a_forged_record_in_a_body_ends_the_request(void **state)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    (void)state;
    front_send_text(c, "POST /read HTTP/1.1\r\nHost: acme.example\r\nContent-Length: 9\r\n\r\nabc");
    send_forged(c);
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

    (void)state;
    c->no_credit = true;
    front_send_text(c, GET("/big"));
    send_forged(c);
    assert_int_equal(app.gone, 1);
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

    c->no_credit = true;
    front_send_text(c, "GET /stuck HTTP/1.1\r\nHost: " FRONT_SNI "\r\nConnection: close\r\n\r\n");
    assert_int_equal(rt.in_flight, 1);
    send_forged(c);
    assert_int_equal(app.gone, 1);
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

    (void)state;
    front_send_text(c, GET("/sleep"));
    send_forged(c);
    assert_int_equal(app.gone, 1);
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
    assert_int_equal(app.gone, 1);
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
    assert_true(house_served(c, "slept"));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(a_forged_record_gets_its_alert_and_ends),
        HOUSE_TEST(a_forged_record_in_a_body_ends_the_request),
        HOUSE_TEST(a_key_update_is_answered_in_the_middle_of_an_answer),
        HOUSE_TEST(a_forged_record_in_the_middle_of_an_answer_ends_it),
        HOUSE_TEST(an_alert_without_credit_waits_for_it),
        HOUSE_TEST(an_alert_that_gets_no_credit_for_ever_is_given_up),
        HOUSE_TEST(a_forged_record_wakes_a_request_that_sleeps),
        HOUSE_TEST(a_fatal_alert_in_the_middle_of_an_answer_ends_it_without_one),
        HOUSE_TEST(what_comes_behind_close_notify_is_ignored),
        HOUSE_TEST(an_end_without_close_notify_ends_it_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
