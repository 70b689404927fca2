/* What roomkeyd says to an instance, and hears of it: its start, drain and stop, health, leases
 * and the log. */
#include <string.h>

#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/channel_house.h"

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
    app.start_result = 3;
    assert_false(front_start());
    assert_int_equal(front_said.ready, 0);
    assert_int_equal(front_said.failed, 1);
    assert_non_null(strstr(front_said.text, "there is a reason"));
    assert_non_null(strstr(front_said.text, "tests 1.0.0: on_start returned 3"));
    front_end();
}

/*----- drain and stop -----*/

static void drain_ends_the_idle_and_lets_the_active_finish(void **state)
{
    struct front_client *idle = front_open(0, SUITE_13, NULL), *active = house_sleeper(), *c;

    (void)state;
    front_send_text(idle, GET("/"));
    front_put(0, MUX_DRAIN, 0, NULL, 0);
    front_pump();
    assert_true(idle->closed && idle->notified);
    assert_false(active->closed);
    front_sleep(60000);
    assert_non_null(strstr(active->got, "Connection: close"));
    assert_true(house_served(active, "slept"));
    assert_true(active->closed && active->notified);

    c = front_open(0, SUITE_13, NULL); /* takes the drain back */
    front_send_text(c, GET("/"));
    assert_true(house_served(c, "hello"));
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
    assert_true(house_served(late, "hello"));
    assert_true(late->closed && late->notified);
    front_sleep(2000);
    front_pump();
    assert_true(silent->closed && silent->notified);
}

static void stop_waits_for_requests_and_calls_on_stop(void **state)
{
    struct front_client *idle = front_open(1, SUITE_13, NULL), *active = house_sleeper();

    (void)state;
    front_send_text(idle, GET("/"));
    assert_true(house_served(idle, "hello"));
    assert_int_equal(runtime_verdict(), RC_AGAIN);
    front_stop(100000);
    assert_true(idle->closed);
    front_close(idle, true);
    assert_int_equal(runtime_verdict(), RC_AGAIN);
    front_sleep(60000);
    assert_true(house_served(active, "slept"));
    front_close(active, true);
    assert_int_equal(runtime_verdict(), RC_OK);
}

static void past_its_deadline_stop_cuts_off(void **state)
{
    struct front_client *active = house_sleeper();

    (void)state;
    front_stop(8000);
    front_sleep(6900);
    assert_int_equal(runtime_verdict(), RC_AGAIN);
    front_sleep(200);
    assert_int_equal(app.gone, 1);
    assert_int_equal(runtime_verdict(), RC_OK);
    active->reset = true; /* it was not told: the channel goes at once */
}

static void an_open_after_stop_is_refused(void **state)
{
    struct front_client *c;

    (void)state;
    (void)house_sleeper();
    front_stop(8000);
    c = front_open(0, SUITE_13, NULL);
    front_pump();
    assert_true(c->reset);
}

/*----- health, leases, log -----*/

static void health_tells_what_is_going_on(void **state)
{
    (void)state;
    (void)house_sleeper();
    front_open(1, SUITE_13, NULL);
    front_pump();
    front_health(99);
    assert_int_equal(front_said.health, 1);
    assert_int_equal(front_said.last_health.token, 99);
    assert_int_equal(front_said.last_health.healthy, 1);
    assert_int_equal(front_said.last_health.connections, 2);
    assert_int_equal(front_said.last_health.in_flight, 1);
    assert_int_equal(front_said.last_health.leases, 0);
    app.healthy = false;
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
    rk_busy_end(app.lease);
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
    assert_true(house_served(c, "logged"));
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
    assert_true(house_served(c, "hello"));
    front_health(5);
    assert_int_equal(front_said.last_health.token, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(ready_is_said_once_when_on_start_has_returned),
        cmocka_unit_test(a_failed_on_start_says_why_and_is_never_ready),
        HOUSE_TEST(drain_ends_the_idle_and_lets_the_active_finish),
        HOUSE_TEST(a_connection_that_has_not_asked_yet_may_do_so_while_draining),
        HOUSE_TEST(stop_waits_for_requests_and_calls_on_stop),
        HOUSE_TEST(past_its_deadline_stop_cuts_off),
        HOUSE_TEST(an_open_after_stop_is_refused),
        HOUSE_TEST(health_tells_what_is_going_on),
        HOUSE_TEST(the_end_of_a_lease_is_told_to_who_has_asked),
        HOUSE_TEST(leases_are_counted_and_bounded),
        HOUSE_TEST(log_lines_past_the_ring_are_counted_and_hold_up_nothing),
        HOUSE_TEST(nonsense_on_the_control_channel_ends_the_instance),
        HOUSE_TEST(an_orchestrator_that_leaves_may_come_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
