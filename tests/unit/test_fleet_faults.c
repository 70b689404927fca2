/* Instances that fail, crash, hang, lie and break: what becomes of them, and of those who wait. */
#include <sqlite3.h>

#include "fleet_house.h"

#define SETTLE_MS 100

static int set_up(void **state)
{
    house_set_up_acme(state);
    house_image(*state, "web:bad", FAKE_FAILS, 20);
    return 0;
}

static void a_first_version_that_fails_is_refused_with_its_reason_and_a_pause(void **state)
{
    struct house *h = *state;
    const struct control_msg *m;
    uint64_t id = house_tenant(h, "still", "web:bad");

    house_wake(h, 0, "still.example");
    house_pass(h, 50);
    m = house_told(h, 0, CONTROL_REFUSED);
    assert_int_equal(m->refused.why, RC_FAILED);
    assert_non_null(strstr(m->refused.text, "on_start returned 1"));
    assert_true(house_event(h, "failed", "on_start returned 1"));
    assert_string_equal(fleet_tenant_state(h->fleet, id), "failed");

    /* During the pause: at once. */
    house_wake(h, 0, "still.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    assert_int_equal(fake_starts(h->backend), 1);

    /* After it: another try; and the pauses grow. */
    house_pass(h, 600);
    assert_string_equal(fleet_tenant_state(h->fleet, id), "absent");
    house_wake(h, 0, "still.example");
    house_pass(h, 50);
    assert_int_equal(fake_starts(h->backend), 2);
    house_pass(h, 600);
    assert_string_equal(fleet_tenant_state(h->fleet, id), "failed");
    house_pass(h, 600);
    assert_string_equal(fleet_tenant_state(h->fleet, id), "absent");
}

/* At once when the look is over, not at the next try: no time passes. */
static void those_who_wait_are_served_when_the_image_was_looked_at(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_look(h, "web:1", RC_AGAIN);
    request = house_wake(h, 0, "acme.example");
    house_pass(h, 110);
    assert_int_equal(fake_starts(h->backend), 0);
    assert_null(house_told(h, 0, CONTROL_REFUSED));
    house_look(h, "web:1", RC_OK);
    assert_int_equal(fake_starts(h->backend), 1);
    house_pass(h, 30);
    assert_int_equal(house_ready(h, 0, request).generation, 1);
}

static void an_image_that_was_looked_at_and_is_damaged_is_told_of(void **state)
{
    struct house *h = *state;

    house_look(h, "web:1", RC_AGAIN);
    house_wake(h, 0, "acme.example");
    house_look(h, "web:1", RC_MALFORMED);
    assert_non_null(strstr(house_told(h, 0, CONTROL_REFUSED)->refused.text, "damaged"));
    assert_true(house_event(h, "failed", "image add"));
    assert_int_equal(fake_starts(h->backend), 0);
}

static void a_look_that_outlasts_a_wake_is_no_reason_to_wait_for_ever(void **state)
{
    struct house *h = *state;

    house_look(h, "web:1", RC_AGAIN);
    house_wake(h, 0, "acme.example");
    house_pass(h, REGISTRY_WAKE_TIMEOUT_MS + 1000);
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_TIMEDOUT);
    house_look(h, "web:1", RC_OK);
    house_awake(h, 0, "acme.example");
}

static void a_crash_while_starting_refuses_those_who_wait(void **state)
{
    struct house *h = *state;

    house_image(h, "web:crash", FAKE_CRASHES, 20);
    house_tenant(h, "frail", "web:crash");
    house_wake(h, 0, "frail.example");
    house_wake(h, 1, "frail.example");
    house_pass(h, 50);
    assert_non_null(strstr(house_told(h, 0, CONTROL_REFUSED)->refused.text, "SIGSEGV"));
    assert_non_null(house_told(h, 1, CONTROL_REFUSED));
    assert_int_equal(house_rows_alive(h), 0);
}

static void an_instance_that_hangs_in_its_start_is_killed_at_the_deadline(void **state)
{
    struct house *h = *state;

    house_image(h, "web:hang", FAKE_HANGS, 20);
    house_tenant(h, "slow", "web:hang");
    house_wake(h, 0, "slow.example");
    house_pass(h, 9900);
    assert_int_equal(fake_count(h->backend), 1);
    house_pass(h, 200);
    assert_int_equal(fake_count(h->backend), 0);
    assert_non_null(house_told(h, 0, CONTROL_REFUSED));
    assert_int_equal(house_rows_alive(h), 0);
}

static void an_image_that_says_it_is_another_is_killed(void **state)
{
    struct house *h = *state;

    house_image(h, "web:liar", FAKE_LIES, 20);
    house_tenant(h, "liar", "web:liar");
    house_wake(h, 0, "liar.example");
    house_pass(h, 50);
    assert_non_null(strstr(house_told(h, 0, CONTROL_REFUSED)->refused.text, "another image"));
    assert_int_equal(fake_count(h->backend), 0);
}

static void a_crashed_tenant_is_woken_by_the_next_request_at_once(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example");

    house_activity(h, 0, &id, 1, 100);
    fake_crash(fake_living(h->backend, "acme"));
    house_settle(h);
    assert_int_equal(house_told(h, 0, CONTROL_GONE)->instance.generation, 1);
    assert_true(house_event(h, "crashed", "SIGSEGV"));
    assert_int_equal(house_awake(h, 0, "acme.example").generation, 2);
    assert_null(house_told(h, 0, CONTROL_REFUSED));
}

/* Its READY and its end are seen in one turn. */
static void one_whose_last_word_is_ready_is_given_to_nobody(void **state)
{
    struct house *h = *state;
    struct alarms *alarms = fleet_alarms(h->fleet);
    uint64_t request = house_wake(h, 0, "acme.example");
    struct backend_instance *i = fake_living(h->backend, "acme");

    while (!i->up)
        alarms_advance_to(alarms, alarms_next_us(alarms));
    fake_crash(i);
    alarms_advance_to(alarms, alarms_us(alarms));
    house_settle(h);
    assert_null(house_told(h, 0, CONTROL_READY));
    assert_true(house_event(h, "crashed", "SIGSEGV"));
    house_pass(h, SETTLE_MS);
    assert_int_equal(house_ready(h, 0, request).generation, 2);
}

static void one_that_crashes_again_and_again_soon_after_ready_is_paused(void **state)
{
    struct house *h = *state;

    for (unsigned n = 0; n < 3; n++) {
        house_awake(h, 0, "acme.example");
        fake_crash(fake_living(h->backend, "acme"));
        house_settle(h);
    }
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    house_pass(h, 600);
    house_awake(h, 0, "acme.example");
}

/* Else its connection would wait for an answer that never comes. */
static void one_whose_channels_cannot_be_had_goes_and_the_next_serves(void **state)
{
    struct house *h = *state;
    uint64_t request;

    house_awake(h, 0, "acme.example");
    fake_living(h->backend, "acme")->closed = true;
    request = house_wake(h, 1, "acme.example");
    house_pass(h, SETTLE_MS);
    assert_int_equal(house_ready(h, 1, request).generation, 2);
    assert_true(house_event(h, "crashed", "a channel of it cannot be had"));
}

static void a_fault_of_the_host_is_no_fault_of_the_image(void **state)
{
    struct house *h = *state;

    fake_behave(h->backend, "web:1", FAKE_REFUSED, 0);
    house_wake(h, 0, "acme.example");
    assert_int_equal(house_told(h, 0, CONTROL_REFUSED)->refused.why, RC_FAILED);
    assert_int_equal(house_rows_alive(h), 0);
    fake_behave(h->backend, "web:1", FAKE_READY, 5);
    house_pass(h, 600);
    house_awake(h, 0, "acme.example");
}

static void an_instance_that_breaks_its_ring_is_killed_and_others_live(void **state)
{
    struct house *h = *state;

    house_tenant(h, "b", "web:1");
    house_awake(h, 0, "acme.example");
    house_awake(h, 0, "b.example");
    fake_break(fake_living(h->backend, "acme"));
    house_pass(h, 10);
    assert_null(fake_living(h->backend, "acme"));
    assert_non_null(fake_living(h->backend, "b"));
    assert_true(house_event(h, "crashed", "broke its control channel"));
    assert_non_null(house_told(h, 0, CONTROL_GONE));
    assert_int_equal(fleet_counters(h->fleet)->broken_total, 1);
}

static void frames_that_make_no_sense_cost_the_instance_its_life(void **state)
{
    static const struct {
        uint8_t type;
        const char *payload;
        uint32_t len;
    } bad[] = {
        {MUX_READY, "x", 1},         {MUX_LOG, "", 0},
        {MUX_HEALTH, "12345678", 8}, {MUX_SLOT, "\xff\xff\xff\xff", 4},
        {MUX_SLOT, "12345", 5},      {MUX_BUSY, "", 0},
    };
    struct house *h = *state;

    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        house_awake(h, 0, "acme.example");
        fake_say(fake_living(h->backend, "acme"), bad[n].type, bad[n].payload, bad[n].len);
        house_pass(h, 10);
        assert_null(fake_living(h->backend, "acme"));
        house_pass(h, 60000); /* the pause for crashes */
    }
}

static void log_lines_are_kept_cleaned_and_limited(void **state)
{
    struct house *h = *state;
    char out[8192];

    house_awake(h, 0, "acme.example");
    fake_say_log(fake_living(h->backend, "acme"), MUX_LOG_WARNING, "two\nlines \xc3\xa4 \xff");
    house_settle(h);
    scratch_out(&h->scratch, out, sizeof out, "cat logs/acme.log");
    assert_non_null(strstr(out, " 1 warning two?lines \xc3\xa4 ?"));

    for (unsigned n = 0; n < 1000; n++) {
        fake_say_log(fake_living(h->backend, "acme"), MUX_LOG_INFO, "flood");
        house_settle(h);
    }
    house_pass(h, 1000);
    fake_say_log(fake_living(h->backend, "acme"), MUX_LOG_INFO, "after");
    house_settle(h);
    scratch_out(&h->scratch, out, sizeof out, "wc -l < logs/acme.log");
    assert_int_equal(atoi(out), 200 + 2);
    scratch_out(&h->scratch, out, sizeof out, "tail -n2 logs/acme.log");
    assert_non_null(strstr(out, "lines dropped"));
}

/* Another program holds the database just then: a living row would keep its tenant and its image
 * from being removed. */
static void an_end_that_could_not_be_written_is_written_later(void **state)
{
    struct house *h = *state;
    char path[128];
    sqlite3 *other;

    house_awake(h, 0, "acme.example");
    snprintf(path, sizeof path, "%s/roomkey.db", h->scratch.dir);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    fake_crash(fake_living(h->backend, "acme"));
    house_settle(h);
    assert_int_equal(fake_count(h->backend), 0);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(house_rows_alive(h), 1);

    house_awake(h, 0, "acme.example"); /* the row of one that lives stays */
    house_pass(h, 5000);
    assert_int_equal(house_rows_alive(h), 1);
    fake_crash(fake_living(h->backend, "acme"));
    house_settle(h);
    assert_int_equal(house_rows_alive(h), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_first_version_that_fails_is_refused_with_its_reason_and_a_pause),
        T(those_who_wait_are_served_when_the_image_was_looked_at),
        T(an_image_that_was_looked_at_and_is_damaged_is_told_of),
        T(a_look_that_outlasts_a_wake_is_no_reason_to_wait_for_ever),
        T(a_crash_while_starting_refuses_those_who_wait),
        T(an_instance_that_hangs_in_its_start_is_killed_at_the_deadline),
        T(an_image_that_says_it_is_another_is_killed),
        T(a_crashed_tenant_is_woken_by_the_next_request_at_once),
        T(one_whose_last_word_is_ready_is_given_to_nobody),
        T(one_that_crashes_again_and_again_soon_after_ready_is_paused),
        T(one_whose_channels_cannot_be_had_goes_and_the_next_serves),
        T(a_fault_of_the_host_is_no_fault_of_the_image),
        T(an_instance_that_breaks_its_ring_is_killed_and_others_live),
        T(frames_that_make_no_sense_cost_the_instance_its_life),
        T(log_lines_are_kept_cleaned_and_limited),
        T(an_end_that_could_not_be_written_is_written_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
