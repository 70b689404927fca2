#include "fleet_house.h"

static int set_up(void **state)
{
    house_set_up_acme(state);
    house_image(*state, "web:2", FAKE_READY, 20);
    house_image(*state, "web:3", FAKE_READY, 20);
    return 0;
}

static struct backend_instance *acme(struct house *h)
{
    return fake_living(h->backend, "acme");
}

/* Awake with one open connection. */
static struct control_instance in_use(struct house *h)
{
    struct control_instance id = house_awake(h, 0, "acme.example");

    house_activity(h, 0, &id, 1, 100);
    return id;
}

static void asleep_the_next_wake_runs_the_new_version(void **state)
{
    struct house *h = *state;

    house_upgrade(h, "acme", "web:2", 0);
    assert_int_equal(h->upgrades, 1);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_int_equal(fake_starts(h->backend), 0);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
    house_pass(h, h->limits.proof_ms);
    assert_string_equal(house_row(h, "acme").last_good_ref, "web:2");
    assert_true(house_event(h, "upgraded", "web:2"));
}

/* The wish stays in its row, and is followed after a resume: it was not called off. */
static void suspended_the_next_wake_runs_the_new_version(void **state)
{
    struct house *h = *state;
    struct registry_tenant row;
    struct refusal no;

    house_awake(h, 0, "acme.example");
    assert_int_equal(registry_tenant_suspend(h->registry, "acme", true, 1, &row, &no), RC_OK);
    fleet_tenant_changed(h->fleet, row.id);
    house_upgrade(h, "acme", "web:2", 0);
    house_settle(h);
    assert_int_equal(h->upgrades, 1);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_non_null(strstr(h->upgrade_text, "suspended"));
    assert_int_equal(registry_tenant_suspend(h->registry, "acme", false, 1, &row, &no), RC_OK);
    fleet_tenant_changed(h->fleet, row.id);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
}

static void idle_it_moves_at_once_and_the_old_one_goes(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");
    const struct control_msg *m;

    house_upgrade(h, "acme", "web:2", 0);
    assert_int_equal(h->upgrades, 0);
    house_pass(h, 50);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_int_equal(h->upgrades, 1);
    m = house_told(h, 0, CONTROL_RELEASE);
    assert_int_equal(m->release.force, 1);
    assert_int_equal(m->release.id.generation, 1);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 50);
    assert_int_equal(fake_count(h->backend), 1);
    assert_string_equal(acme(h)->ref, "web:2");
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 2);
}

static void a_wake_while_the_new_one_boots_is_served_by_the_old_one(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_awake(h, 0, "acme.example");
    house_upgrade(h, "acme", "web:2", 0);
    assert_int_equal(fake_count(h->backend), 2);
    request = house_wake(h, 1, "acme.example");
    assert_int_equal(house_ready(h, 1, request).generation, 1);
    house_pass(h, 50);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 2);
}

static void in_use_it_moves_when_the_last_connection_has_gone(void **state)
{
    struct house *h = *state;
    struct control_instance id = in_use(h);

    house_upgrade(h, "acme", "web:2", 600000);
    house_pass(h, 30000);
    assert_int_equal(fake_starts(h->backend), 1);
    assert_int_equal(h->upgrades, 0);
    assert_int_equal(house_row(h, "acme").upgrade, REGISTRY_UPGRADE_WAITING);
    house_activity(h, 0, &id, 0, 5);
    house_pass(h, 50);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_string_equal(acme(h)->ref, "web:2");
    assert_int_equal(house_row(h, "acme").upgrade, REGISTRY_UPGRADE_NONE);
}

/* Seen to fail with the row's UTC compared at each step. */
static void max_wait_is_as_long_whatever_the_clock_is_set_to(void **state)
{
    static const int64_t set_ms[] = {3600000, -3600000};

    for (unsigned n = 0; n < 2; n++) {
        struct house *h = *state;
        struct control_instance id = in_use(h);
        unsigned before = fake_starts(h->backend);

        house_upgrade(h, "acme", n ? "web:3" : "web:2", 5000);
        fleet_alarms(h->fleet)->virtual_set_ms += set_ms[n];
        house_activity(h, 0, &id, 1, 5);
        house_pass(h, 4900);
        assert_int_equal(fake_starts(h->backend), before);
        house_activity(h, 0, &id, 1, 5);
        house_pass(h, 200);
        assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
        assert_int_equal(fake_starts(h->backend), before + 1);
    }
}

static void past_max_wait_the_old_one_finishes_its_own(void **state)
{
    struct house *h = *state;
    struct control_instance id = in_use(h), next;
    struct backend_instance *old = acme(h);

    house_upgrade(h, "acme", "web:2", 5000);
    house_pass(h, 4900);
    assert_int_equal(fake_starts(h->backend), 1);
    house_pass(h, 200);
    assert_int_equal(h->upgrades, 1);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.force, 1);
    next = house_awake(h, 0, "acme.example");
    assert_int_equal(next.generation, 2);

    /* Its connection goes on, for much longer than an idle release may take. */
    for (unsigned n = 0; n < 60; n++) {
        house_pass(h, 10000);
        house_activity(h, 0, &id, 1, 1000);
        house_activity(h, 0, &next, 1, 1000);
    }
    assert_true(old->alive);
    assert_int_equal(old->stops, 0);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 50);
    assert_int_equal(fake_count(h->backend), 1);
}

static void the_old_one_may_end_its_busy_lease_first(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");
    struct backend_instance *old = acme(h);

    old->health.leases = 1;
    old->health.busy_ms = 60000;
    house_upgrade(h, "acme", "web:2", 0);
    house_pass(h, 50);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    house_pass(h, 30000);
    assert_int_equal(old->stops, 0);
    old->health = (struct mux_health){0};
    fake_say_busy(old);
    house_pass(h, 10);
    assert_int_equal(fake_count(h->backend), 1);
}

/* Its question about the lease was out when a worker came back and said no more. */
static void it_ends_at_the_retire_deadline_whatever_a_worker_forgets_to_say(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");
    struct backend_instance *old = acme(h);

    old->health.leases = 1;
    old->health.busy_ms = 60000;
    house_upgrade(h, "acme", "web:2", 0);
    house_pass(h, 50);
    house_instance(h, 0, CONTROL_RELEASED, &id);
    fleet_worker_lost(h->fleet, 0);
    fleet_worker_hello(h->fleet, 0);
    house_pass(h, h->limits.retire_ms);
    for (struct backend_instance *i = fake_all(h->backend); i; i = i->next)
        assert_int_not_equal(i->generation, 1);
}

static void it_ends_at_the_retire_deadline_whatever_is_open(void **state)
{
    struct house *h = *state;

    in_use(h);
    house_upgrade(h, "acme", "web:2", 1);
    house_pass(h, 100);
    assert_int_equal(fake_count(h->backend), 2);
    house_pass(h, h->limits.retire_ms);
    assert_true(fake_count(h->backend) <= 1);
    assert_non_null(house_told(h, 0, CONTROL_GONE));
}

static void a_second_upgrade_takes_the_place_of_the_first(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    fake_behave(h->backend, "web:2", FAKE_HANGS, 0);
    house_upgrade(h, "acme", "web:2", 0);
    house_pass(h, 10);
    assert_int_equal(fake_count(h->backend), 2);
    h->upgrades = 0;
    {
        struct refusal no;

        assert_int_equal(fleet_upgrade(h->fleet, "acme", "web:3", 0, NULL, NULL, &no), RC_OK);
    }
    assert_int_equal(h->upgrades, 1);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_CANCELED);
    house_pass(h, 100);
    assert_string_equal(acme(h)->ref, "web:3");
    assert_string_equal(house_row(h, "acme").image_ref, "web:3");
    assert_string_equal(house_row(h, "acme").last_good_ref, "web:1");
    assert_false(house_event(h, "rolled back", ""));
}

static void the_way_back_calls_a_waiting_upgrade_off(void **state)
{
    struct house *h = *state;

    in_use(h);
    house_upgrade(h, "acme", "web:2", 600000);
    house_upgrade(h, "acme", "web:1", 600000);
    house_pass(h, 1000);
    assert_int_equal(h->upgrades, 2);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_int_equal(fake_starts(h->backend), 1);
    assert_int_equal(acme(h)->generation, 1);
}

static void a_crash_of_the_old_one_while_the_new_boots_waits_for_the_new(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_awake(h, 0, "acme.example");
    house_upgrade(h, "acme", "web:2", 0);
    for (struct backend_instance *i = acme(h); i; i = i->next)
        if (i->generation == 1)
            fake_crash(i);
    house_settle(h);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, 50);
    assert_int_equal(house_ready(h, 0, request).generation, 2);
    assert_int_equal(fake_starts(h->backend), 2);
}

static void an_upgrade_that_waits_survives_a_restart(void **state)
{
    struct house *h = *state;
    struct control_instance id = in_use(h);

    house_upgrade(h, "acme", "web:2", 5000);
    house_crash(h);
    house_restart(h);
    fleet_worker_hello(h->fleet, 0);
    house_instance(h, 0, CONTROL_HOLDING, &id);
    house_say(h, 0, &(struct control_msg){.type = CONTROL_SYNCED});
    house_pass(h, h->limits.worker_grace_ms); /* the other worker does not come back */
    assert_int_equal(fake_starts(h->backend), 1);
    house_activity(h, 0, &id, 0, 1);
    house_pass(h, 50);
    assert_string_equal(acme(h)->ref, "web:2");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(asleep_the_next_wake_runs_the_new_version),
        T(suspended_the_next_wake_runs_the_new_version),
        T(idle_it_moves_at_once_and_the_old_one_goes),
        T(a_wake_while_the_new_one_boots_is_served_by_the_old_one),
        T(in_use_it_moves_when_the_last_connection_has_gone),
        T(max_wait_is_as_long_whatever_the_clock_is_set_to),
        T(past_max_wait_the_old_one_finishes_its_own),
        T(the_old_one_may_end_its_busy_lease_first),
        T(it_ends_at_the_retire_deadline_whatever_a_worker_forgets_to_say),
        T(it_ends_at_the_retire_deadline_whatever_is_open),
        T(a_second_upgrade_takes_the_place_of_the_first),
        T(the_way_back_calls_a_waiting_upgrade_off),
        T(a_crash_of_the_old_one_while_the_new_boots_waits_for_the_new),
        T(an_upgrade_that_waits_survives_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
