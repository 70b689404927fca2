#include "fleet_house.h"

#define IDLE_MS REGISTRY_IDLE_MS

static struct backend_instance *acme(struct house *h)
{
    return fake_living(h->backend, "acme");
}

/* Asleep to the moment at which RELEASE has been sent to worker 0. */
static struct control_instance until_release(struct house *h)
{
    struct control_instance id = house_awake(h, 0, "acme.example");
    const struct control_msg *m;

    house_pass(h, IDLE_MS);
    m = house_told(h, 0, CONTROL_RELEASE);
    assert_non_null(m);
    assert_int_equal(m->release.force, 0);
    assert_int_equal(m->release.id.generation, id.generation);
    return id;
}

static void an_idle_instance_is_asked_released_stopped_and_gone(void **state)
{
    struct house *h = *state;
    struct control_instance id = until_release(h);

    assert_int_equal(acme(h)->stops, 0);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_settle(h);
    assert_null(acme(h));
    assert_non_null(house_told(h, 0, CONTROL_GONE));
    assert_int_equal(house_rows_alive(h), 0);
    assert_int_equal(fleet_counters(h->fleet)->reaped_total, 1);
    assert_false(house_event(h, "crashed", ""));
}

static void the_idle_clock_starts_at_ready(void **state)
{
    struct house *h = *state;

    fake_behave(h->backend, "web:1", FAKE_READY, 5000);
    house_awake(h, 0, "acme.example");
    house_pass(h, IDLE_MS - 100);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    house_pass(h, 200);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void bytes_and_connections_hold_it_and_silence_does_not(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");

    for (unsigned n = 0; n < 5; n++) {
        house_pass(h, IDLE_MS - 1000);
        house_activity(h, 0, &id, 1, 10);
    }
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    house_pass(h, IDLE_MS - 1000);
    house_activity(h, 0, &id, 1, 0); /* open, but nothing moves */
    house_pass(h, 1100);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void a_request_in_flight_holds_it(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");

    house_activity(h, 0, &id, 1, 10);
    acme(h)->health.in_flight = 1;
    house_pass(h, IDLE_MS * 3);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    assert_true(fleet_counters(h->fleet)->held_busy_total >= 2);
    acme(h)->health.in_flight = 0;
    house_pass(h, IDLE_MS);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

/* Or it would stay for as long as it says so.  Seen to fail with instance_connections() out of
 * busy(). */
static void a_request_that_no_worker_has_a_connection_for_does_not_hold_it(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    acme(h)->health.in_flight = 0xffffffff;
    house_pass(h, IDLE_MS + 100);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void a_busy_lease_holds_it_until_it_ends(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    acme(h)->health.leases = 1;
    acme(h)->health.busy_ms = 600000;
    house_pass(h, IDLE_MS * 2);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    acme(h)->health = (struct mux_health){0};
    fake_say_busy(acme(h));
    house_settle(h);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void leases_hold_it_no_longer_than_their_bound(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    acme(h)->health.leases = 1;
    acme(h)->health.busy_ms = 86400000;
    house_pass(h, h->limits.busy_max_ms - 1000);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    house_pass(h, IDLE_MS + 2000);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void one_that_is_not_well_is_not_held(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    acme(h)->health.leases = 1;
    acme(h)->ill = true;
    house_pass(h, IDLE_MS);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void one_that_does_not_answer_is_killed(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    acme(h)->mute = true;
    house_pass(h, IDLE_MS + h->limits.health_ms + 10);
    assert_null(acme(h));
    assert_true(house_event(h, "crashed", "health question"));
}

static void busy_wins_over_a_release(void **state)
{
    struct house *h = *state;
    struct control_instance id = until_release(h);

    house_instance(h, 0, CONTROL_BUSY, &id);
    house_pass(h, 20000); /* past drain */
    assert_non_null(acme(h));
    assert_int_equal(acme(h)->stops, 0);
    assert_int_equal(fleet_counters(h->fleet)->taken_back_total, 1);
    house_pass(h, IDLE_MS);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

/* On a connection that was open, and silent for too long: it is not cut off. */
static void a_request_that_comes_after_the_release_holds_it(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");

    house_activity(h, 0, &id, 1, 100);
    house_pass(h, IDLE_MS);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    house_pass(h, 1000);
    house_activity(h, 0, &id, 1, 100);
    house_pass(h, h->limits.drain_ms + 1000);
    assert_int_equal(acme(h)->stops, 0);
    /* Its last bytes do not. */
    house_pass(h, IDLE_MS);
    house_activity(h, 0, &id, 0, 20);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 10);
    assert_null(acme(h));
}

static void busy_of_one_worker_holds_it_for_all(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");
    uint64_t request;

    house_awake(h, 1, "acme.example");
    house_pass(h, IDLE_MS);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_instance(h, 1, CONTROL_BUSY, &id);
    house_pass(h, 20000);
    assert_non_null(acme(h));
    /* The worker that had let go gets the same channel again. */
    request = house_wake(h, 0, "acme.example");
    assert_int_equal(house_ready(h, 0, request).generation, 1);
}

static void a_wake_during_a_release_takes_it_back(void **state)
{
    struct house *h = *state;
    struct control_instance id = until_release(h);
    uint64_t request = house_wake(h, 0, "acme.example");

    assert_int_equal(house_ready(h, 0, request).generation, 1);
    /* Its RELEASED had been on its way: the later word counts. */
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 20000);
    assert_non_null(acme(h));
    assert_int_equal(fake_starts(h->backend), 1);
    assert_null(house_told(h, 0, CONTROL_GONE));
    /* And the next release is one like the first. */
    house_pass(h, IDLE_MS);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_settle(h);
    assert_null(acme(h));
}

static void a_wake_of_another_worker_takes_it_back_too(void **state)
{
    struct house *h = *state;
    struct control_instance id = until_release(h);
    uint64_t request = house_wake(h, 1, "acme.example");

    assert_int_equal(house_ready(h, 1, request).generation, 1);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 20000);
    assert_non_null(acme(h));
}

/* The worker has answered the first RELEASE, was told READY, and then the second. */
static void an_answer_to_a_release_that_was_taken_back_is_not_one_to_the_next(void **state)
{
    struct house *h = *state;
    struct control_instance id = until_release(h);
    struct registry_tenant row = house_row(h, "acme");

    h->hold_fences = true;
    house_ready(h, 0, house_wake(h, 0, "acme.example"));
    assert_int_equal(fleet_instance_stop(h->fleet, row.id, house_on_gone, h), RC_OK);
    house_settle(h);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.force, 1);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    assert_int_equal(acme(h)->stops, 0); /* a connection may have been put on it since */
    h->hold_fences = false;
    house_settle(h);
    assert_int_equal(acme(h)->stops, 0);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_settle(h);
    assert_null(acme(h));
}

static void a_wake_during_the_stop_starts_the_next_generation_at_once(void **state)
{
    struct house *h = *state;
    struct control_instance id = until_release(h);
    struct backend_instance *old = acme(h);
    uint64_t request;

    old->stuck = true;
    house_instance(h, 0, CONTROL_RELEASED, &id);
    assert_int_equal(old->stops, 1);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, 50);
    assert_int_equal(house_ready(h, 0, request).generation, 2);
    assert_true(old->alive);
    assert_int_equal(fake_count(h->backend), 2);
    /* What is late of the old one concerns nobody. */
    house_activity(h, 0, &id, 9, 9);
    house_pass(h, h->limits.stop_ms + h->limits.stop_grace_ms);
    assert_int_equal(fake_count(h->backend), 1);
    assert_int_equal(acme(h)->generation, 2);
    assert_int_equal(house_told(h, 0, CONTROL_GONE)->instance.generation, 1);
}

static void a_worker_that_never_lets_go_does_not_hold_it_for_ever(void **state)
{
    struct house *h = *state;

    until_release(h);
    house_pass(h, h->limits.drain_ms + 10);
    assert_null(acme(h));
    assert_non_null(house_told(h, 0, CONTROL_GONE));
}

static void a_crash_while_it_is_drained_wakes_nobody(void **state)
{
    struct house *h = *state;

    until_release(h);
    fake_crash(acme(h));
    house_pass(h, 1000);
    assert_int_equal(fake_count(h->backend), 0);
    assert_int_equal(house_rows_alive(h), 0);
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 2);
}

static void an_admin_stops_it_and_is_told_when_it_is_gone(void **state)
{
    struct house *h = *state;
    struct registry_tenant row = house_row(h, "acme");
    struct control_instance id;

    assert_int_equal(fleet_instance_stop(h->fleet, row.id, house_on_gone, h), RC_NOT_FOUND);
    id = house_awake(h, 0, "acme.example");
    house_activity(h, 0, &id, 1, 1);
    assert_int_equal(fleet_instance_stop(h->fleet, row.id, house_on_gone, h), RC_OK);
    assert_int_equal(h->gone, 0);
    house_settle(h);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.force, 1);
    /* A wake meanwhile is the next generation's. */
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 2);
    assert_int_equal(h->gone, 0);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 100);
    assert_int_equal(h->gone, 1);
    assert_int_equal(fake_count(h->backend), 1);
}

static void removing_a_tenant_refuses_wakes_and_tells_when_all_is_gone(void **state)
{
    struct house *h = *state;
    struct registry_tenant row = house_row(h, "acme");
    struct registry_dropped dropped;
    struct refusal no;

    house_awake(h, 0, "acme.example");
    fake_say_log(acme(h), MUX_LOG_INFO, "secret of acme");
    house_settle(h);
    assert_int_equal(scratch_sh(&h->scratch, "test -s logs/acme.log"), 0);
    assert_int_equal(fleet_tenant_remove(h->fleet, row.id, house_on_gone, h), RC_OK);
    house_settle(h);
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_DENIED);
    house_release_all(h);
    house_pass(h, 100);
    assert_int_equal(h->gone, 1);
    assert_int_equal(registry_tenant_remove(h->registry, "acme", 1, &dropped, &no), RC_OK);
    fleet_tenant_removed(h->fleet, row.id);
    assert_int_equal(scratch_sh(&h->scratch, "test -e logs/acme.log"), 1);
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_NOT_FOUND);
}

/* Else it would serve on, and its removal wait for the day on which nobody wakes it. */
static void a_change_does_not_take_a_removal_back(void **state)
{
    struct house *h = *state;
    uint64_t id = house_row(h, "acme").id;

    house_awake(h, 0, "acme.example");
    assert_int_equal(fleet_tenant_remove(h->fleet, id, house_on_gone, h), RC_OK);
    fleet_tenant_changed(h->fleet, id);
    house_settle(h);
    house_wake(h, 0, "acme.example");
    assert_non_null(house_told(h, 0, CONTROL_REFUSED));
    house_release_all(h);
    house_pass(h, 100);
    assert_int_equal(h->gone, 1);
    /* Whoever asked for it can. */
    fleet_tenant_changed(h->fleet, id);
    house_awake(h, 0, "acme.example");
}

static void removing_a_tenant_that_sleeps_is_told_at_once(void **state)
{
    struct house *h = *state;

    assert_int_equal(fleet_tenant_remove(h->fleet, house_row(h, "acme").id, house_on_gone, h),
                     RC_OK);
    assert_int_equal(h->gone, 0); /* never from inside */
    house_settle(h);
    assert_int_equal(h->gone, 1);
}

static void sigterm_drains_and_stops_all(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");

    house_tenant(h, "b", "web:1");
    house_awake(h, 1, "b.example");
    fleet_stop(h->fleet, false, house_on_gone, h);
    house_settle(h);
    assert_int_equal(h->gone, 0);
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_release_all(h);
    house_pass(h, 100);
    assert_int_equal(h->gone, 1);
    assert_int_equal(h->gone_rc, RC_OK);
    assert_int_equal(fake_count(h->backend), 0);
    assert_int_equal(house_rows_alive(h), 0);
}

static void sigterm_is_bounded_when_an_instance_does_not_go(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    acme(h)->stuck = true;
    fleet_stop(h->fleet, false, house_on_gone, h);
    house_pass(h, h->limits.shutdown_ms + h->limits.kill_ms + 10);
    assert_int_equal(h->gone, 1);
    assert_int_equal(fake_count(h->backend), 0);
}

static void sigterm_may_leave_them_running(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    fleet_stop(h->fleet, true, house_on_gone, h);
    house_settle(h);
    assert_int_equal(h->gone, 1);
    assert_int_equal(fake_count(h->backend), 1);
    assert_int_equal(house_rows_alive(h), 1);
    /* The workers use their channels on. */
    fleet_worker_lost(h->fleet, 0);
    assert_true(fake_connected(acme(h), 0));
}

static void a_changed_idle_time_counts_at_once(void **state)
{
    struct house *h = *state;
    struct registry_wish wish = {.has_idle_ms = true, .idle_ms = 2000};
    struct registry_tenant row;
    struct registry_dropped dropped;
    struct refusal no;

    house_awake(h, 0, "acme.example");
    assert_int_equal(registry_tenant_set(h->registry, "acme", &wish, 1, &row, &dropped, &no), 0);
    fleet_tenant_changed(h->fleet, row.id);
    house_pass(h, 2100);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void a_changed_idle_time_does_not_cut_a_question_short(void **state)
{
    struct house *h = *state;
    struct registry_wish wish = {.has_idle_ms = true, .idle_ms = 2000};
    struct registry_tenant row;
    struct registry_dropped dropped;
    struct refusal no;

    house_awake(h, 0, "acme.example");
    acme(h)->mute = true;
    house_pass(h, IDLE_MS + 100);
    assert_int_equal(registry_tenant_set(h->registry, "acme", &wish, 1, &row, &dropped, &no), 0);
    fleet_tenant_changed(h->fleet, row.id);
    house_pass(h, 100);
    assert_non_null(acme(h));
    acme(h)->mute = false;
    fake_say_health(acme(h), 1);
    house_settle(h);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    assert_false(house_event(h, "crashed", ""));
}

#define T(f) cmocka_unit_test_setup_teardown(f, house_set_up_acme, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_idle_instance_is_asked_released_stopped_and_gone),
        T(the_idle_clock_starts_at_ready),
        T(bytes_and_connections_hold_it_and_silence_does_not),
        T(a_request_in_flight_holds_it),
        T(a_request_that_no_worker_has_a_connection_for_does_not_hold_it),
        T(a_busy_lease_holds_it_until_it_ends),
        T(leases_hold_it_no_longer_than_their_bound),
        T(one_that_is_not_well_is_not_held),
        T(one_that_does_not_answer_is_killed),
        T(busy_wins_over_a_release),
        T(a_request_that_comes_after_the_release_holds_it),
        T(busy_of_one_worker_holds_it_for_all),
        T(a_wake_during_a_release_takes_it_back),
        T(a_wake_of_another_worker_takes_it_back_too),
        T(an_answer_to_a_release_that_was_taken_back_is_not_one_to_the_next),
        T(a_wake_during_the_stop_starts_the_next_generation_at_once),
        T(a_worker_that_never_lets_go_does_not_hold_it_for_ever),
        T(a_crash_while_it_is_drained_wakes_nobody),
        T(an_admin_stops_it_and_is_told_when_it_is_gone),
        T(removing_a_tenant_refuses_wakes_and_tells_when_all_is_gone),
        T(a_change_does_not_take_a_removal_back),
        T(removing_a_tenant_that_sleeps_is_told_at_once),
        T(sigterm_drains_and_stops_all),
        T(sigterm_is_bounded_when_an_instance_does_not_go),
        T(sigterm_may_leave_them_running),
        T(a_changed_idle_time_counts_at_once),
        T(a_changed_idle_time_does_not_cut_a_question_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
