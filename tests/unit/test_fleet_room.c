/* More want to run than may: who waits, who gives way, who is told why not. */
#include "fleet_house.h"

#define SETTLE_MS 100

/* Room for `running`; worker 0 is there, and tenants b and c. */
static void make_narrow(struct house *h, uint32_t running)
{
    h->limits.max_running = running;
    house_crash(h);
    house_restart(h);
    house_worker(h, 0);
    house_tenant(h, "b", "web:1");
    house_tenant(h, "c", "web:1");
}

static void a_full_host_lets_them_wait_and_the_quietest_gives_way(void **state)
{
    struct house *h = *state;
    uint64_t request;

    make_narrow(h, 2);
    house_awake(h, 0, "acme.example");
    house_pass(h, 1000);
    house_awake(h, 0, "b.example");
    request = house_wake(h, 0, "c.example");
    assert_null(house_told(h, 0, CONTROL_REFUSED));
    assert_int_equal(fake_count(h->backend), 2);
    assert_null(fake_living(h->backend, "c"));

    house_release_all(h);
    house_pass(h, SETTLE_MS);
    house_ready(h, 0, request);
    assert_null(fake_living(h->backend, "acme"));
    assert_non_null(fake_living(h->backend, "b"));
}

/* It may finish its connections for an hour. */
static void an_old_version_on_its_way_out_is_not_waited_for_when_another_is_idle(void **state)
{
    struct house *h = *state;
    struct control_instance id;
    uint64_t request;

    make_narrow(h, 3);
    house_image(h, "web:2", FAKE_READY, 20);
    id = house_awake(h, 0, "acme.example");
    house_activity(h, 0, &id, 1, 100);
    house_upgrade(h, "acme", "web:2", 1);
    house_pass(h, SETTLE_MS);
    house_awake(h, 0, "b.example");
    assert_int_equal(fake_count(h->backend), 3);
    house_pass(h, 2000);
    request = house_wake(h, 0, "c.example");
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.id.generation, 1);
    house_release_all(h);
    house_pass(h, SETTLE_MS);
    house_ready(h, 0, request);
}

static void one_that_comes_to_be_idle_gives_way_to_who_waits(void **state)
{
    struct house *h = *state;
    struct control_instance id;
    uint64_t request;

    make_narrow(h, 1);
    id = house_awake(h, 0, "b.example");
    house_activity(h, 0, &id, 1, 100);
    request = house_wake(h, 0, "c.example");
    house_pass(h, 3000);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    house_activity(h, 0, &id, 0, 100);
    house_pass(h, 1100);
    house_release_all(h);
    house_pass(h, SETTLE_MS);
    house_ready(h, 0, request);
}

/* Else two tenants would take each other's place until their clients' time is over. */
static void one_that_was_just_woken_does_not_give_way_at_once(void **state)
{
    struct house *h = *state;

    make_narrow(h, 1);
    house_wake(h, 0, "b.example");
    house_wake(h, 0, "c.example");
    house_pass(h, 900);
    assert_non_null(fake_living(h->backend, "b"));
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    house_pass(h, 200);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
}

static void a_release_that_is_taken_back_makes_another_give_way(void **state)
{
    struct house *h = *state;
    uint64_t request;

    make_narrow(h, 2);
    house_awake(h, 0, "b.example");
    house_pass(h, 30000);
    house_awake(h, 0, "acme.example");
    house_pass(h, 30000); /* b is asked to let go */
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    request = house_wake(h, 0, "c.example");
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    house_ready(h, 0, house_wake(h, 0, "b.example"));
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    house_pass(h, h->limits.drain_ms + SETTLE_MS);
    assert_null(fake_living(h->backend, "acme"));
    (void)request;
}

static void a_wake_of_the_one_that_gives_way_waits_in_the_queue(void **state)
{
    struct house *h = *state;
    uint64_t request;

    make_narrow(h, 1);
    house_awake(h, 0, "b.example");
    house_pass(h, 2000);
    house_wake(h, 0, "c.example");
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    h->limits.max_running = 2;
    request = house_wake(h, 0, "b.example");
    house_pass(h, 10);
    struct fleet_gauges gauges;

    fleet_gauges(h->fleet, &gauges);
    assert_int_equal(gauges.queued, 2);
    (void)request;
}

/* There is nothing to wait for any more. */
static void an_upgrade_is_answered_when_those_who_waited_are_refused(void **state)
{
    struct house *h = *state;
    struct control_instance id;

    make_narrow(h, 1);
    id = house_awake(h, 0, "b.example");
    house_activity(h, 0, &id, 1, 100);
    house_wake(h, 0, "acme.example");
    house_image(h, "web:2", FAKE_READY, 20);
    house_upgrade(h, "acme", "web:2", 0);
    house_pass(h, REGISTRY_WAKE_TIMEOUT_MS - 10);
    assert_int_equal(h->upgrades, 0);
    house_pass(h, 20);
    assert_non_null(house_told(h, 0, CONTROL_REFUSED));
    assert_int_equal(h->upgrades, 1);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
}

static void only_so_many_start_at_a_time_and_none_is_refused(void **state)
{
    struct house *h = *state;
    struct fleet_gauges gauges;

    h->limits.max_starting = 2;
    house_crash(h);
    house_restart(h);
    house_worker(h, 0);
    for (char name[2] = "p"; name[0] < 'u'; name[0]++) {
        char host[16];

        house_tenant(h, name, "web:1");
        snprintf(host, sizeof host, "%s.example", name);
        house_wake(h, 0, host);
    }
    fleet_gauges(h->fleet, &gauges);
    assert_int_equal(gauges.starting, 2);
    assert_int_equal(gauges.queued, 3);
    house_pass(h, SETTLE_MS);
    assert_int_equal(fake_count(h->backend), 5);
    assert_null(house_told(h, 0, CONTROL_REFUSED));
}

/* The images' 2 MiB each; seen to fail: fleet_give_way() -> false. */
static void an_idle_one_gives_way_when_the_host_is_short_of_memory(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_tenant(h, "b", "web:1");
    house_tenant(h, "c", "web:1");
    fake_room(h->backend, 5ull << 20);
    house_awake(h, 0, "acme.example");
    house_pass(h, 1000);
    house_awake(h, 0, "b.example");
    request = house_wake(h, 0, "c.example");
    house_pass(h, 10);
    assert_null(house_told(h, 0, CONTROL_REFUSED));
    house_release_all(h);
    house_pass(h, SETTLE_MS);
    house_ready(h, 0, request);
    assert_null(fake_living(h->backend, "acme"));
    assert_non_null(fake_living(h->backend, "b"));
    assert_false(house_event(h, "failed", "memory"));
}

static void nobody_gives_way_for_one_that_would_not_fit_all_the_same(void **state)
{
    struct house *h = *state;

    house_tenant(h, "b", "web:1");
    fake_room(h->backend, 3ull << 20);
    house_awake(h, 0, "acme.example");
    house_pass(h, 2000);
    fake_room(h->backend, 1ull << 20); /* somebody else has it */
    house_wake(h, 0, "b.example");
    house_pass(h, 10);
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    assert_true(house_event(h, "failed", "the host has not enough memory"));
    assert_non_null(fake_living(h->backend, "acme"));
}

static void those_who_are_in_use_do_not_give_way_and_the_start_says_why_it_fails(void **state)
{
    struct house *h = *state;
    struct control_instance id;

    house_tenant(h, "b", "web:1");
    fake_room(h->backend, 3ull << 20);
    id = house_awake(h, 0, "acme.example");
    house_wake(h, 0, "b.example");
    house_pass(h, 10); /* acme's would give way in a second */
    assert_null(house_told(h, 0, CONTROL_REFUSED));
    house_activity(h, 0, &id, 1, 100);
    house_pass(h, 2000);
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    assert_non_null(fake_living(h->backend, "acme"));
}

/* Seen to fail: start_failed(…, false) in tenant_on_end(). */
static void a_new_version_that_lacks_memory_is_not_rolled_back(void **state)
{
    struct house *h = *state;

    house_image(h, "web:2", FAKE_READY, 20);
    house_awake(h, 0, "acme.example");
    fake_crash(fake_living(h->backend, "acme"));
    house_pass(h, SETTLE_MS);
    house_upgrade(h, "acme", "web:2", 0);
    fake_room(h->backend, 1ull << 20);
    house_wake(h, 0, "acme.example");
    house_pass(h, 10);
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    fake_room(h->backend, 0);
    house_pass(h, 2000);
    house_awake(h, 0, "acme.example");
    assert_string_equal(fake_living(h->backend, "acme")->ref, "web:2");
}

#define T(f) cmocka_unit_test_setup_teardown(f, house_set_up_acme, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_full_host_lets_them_wait_and_the_quietest_gives_way),
        T(an_old_version_on_its_way_out_is_not_waited_for_when_another_is_idle),
        T(one_that_comes_to_be_idle_gives_way_to_who_waits),
        T(one_that_was_just_woken_does_not_give_way_at_once),
        T(a_release_that_is_taken_back_makes_another_give_way),
        T(a_wake_of_the_one_that_gives_way_waits_in_the_queue),
        T(an_upgrade_is_answered_when_those_who_waited_are_refused),
        T(only_so_many_start_at_a_time_and_none_is_refused),
        T(an_idle_one_gives_way_when_the_host_is_short_of_memory),
        T(nobody_gives_way_for_one_that_would_not_fit_all_the_same),
        T(those_who_are_in_use_do_not_give_way_and_the_start_says_why_it_fails),
        T(a_new_version_that_lacks_memory_is_not_rolled_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
