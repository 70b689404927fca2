/* A new version that fails, and what its host fails at: which of them goes back to the last good
 * one. */
#include "fleet_house.h"

static int set_up(void **state)
{
    house_set_up_acme(state);
    house_image(*state, "web:2", FAKE_READY, 20);
    house_image(*state, "web:fails", FAKE_FAILS, 20);
    house_image(*state, "web:dies", FAKE_CRASHES, 20);
    house_image(*state, "web:hangs", FAKE_HANGS, 20);
    return 0;
}

static struct backend_instance *acme(struct house *h)
{
    return fake_living(h->backend, "acme");
}

static void assert_rolled_back(struct house *h, const char *why)
{
    struct registry_tenant row = house_row(h, "acme");

    assert_string_equal(row.image_ref, "web:1");
    assert_non_null(strstr(row.failed_why, why));
    assert_true(house_event(h, "rolled back", why));
}

static void a_version_that_fails_is_rolled_back_and_who_waits_is_served(void **state)
{
    static const struct {
        const char *ref, *why;
    } bad[] = {{"web:fails", "on_start returned 1"},
               {"web:dies", "SIGSEGV"},
               {"web:hangs", "not ready in time"}};
    struct house *h = *state;

    for (size_t n = 0; n < 3; n++) {
        struct control_instance id;

        house_upgrade(h, "acme", bad[n].ref, 0);
        id = house_awake(h, 0, "acme.example");
        assert_string_equal(acme(h)->ref, "web:1");
        assert_int_equal(fleet_counters(h->fleet)->rollbacks_total, n + 1);
        assert_null(house_told(h, 0, CONTROL_REFUSED));
        assert_rolled_back(h, bad[n].why);
        /* Asleep again. */
        house_pass(h, REGISTRY_IDLE_MS);
        house_release_all(h);
        house_instance(h, 0, CONTROL_RELEASED, &id);
        house_pass(h, 10);
        assert_int_equal(fake_count(h->backend), 0);
    }
}

static void awake_a_version_that_fails_never_gets_a_connection(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    house_upgrade(h, "acme", "web:fails", 0);
    house_pass(h, 50);
    assert_int_equal(h->upgrades, 1);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_ROLLED_BACK);
    assert_non_null(strstr(h->upgrade_text, "on_start returned 1"));
    assert_rolled_back(h, "on_start returned 1");
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 1);
    assert_int_equal(fake_count(h->backend), 1);
    assert_null(house_told(h, 0, CONTROL_RELEASE));
}

static void a_version_that_crashes_again_and_again_is_rolled_back(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    house_upgrade(h, "acme", "web:2", 0);
    house_pass(h, 50);
    house_release_all(h);
    for (unsigned n = 0; n < 3; n++) {
        house_awake(h, 0, "acme.example");
        assert_string_equal(acme(h)->ref, "web:2");
        fake_crash(acme(h));
        house_settle(h);
    }
    assert_rolled_back(h, "SIGSEGV");
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:1");
    assert_null(house_told(h, 0, CONTROL_REFUSED));
}

static void the_crashes_of_one_version_do_not_count_against_the_next(void **state)
{
    struct house *h = *state;

    for (unsigned n = 0; n < 2; n++) {
        house_awake(h, 0, "acme.example");
        fake_crash(acme(h));
        house_settle(h);
    }
    house_upgrade(h, "acme", "web:2", 0);
    house_awake(h, 0, "acme.example");
    fake_crash(acme(h));
    house_settle(h);
    house_awake(h, 0, "acme.example");
    assert_null(house_told(h, 0, CONTROL_REFUSED));
}

static void once_proved_a_crash_is_only_a_crash(void **state)
{
    struct house *h = *state;

    house_upgrade(h, "acme", "web:2", 0);
    house_awake(h, 0, "acme.example");
    house_pass(h, h->limits.proof_ms);
    for (unsigned n = 0; n < 3; n++) {
        fake_crash(acme(h));
        house_settle(h);
        house_awake(h, 0, "acme.example");
        house_pass(h, h->limits.crash_soon_ms);
    }
    assert_string_equal(house_row(h, "acme").image_ref, "web:2");
    assert_false(house_event(h, "rolled back", ""));
}

static void a_failure_goes_back_to_what_served_though_it_was_not_proved_yet(void **state)
{
    struct house *h = *state;

    house_upgrade(h, "acme", "web:2", 0);
    house_awake(h, 0, "acme.example");
    house_pass(h, h->limits.proof_ms / 2);
    assert_string_equal(house_row(h, "acme").last_good_ref, "web:1");
    house_upgrade(h, "acme", "web:fails", 0);
    house_pass(h, 1000);
    assert_string_equal(house_row(h, "acme").image_ref, "web:2");
    assert_string_equal(acme(h)->ref, "web:2");
    assert_int_equal(fake_count(h->backend), 1);
}

static void a_version_that_has_crashed_is_nothing_to_go_back_to(void **state)
{
    struct house *h = *state;

    house_upgrade(h, "acme", "web:2", 0);
    house_awake(h, 0, "acme.example");
    fake_crash(acme(h));
    house_settle(h);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
    house_upgrade(h, "acme", "web:fails", 0);
    house_pass(h, 1000);
    assert_string_equal(house_row(h, "acme").image_ref, "web:1");
}

static void a_file_that_is_gone_is_rolled_back(void **state)
{
    struct house *h = *state;

    house_lose_file(h, "web:2");
    house_upgrade(h, "acme", "web:2", 0);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:1");
    assert_rolled_back(h, "gone from the image store");
}

/* It was added by a roomkeyd that did not look at that.  Seen to fail without image_to_start()'s
 * look. */
static void a_version_that_does_not_fit_in_its_memory_is_rolled_back(void **state)
{
    struct house *h = *state;
    struct registry_image image;
    struct refusal no;
    uint64_t memory;

    assert_int_equal(registry_image_by_ref(h->registry, "web:2", &image, &no), RC_OK);
    memory = (uint64_t)image.memory_kib << 10;
    house_fills(h, "web:1", memory);
    house_fills(h, "web:2", memory + 1);
    house_upgrade(h, "acme", "web:2", 0);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:1");
    assert_rolled_back(h, "fill all the memory");
}

static void a_fault_of_the_host_does_not_roll_back(void **state)
{
    struct house *h = *state;

    house_upgrade(h, "acme", "web:2", 0);
    fake_behave(h->backend, "web:2", FAKE_REFUSED, 0);
    house_wake(h, 0, "acme.example");
    assert_non_null(house_told(h, 0, CONTROL_REFUSED));
    assert_string_equal(house_row(h, "acme").image_ref, "web:2");
    fake_behave(h->backend, "web:2", FAKE_READY, 1);
    house_pass(h, 600);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
}

/* Seen to fail when a version's own time is counted from when it was asked for. */
static void a_version_that_the_ground_is_slow_to_start_is_not_rolled_back(void **state)
{
    struct house *h = *state;
    uint64_t request;

    fake_behave(h->backend, "web:2", FAKE_READY, h->limits.trial_start_ms - 1000);
    fake_ground_takes(h->backend, h->limits.trial_start_ms);
    house_upgrade(h, "acme", "web:2", 0);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, h->limits.start_ms - 500);
    house_ready(h, 0, request);
    assert_string_equal(acme(h)->ref, "web:2");
    assert_false(house_event(h, "rolled back", ""));
}

/* Seen to fail when it is counted from on_started, or not at all. */
static void a_version_that_is_slow_once_it_runs_is_rolled_back_in_time_for_who_waits(void **state)
{
    static const enum fake_start slow[] = {FAKE_HANGS, FAKE_SILENT};
    struct house *h = *state;
    const uint32_t ground_ms = 2000;

    for (size_t n = 0; n < 2; n++) {
        struct control_instance id;
        uint64_t request;

        fake_behave(h->backend, "web:2", slow[n], 20);
        fake_ground_takes(h->backend, ground_ms);
        house_upgrade(h, "acme", "web:2", 0);
        request = house_wake(h, 0, "acme.example");
        house_pass(h, ground_ms + h->limits.trial_start_ms - 100);
        assert_string_equal(acme(h)->ref, "web:2");
        house_pass(h, 200 + ground_ms + 100);
        id = house_ready(h, 0, request);
        assert_string_equal(acme(h)->ref, "web:1");
        assert_rolled_back(h, "not ready in time");
        house_pass(h, REGISTRY_IDLE_MS);
        house_instance(h, 0, CONTROL_RELEASED, &id);
        house_pass(h, 10);
        assert_int_equal(fake_count(h->backend), 0);
    }
}

/* Seen to fail when the end of one that never ran counts as a failure of its version. */
static void a_ground_that_cannot_let_it_run_does_not_roll_back(void **state)
{
    static const struct {
        bool fails;
        const char *why;
    } faults[] = {{true, "the helper died in the middle of it"},
                  {false, "this host did not get it to run within 10000 ms"}};
    struct house *h = *state;

    house_upgrade(h, "acme", "web:2", 0);
    for (size_t n = 0; n < 2; n++) {
        fake_ground_fails(h->backend, faults[n].fails);
        fake_ground_takes(h->backend, faults[n].fails ? 10 : h->limits.start_ms * 2);
        house_wake(h, 0, "acme.example");
        house_pass(h, h->limits.start_ms + 10);
        assert_non_null(strstr(house_told(h, 0, CONTROL_REFUSED)->refused.text,
                               faults[n].fails ? faults[n].why : "not ready in time"));
        assert_true(house_event(h, "failed", faults[n].why));
        assert_string_equal(house_row(h, "acme").image_ref, "web:2");
        house_pass(h, h->limits.pause_max_ms);
    }
    fake_ground_takes(h->backend, 1);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
    assert_false(house_event(h, "rolled back", ""));
}

/* Seen to fail when lack of mappings is asked for after any failure: a false event, no rollback. */
static void
a_control_channel_that_is_a_lie_rolls_back_and_one_without_mappings_does_not(void **state)
{
    static const enum fake_control lies[] = {FAKE_NO_BELL, FAKE_NO_RING, FAKE_NO_MEMORY};
    struct house *h = *state;

    for (size_t n = 0; n < 3; n++) {
        /* The host has none left, too, for all but the one whose memory is the lie. */
        fake_lacks_mappings(h->backend, lies[n] != FAKE_NO_MEMORY);
        fake_control(h->backend, lies[n]);
        house_upgrade(h, "acme", "web:2", 0);
        house_wake(h, 0, "acme.example");
        house_pass(h, 10);
        assert_rolled_back(h, "its control channel cannot be mapped");
        assert_false(house_event(h, "no mappings", ""));
        assert_int_equal(fleet_counters(h->fleet)->rollbacks_total, n + 1);
        house_pass(h, h->limits.pause_max_ms);
    }
    fake_lacks_mappings(h->backend, true);
    house_upgrade(h, "acme", "web:2", 0);
    house_wake(h, 0, "acme.example");
    house_pass(h, 10);
    assert_true(house_event(h, "no mappings", "web:2"));
    assert_string_equal(house_row(h, "acme").image_ref, "web:2");
    fake_control(h->backend, FAKE_GOOD);
    house_pass(h, h->limits.pause_max_ms);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
}

/* `start` is over before the version has had the time of a trial: it gets another one. */
static void a_version_that_the_ground_leaves_no_time_is_not_rolled_back(void **state)
{
    struct house *h = *state;

    fake_behave(h->backend, "web:2", FAKE_READY, 3000);
    fake_ground_takes(h->backend, h->limits.start_ms - 1000);
    house_upgrade(h, "acme", "web:2", 0);
    house_wake(h, 0, "acme.example");
    house_pass(h, h->limits.start_ms + 10);
    assert_true(house_event(h, "failed", "this host took 9000 of 10000 ms to get it to run"));
    assert_string_equal(house_row(h, "acme").image_ref, "web:2");
    fake_ground_takes(h->backend, 1);
    house_pass(h, h->limits.pause_max_ms);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:2");
}

/* Nobody waits: it is tried again beside the one that serves. */
static void beside_one_that_serves_a_fault_of_the_ground_only_delays_the_upgrade(void **state)
{
    struct house *h = *state;

    house_awake(h, 0, "acme.example");
    fake_ground_fails(h->backend, true);
    house_upgrade(h, "acme", "web:2", 0);
    house_pass(h, 10);
    assert_true(house_event(h, "failed", "the helper died in the middle of it"));
    assert_int_equal(h->upgrades, 0);
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 1);
    fake_ground_fails(h->backend, false);
    house_pass(h, h->limits.pause_max_ms);
    assert_int_equal(h->upgraded, FLEET_UPGRADE_DONE);
    assert_string_equal(acme(h)->ref, "web:2");
}

/* What failed is not what is wished for any more: nobody is refused for its sake. */
static void a_boot_that_fails_when_another_version_is_wished_for_refuses_nobody(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_upgrade(h, "acme", "web:hangs", 0);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, 1000);
    house_upgrade(h, "acme", "web:1", 0);
    house_pass(h, h->limits.trial_start_ms);
    assert_int_equal(house_ready(h, 0, request).generation, 2);
    assert_string_equal(acme(h)->ref, "web:1");
    assert_true(house_event(h, "failed", "web:hangs did not start"));
}

/* Alone it has no more time than one that was woken, so that the old version can still serve. */
static void a_boot_that_comes_to_be_all_there_is_refuses_nobody(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_awake(h, 0, "acme.example");
    house_upgrade(h, "acme", "web:hangs", 0);
    for (struct backend_instance *i = acme(h); i; i = i->next)
        if (i->generation == 1)
            fake_crash(i);
    house_settle(h);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, h->limits.trial_start_ms + 100);
    assert_int_equal(house_ready(h, 0, request).generation, 3);
    assert_string_equal(acme(h)->ref, "web:1");
}

static void a_first_version_that_never_ran_is_still_something_to_go_back_to(void **state)
{
    struct house *h = *state;

    house_upgrade(h, "acme", "web:fails", 0);
    house_awake(h, 0, "acme.example");
    assert_string_equal(acme(h)->ref, "web:1");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_version_that_fails_is_rolled_back_and_who_waits_is_served),
        T(awake_a_version_that_fails_never_gets_a_connection),
        T(a_version_that_crashes_again_and_again_is_rolled_back),
        T(the_crashes_of_one_version_do_not_count_against_the_next),
        T(once_proved_a_crash_is_only_a_crash),
        T(a_failure_goes_back_to_what_served_though_it_was_not_proved_yet),
        T(a_version_that_has_crashed_is_nothing_to_go_back_to),
        T(a_file_that_is_gone_is_rolled_back),
        T(a_version_that_does_not_fit_in_its_memory_is_rolled_back),
        T(a_fault_of_the_host_does_not_roll_back),
        T(a_version_that_the_ground_is_slow_to_start_is_not_rolled_back),
        T(a_version_that_is_slow_once_it_runs_is_rolled_back_in_time_for_who_waits),
        T(a_ground_that_cannot_let_it_run_does_not_roll_back),
        T(a_control_channel_that_is_a_lie_rolls_back_and_one_without_mappings_does_not),
        T(a_version_that_the_ground_leaves_no_time_is_not_rolled_back),
        T(beside_one_that_serves_a_fault_of_the_ground_only_delays_the_upgrade),
        T(a_boot_that_fails_when_another_version_is_wished_for_refuses_nobody),
        T(a_boot_that_comes_to_be_all_there_is_refuses_nobody),
        T(a_first_version_that_never_ran_is_still_something_to_go_back_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
