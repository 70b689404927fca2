/* Who waits for a tenant: served, refused, told at the deadline. */
#include "fleet_house.h"

#define SETTLE_MS 100

static void a_route_comes_at_once_and_ready_when_the_instance_is(void **state)
{
    struct house *h = *state;
    uint64_t request = house_wake(h, 0, "acme.example");
    const struct control_msg *route = house_told(h, 0, CONTROL_ROUTE);

    assert_non_null(route);
    assert_int_equal(route->route.request, request);
    assert_string_equal(route->route.name, "acme");
    assert_string_equal(route->route.alpn, "http/1.1");
    assert_int_equal(route->route.certs, 1);
    assert_int_equal(route->route.wake_timeout_ms, REGISTRY_WAKE_TIMEOUT_MS);
    assert_null(house_told(h, 0, CONTROL_READY));

    house_pass(h, 30);
    struct control_instance id = house_ready(h, 0, request);
    assert_int_equal(id.generation, 1);
    assert_int_equal(fake_count(h->backend), 1);
    assert_int_equal(house_row(h, "acme").last_good, house_row(h, "acme").image);
}

static void certificates_are_left_out_when_the_worker_has_them(void **state)
{
    struct house *h = *state;
    struct control_msg m = {.type = CONTROL_WAKE, .wake = {.request = 9}};

    strcpy(m.wake.hostname, "acme.example");
    m.wake.route_revision = house_row(h, "acme").revision;
    house_say(h, 0, &m);
    assert_int_equal(house_told(h, 0, CONTROL_ROUTE)->route.certs, 0);
}

static void the_one_who_woke_it_learns_the_times(void **state)
{
    struct house *h = *state;
    uint64_t first = house_wake(h, 0, "acme.example"), second, third;
    const struct control_msg *m;

    house_pass(h, 10);
    second = house_wake(h, 0, "acme.example");
    house_pass(h, 30);
    third = house_wake(h, 0, "acme.example");

    m = house_told(h, 0, CONTROL_READY);
    assert_int_equal(m->ready.request, first);
    assert_int_equal(m->ready.woken, 1);
    assert_int_equal(m->ready.asked_us, 0);
    assert_int_equal(m->ready.ready_us, 21000);
    m = house_told(h, 0, CONTROL_READY);
    assert_int_equal(m->ready.request, second);
    assert_int_equal(m->ready.woken, 0);
    assert_int_equal(m->ready.ready_us, 11000);
    m = house_told(h, 0, CONTROL_READY);
    assert_int_equal(m->ready.request, third);
    assert_int_equal(m->ready.woken, 0);
    assert_int_equal(m->ready.ready_us, 0);
    assert_int_equal(fleet_histograms(h->fleet)->wake.count, 2);
    assert_int_equal(fleet_histograms(h->fleet)->boot.sum_us, 20000);
    assert_int_equal(fleet_counters(h->fleet)->wakes_total, 1);
}

static void many_waiters_of_both_workers_share_one_boot(void **state)
{
    struct house *h = *state;
    unsigned ready[2] = {0};

    for (unsigned n = 0; n < 100; n++)
        house_wake(h, n % 2, "acme.example");
    house_pass(h, SETTLE_MS);
    for (unsigned w = 0; w < 2; w++)
        while (house_told(h, w, CONTROL_READY))
            ready[w]++;
    assert_int_equal(ready[0], 50);
    assert_int_equal(ready[1], 50);
    assert_int_equal(fake_starts(h->backend), 1);
}

static void an_unknown_host_is_refused(void **state)
{
    struct house *h = *state;

    house_wake(h, 0, "nobody.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_NOT_FOUND);
    assert_int_equal(fake_starts(h->backend), 0);
}

static void a_suspended_tenant_is_refused_and_its_instance_goes(void **state)
{
    struct house *h = *state;
    struct registry_tenant row;
    struct refusal no;

    house_awake(h, 0, "acme.example");
    assert_int_equal(registry_tenant_suspend(h->registry, "acme", true, 1, &row, &no), RC_OK);
    fleet_tenant_changed(h->fleet, row.id);
    house_settle(h);
    assert_int_equal(house_told(h, 0, CONTROL_INVALIDATE)->tenant, row.id);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.force, 1);
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_DENIED);
    house_pass(h, 30000);
    assert_int_equal(fake_count(h->backend), 0);

    assert_int_equal(registry_tenant_suspend(h->registry, "acme", false, 1, &row, &no), RC_OK);
    fleet_tenant_changed(h->fleet, row.id);
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 2);
}

static void waiters_of_a_tenant_that_is_suspended_meanwhile_are_refused(void **state)
{
    struct house *h = *state;
    struct registry_tenant row;
    struct refusal no;

    house_wake(h, 0, "acme.example");
    assert_int_equal(registry_tenant_suspend(h->registry, "acme", true, 1, &row, &no), RC_OK);
    fleet_tenant_changed(h->fleet, row.id);
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_DENIED);
    house_pass(h, SETTLE_MS);
    assert_int_equal(fake_count(h->backend), 0);
}

static void waiters_are_told_at_their_deadline(void **state)
{
    struct house *h = *state;
    const struct control_msg *m;

    house_image(h, "web:late", FAKE_READY, 60000);
    house_tenant(h, "late", "web:late");
    h->limits.start_ms = 30000;
    house_crash(h);
    house_restart(h);
    house_worker(h, 0);
    house_wake(h, 0, "late.example");
    house_pass(h, 9999);
    assert_null(house_told(h, 0, CONTROL_REFUSED));
    house_pass(h, 2);
    m = house_told(h, 0, CONTROL_REFUSED);
    assert_int_equal(m->refused.why, RC_TIMEDOUT);
    assert_int_equal(fleet_counters(h->fleet)->wakes_timedout_total, 1);
}

static void a_wake_timeout_that_was_made_shorter_counts_at_once(void **state)
{
    struct house *h = *state;
    struct registry_wish wish = {.has_wake_timeout_ms = true, .wake_timeout_ms = 2000};
    struct registry_tenant row;
    struct registry_dropped dropped;
    struct refusal no;

    house_image(h, "web:late", FAKE_READY, 9000);
    house_tenant(h, "late", "web:late");
    house_wake(h, 0, "late.example");
    house_pass(h, 1000);
    assert_int_equal(registry_tenant_set(h->registry, "late", &wish, 1, &row, &dropped, &no), 0);
    fleet_tenant_changed(h->fleet, row.id);
    house_pass(h, 1001);
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_TIMEDOUT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, house_set_up_acme, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_route_comes_at_once_and_ready_when_the_instance_is),
        T(certificates_are_left_out_when_the_worker_has_them),
        T(the_one_who_woke_it_learns_the_times),
        T(many_waiters_of_both_workers_share_one_boot),
        T(an_unknown_host_is_refused),
        T(a_suspended_tenant_is_refused_and_its_instance_goes),
        T(waiters_of_a_tenant_that_is_suspended_meanwhile_are_refused),
        T(waiters_are_told_at_their_deadline),
        T(a_wake_timeout_that_was_made_shorter_counts_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
