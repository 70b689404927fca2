/* The last good version as a spare: a new one is on trial, the ground was slow, and those who wait
 * would be refused before it has had its time. */
#include "fleet_house.h"

static const struct control_msg synced = {.type = CONTROL_SYNCED};

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

static struct backend_instance *generation(struct house *h, uint64_t n)
{
    struct backend_instance *i = fake_all(h->backend);

    while (i && !(i->alive && i->generation == n))
        i = i->next;
    assert_non_null(i);
    return i;
}

static void assert_rolled_back(struct house *h, const char *why)
{
    struct registry_tenant row = house_row(h, "acme");

    assert_string_equal(row.image_ref, "web:1");
    assert_non_null(strstr(row.failed_why, why));
    assert_true(house_event(h, "rolled back", why));
}

#define GROUND_MS 4000u
#define SPARE_MS                                                                     \
    8000u /* after the wake it is asked for; a second later a web:2 that hangs fails \
           */

/* Woken with web:2, for which the ground takes GROUND_MS, until just before the spare. */
static uint64_t slow_once(struct house *h, enum fake_start start, uint32_t boot_ms)
{
    unsigned before = fake_starts(h->backend);
    uint64_t request;

    fake_behave(h->backend, "web:2", start, boot_ms);
    fake_ground_takes(h->backend, GROUND_MS);
    house_upgrade(h, "acme", "web:2", 0);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, SPARE_MS - 100);
    fake_ground_takes(h->backend, 1);
    assert_int_equal(fake_starts(h->backend), before + 1);
    return request;
}

/* … until the spare serves: web:1, generation 2. */
static struct control_instance with_spare(struct house *h, enum fake_start start, uint32_t boot_ms)
{
    uint64_t request = slow_once(h, start, boot_ms);

    house_pass(h, 200);
    assert_string_equal(generation(h, 2)->ref, "web:1");
    return house_ready(h, 0, request);
}

/* A helper of the ground hangs once, and of a bad version nobody knows that yet when the first of
 * those who wait have no more time than a start takes.  Seen to fail without tenant_spare_step().
 */
static void a_slow_ground_and_a_bad_version_at_once_refuse_nobody(void **state)
{
    static const enum fake_start bad[] = {FAKE_HANGS, FAKE_SILENT};
    struct house *h = *state;

    for (size_t n = 0; n < 2; n++) {
        struct control_instance id;
        uint64_t request;

        fake_behave(h->backend, "web:2", bad[n], 20);
        fake_ground_takes(h->backend, 5000);
        house_upgrade(h, "acme", "web:2", 0);
        request = house_wake(h, 0, "acme.example");
        house_pass(h, 5100);
        fake_ground_takes(h->backend, 1);
        house_pass(h, h->limits.start_ms - 5100 - 100);
        id = house_ready(h, 0, request);
        assert_null(house_told(h, 0, CONTROL_REFUSED));
        assert_string_equal(house_row(h, "acme").image_ref, "web:2"); /* it has its time */
        house_pass(h, 200);
        assert_rolled_back(h, "not ready in time");
        assert_int_equal(house_awake(h, 0, "acme.example").generation, id.generation);
        house_pass(h, REGISTRY_IDLE_MS);
        house_release_all(h);
        house_instance(h, 0, CONTROL_RELEASED, &id);
        house_pass(h, 10);
        assert_int_equal(fake_count(h->backend), 0);
    }
}

/* The one that was started for those who wait was not needed. */
static void a_version_that_is_ready_before_its_spare_serves(void **state)
{
    struct house *h = *state;
    uint64_t request;

    fake_behave(h->backend, "web:2", FAKE_READY, 4000);
    fake_ground_takes(h->backend, 5000);
    house_upgrade(h, "acme", "web:2", 0);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, 8500);
    assert_int_equal(fake_count(h->backend), 2);
    house_pass(h, 600);
    assert_int_equal(house_ready(h, 0, request).generation, 1);
    house_pass(h, 10);
    assert_int_equal(fake_count(h->backend), 1);
    assert_string_equal(acme(h)->ref, "web:2");
    assert_false(house_event(h, "rolled back", ""));
    assert_false(house_event(h, "failed", ""));
}

/* Nobody can be served: not again and again. */
static void a_spare_that_fails_too_is_tried_once(void **state)
{
    struct house *h = *state;

    fake_behave(h->backend, "web:1", FAKE_FAILS, 20);
    fake_behave(h->backend, "web:2", FAKE_HANGS, 20);
    fake_ground_takes(h->backend, 5000);
    house_upgrade(h, "acme", "web:2", 0);
    house_wake(h, 0, "acme.example");
    house_pass(h, 5100);
    fake_ground_takes(h->backend, 1);
    house_pass(h, 4800);
    assert_int_equal(fake_starts(h->backend), 2);
    assert_true(house_event(h, "failed", "web:1 did not start"));
    house_pass(h, 200);
    assert_non_null(house_told(h, 0, CONTROL_REFUSED));
}

/*----- a spare that cannot start -----*/

static void all_leave(struct house *h, const struct control_instance *id)
{
    house_pass(h, REGISTRY_IDLE_MS);
    house_release_all(h);
    house_instance(h, 0, CONTROL_RELEASED, id);
    house_pass(h, 10);
    assert_int_equal(fake_count(h->backend), 0);
}

/* It could a second later, when the new version has failed: nobody is refused.  Seen to fail with a
 * pause in start_failed() for a spare, too. */
static void a_spare_that_the_host_cannot_start_keeps_nobody_from_the_last_good_version(void **state)
{
    struct house *h = *state;

    for (unsigned how = 0; how < 3; how++) {
        uint64_t request = slow_once(h, FAKE_HANGS, 20);
        struct control_instance id;

        fake_refuse(h->backend, how == 0);
        fake_ground_fails(h->backend, how == 1);
        house_look(h, "web:1", how == 2 ? RC_MALFORMED : RC_OK);
        house_pass(h, 200);
        assert_true(house_event(h, "failed", "web:1 did not start"));
        assert_false(house_event(h, "failed", "web:2 did not start: out of memory"));
        assert_null(house_told(h, 0, CONTROL_REFUSED));
        fake_refuse(h->backend, false);
        fake_ground_fails(h->backend, false);
        house_look(h, "web:1", RC_OK);
        house_pass(h, 1000);
        id = house_ready(h, 0, request);
        assert_string_equal(acme(h)->ref, "web:1");
        assert_rolled_back(h, "not ready in time");
        all_leave(h, &id);
    }
}

/* Seen to fail when that was the one try that a spare has. */
static void another_tenant_gives_way_to_a_spare(void **state)
{
    struct house *h = *state;
    struct control_instance other;
    uint64_t request;

    house_tenant(h, "other", "web:1");
    fake_room(h->backend, 5ull << 20); /* of two */
    other = house_awake(h, 1, "other.example");
    request = slow_once(h, FAKE_HANGS, 20);
    house_pass(h, 200);
    assert_null(house_told(h, 0, CONTROL_READY));
    house_instance(h, 1, CONTROL_RELEASED, &other);
    house_pass(h, 200);
    house_ready(h, 0, request);
    assert_string_equal(acme(h)->ref, "web:1");
    assert_null(fake_living(h->backend, "other"));
    assert_false(house_event(h, "failed", ""));
}

/*----- what admins do meanwhile -----*/

static void suspend(struct house *h, bool suspended)
{
    struct registry_tenant row;
    struct refusal no;

    assert_int_equal(registry_tenant_suspend(h->registry, "acme", suspended, 1, &row, &no), RC_OK);
    fleet_tenant_changed(h->fleet, row.id);
    house_settle(h);
}

static void both_go_when_the_tenant_is_suspended(void **state)
{
    struct house *h = *state;
    struct control_instance spare = with_spare(h, FAKE_HANGS, 20);

    suspend(h, true);
    house_instance(h, 0, CONTROL_RELEASED, &spare);
    house_pass(h, 10);
    assert_int_equal(fake_count(h->backend), 0);
    assert_int_equal(house_rows_alive(h), 0);
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_DENIED);
    suspend(h, false);
    fake_behave(h->backend, "web:2", FAKE_READY, 20);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2"); /* it has not failed */
}

static void both_go_when_the_tenant_is_removed(void **state)
{
    struct house *h = *state;
    struct control_instance spare = with_spare(h, FAKE_HANGS, 20);
    uint64_t id = house_row(h, "acme").id;
    struct registry_dropped dropped;
    struct refusal no;

    assert_int_equal(fleet_tenant_remove(h->fleet, id, house_on_gone, h), RC_OK);
    house_settle(h);
    assert_int_equal(h->gone, 0);
    house_instance(h, 0, CONTROL_RELEASED, &spare);
    house_pass(h, 10);
    assert_int_equal(h->gone, 1);
    assert_int_equal(fake_count(h->backend), 0);
    assert_int_equal(registry_tenant_remove(h->registry, "acme", 1, &dropped, &no), RC_OK);
    fleet_tenant_removed(h->fleet, id);
}

static void a_second_upgrade_takes_the_place_of_the_one_on_trial(void **state)
{
    struct house *h = *state;

    with_spare(h, FAKE_HANGS, 20);
    house_upgrade(h, "acme", "web:3", 0);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 2);
    house_pass(h, 50);
    assert_int_equal(h->upgrades, 2); /* the first one was told as it slept */
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.id.generation, 2);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 3);
    assert_string_equal(acme(h)->ref, "web:3");
    assert_string_equal(house_row(h, "acme").last_good_ref, "web:1");
    assert_false(house_event(h, "rolled back", ""));
    assert_null(house_told(h, 0, CONTROL_REFUSED));
}

static void the_way_back_leaves_the_spare_alone(void **state)
{
    struct house *h = *state;

    with_spare(h, FAKE_HANGS, 20);
    house_upgrade(h, "acme", "web:1", 0);
    house_pass(h, 2000);
    assert_int_equal(h->upgrades, 2);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 2);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
    assert_int_equal(fake_starts(h->backend), 2);
    assert_int_equal(fake_count(h->backend), 1);
    assert_false(house_event(h, "rolled back", ""));
}

/*----- one of them crashes -----*/

static void a_crash_of_the_spare_leaves_the_new_version_its_time(void **state)
{
    struct house *h = *state;
    uint64_t request;

    with_spare(h, FAKE_READY, 4500);
    fake_crash(generation(h, 2));
    house_settle(h);
    request = house_wake(h, 1, "acme.example");
    house_pass(h, 500);
    assert_int_equal(house_ready(h, 1, request).generation, 1);
    assert_string_equal(acme(h)->ref, "web:2");
    assert_false(house_event(h, "rolled back", ""));
}

static void a_crash_of_the_one_on_trial_leaves_the_spare_serving(void **state)
{
    struct house *h = *state;

    for (unsigned ready = 0; ready < 2; ready++) {
        unsigned before = fake_starts(h->backend);
        uint64_t request = slow_once(h, FAKE_HANGS, 20);
        struct control_instance id;

        house_pass(h, ready ? 200 : 110);
        assert_int_equal(fake_count(h->backend), 2);
        fake_crash(generation(h, house_row(h, "acme").generation - 1));
        house_pass(h, 50);
        assert_rolled_back(h, "SIGSEGV");
        id = house_ready(h, 0, request);
        assert_string_equal(acme(h)->ref, "web:1");
        assert_int_equal(fake_starts(h->backend), before + 2);
        all_leave(h, &id);
    }
}

static void a_crash_of_the_new_version_is_no_way_back_to_the_spare_that_finishes(void **state)
{
    struct house *h = *state;
    struct control_instance spare = with_spare(h, FAKE_READY, 4500);

    house_activity(h, 0, &spare, 1, 100);
    house_pass(h, 500);
    fake_behave(h->backend, "web:2", FAKE_READY, 20);
    fake_crash(generation(h, 1));
    house_settle(h);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 3);
    assert_string_equal(acme(h)->ref, "web:2");
    assert_int_equal(generation(h, 2)->stops, 0); /* its connection goes on */
}

/*----- a restart of roomkeyd -----*/

static void restart_that_holds(struct house *h, const struct control_instance *id)
{
    house_crash(h);
    house_restart(h);
    fleet_worker_hello(h->fleet, 0);
    house_instance(h, 0, CONTROL_HOLDING, id);
    house_say(h, 0, &synced);
    house_worker(h, 1);
}

/* A spare is the later one of the two.  Seen to fail with the later one always `current`. */
static void a_spare_that_finishes_takes_no_connection_after_a_restart(void **state)
{
    struct house *h = *state;
    struct control_instance spare = with_spare(h, FAKE_READY, 4500);

    house_activity(h, 0, &spare, 1, 100);
    house_pass(h, 500);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.id.generation, 2);
    assert_int_equal(house_row(h, "acme").upgrade, REGISTRY_UPGRADE_NONE);
    restart_that_holds(h, &spare);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 1);
    assert_int_equal(fake_starts(h->backend), 2);
}

/* Seen to fail without the look at the tenant's row in had_successor(). */
static void a_spare_that_outlives_the_new_version_takes_no_connection_after_a_restart(void **state)
{
    struct house *h = *state;
    struct control_instance spare = with_spare(h, FAKE_READY, 4500), next;

    house_activity(h, 0, &spare, 1, 100);
    house_pass(h, 500);
    assert_non_null(house_told(h, 0, CONTROL_RELEASE));
    next = house_awake(h, 1, "acme.example");
    house_pass(h, REGISTRY_IDLE_MS);
    house_instance(h, 1, CONTROL_RELEASED, &next);
    house_pass(h, 50);
    assert_int_equal(fake_count(h->backend), 1);
    assert_int_equal(acme(h)->generation, 2);
    restart_that_holds(h, &spare);
    house_awake(h, 1, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
    assert_int_equal(acme(h)->generation, 3);
    assert_int_equal(fake_count(h->backend), 2);
}

/* This one and the next: seen to fail with `spare` always false in place(). */
static void a_version_that_has_a_spare_is_tried_on_after_a_restart(void **state)
{
    struct house *h = *state;
    struct control_instance spare = with_spare(h, FAKE_READY, 4900);

    restart_that_holds(h, &spare);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 2);
    house_pass(h, 5000);
    assert_int_equal(house_told(h, 0, CONTROL_RELEASE)->release.id.generation, 2);
    assert_int_equal(house_awake(h, 1, "acme.example").generation, 1);
    assert_int_equal(fake_starts(h->backend), 2);
    assert_false(house_event(h, "rolled back", ""));
}

static void a_spare_that_boots_when_roomkeyd_dies_serves_those_who_wait(void **state)
{
    struct house *h = *state;
    uint64_t request;

    fake_behave(h->backend, "web:1", FAKE_READY, 400);
    slow_once(h, FAKE_HANGS, 20);
    house_pass(h, 200);
    assert_int_equal(fake_count(h->backend), 2);
    house_crash(h);
    house_restart(h);
    house_worker(h, 0);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, 500);
    assert_int_equal(house_ready(h, 0, request).generation, 2);
    house_pass(h, h->limits.trial_start_ms);
    assert_string_equal(house_row(h, "acme").image_ref, "web:1");
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 2);
    assert_int_equal(fake_starts(h->backend), 2);
    assert_int_equal(fake_count(h->backend), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_slow_ground_and_a_bad_version_at_once_refuse_nobody),
        T(a_version_that_is_ready_before_its_spare_serves),
        T(a_spare_that_fails_too_is_tried_once),
        T(a_spare_that_the_host_cannot_start_keeps_nobody_from_the_last_good_version),
        T(another_tenant_gives_way_to_a_spare),
        T(both_go_when_the_tenant_is_suspended),
        T(both_go_when_the_tenant_is_removed),
        T(a_second_upgrade_takes_the_place_of_the_one_on_trial),
        T(the_way_back_leaves_the_spare_alone),
        T(a_crash_of_the_spare_leaves_the_new_version_its_time),
        T(a_crash_of_the_one_on_trial_leaves_the_spare_serving),
        T(a_crash_of_the_new_version_is_no_way_back_to_the_spare_that_finishes),
        T(a_spare_that_finishes_takes_no_connection_after_a_restart),
        T(a_spare_that_outlives_the_new_version_takes_no_connection_after_a_restart),
        T(a_version_that_has_a_spare_is_tried_on_after_a_restart),
        T(a_spare_that_boots_when_roomkeyd_dies_serves_those_who_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
