#include <sqlite3.h>

#include "fleet_house.h"

#define SETTLE_MS 100

static int set_up(void **state)
{
    struct house *h;

    house_set_up(state);
    h = *state;
    house_image(h, "web:1", FAKE_READY, 20);
    house_image(h, "web:bad", FAKE_FAILS, 20);
    house_tenant(h, "acme", "web:1");
    return 0;
}

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

static void a_full_host_lets_them_wait_and_the_quietest_gives_way(void **state)
{
    struct house *h = *state;
    uint64_t request;

    h->limits.max_running = 2;
    house_crash(h);
    house_restart(h);
    house_worker(h, 0);
    house_tenant(h, "b", "web:1");
    house_tenant(h, "c", "web:1");
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

static void a_complaint_of_a_worker_ends_the_instance_it_holds(void **state)
{
    struct house *h = *state;
    struct control_msg m = {.type = CONTROL_COMPLAINT};
    struct control_instance id = house_awake(h, 0, "acme.example");

    m.complaint.id = id;
    strcpy(m.complaint.text, "an index ran away");
    house_say(h, 1, &m); /* it does not hold it: no */
    assert_int_equal(fake_count(h->backend), 1);
    house_say(h, 0, &m);
    house_pass(h, 10);
    assert_int_equal(fake_count(h->backend), 0);
    assert_true(house_event(h, "crashed", "an index ran away"));
}

static void words_about_a_generation_that_is_no_more_are_dropped(void **state)
{
    struct house *h = *state;
    struct control_instance id = house_awake(h, 0, "acme.example"), old = id;

    old.generation += 7;
    house_instance(h, 0, CONTROL_RELEASED, &old);
    house_activity(h, 0, &old, 7, 7);
    old.instance += 1000;
    house_instance(h, 0, CONTROL_BUSY, &old);
    assert_int_equal(fleet_counters(h->fleet)->stale_total, 3);
    assert_int_equal(fake_count(h->backend), 1);
}

static void what_a_worker_may_not_say_is_malformed(void **state)
{
    struct house *h = *state;
    struct control_msg m = {.type = CONTROL_READY};

    assert_int_equal(fleet_worker_message(h->fleet, 0, &m), RC_MALFORMED);
    m = (struct control_msg){.type = CONTROL_WAKE};
    assert_int_equal(fleet_worker_message(h->fleet, 0, &m), RC_MALFORMED);
    m = (struct control_msg){.type = CONTROL_HOLDING, .holding = {.channel = 1}};
    assert_int_equal(fleet_worker_message(h->fleet, 0, &m), RC_MALFORMED);
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

static void a_worker_that_goes_waits_for_nothing_any_more(void **state)
{
    struct house *h = *state;
    struct fleet_gauges gauges;

    house_wake(h, 0, "acme.example");
    fleet_worker_lost(h->fleet, 0);
    fleet_gauges(h->fleet, &gauges);
    assert_int_equal(gauges.waiting, 0);
    house_pass(h, SETTLE_MS);
    assert_null(house_told(h, 0, CONTROL_READY));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, house_tear_down)

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_end_that_could_not_be_written_is_written_later),
        T(a_route_comes_at_once_and_ready_when_the_instance_is),
        T(certificates_are_left_out_when_the_worker_has_them),
        T(the_one_who_woke_it_learns_the_times),
        T(many_waiters_of_both_workers_share_one_boot),
        T(an_unknown_host_is_refused),
        T(a_suspended_tenant_is_refused_and_its_instance_goes),
        T(waiters_of_a_tenant_that_is_suspended_meanwhile_are_refused),
        T(a_first_version_that_fails_is_refused_with_its_reason_and_a_pause),
        T(a_crash_while_starting_refuses_those_who_wait),
        T(an_instance_that_hangs_in_its_start_is_killed_at_the_deadline),
        T(an_image_that_says_it_is_another_is_killed),
        T(a_crashed_tenant_is_woken_by_the_next_request_at_once),
        T(one_whose_last_word_is_ready_is_given_to_nobody),
        T(one_that_crashes_again_and_again_soon_after_ready_is_paused),
        T(waiters_are_told_at_their_deadline),
        T(a_wake_timeout_that_was_made_shorter_counts_at_once),
        T(a_full_host_lets_them_wait_and_the_quietest_gives_way),
        T(an_old_version_on_its_way_out_is_not_waited_for_when_another_is_idle),
        T(one_that_comes_to_be_idle_gives_way_to_who_waits),
        T(one_that_was_just_woken_does_not_give_way_at_once),
        T(a_release_that_is_taken_back_makes_another_give_way),
        T(a_wake_of_the_one_that_gives_way_waits_in_the_queue),
        T(an_upgrade_is_answered_when_those_who_waited_are_refused),
        T(only_so_many_start_at_a_time_and_none_is_refused),
        T(one_whose_channels_cannot_be_had_goes_and_the_next_serves),
        T(a_fault_of_the_host_is_no_fault_of_the_image),
        T(an_idle_one_gives_way_when_the_host_is_short_of_memory),
        T(nobody_gives_way_for_one_that_would_not_fit_all_the_same),
        T(those_who_are_in_use_do_not_give_way_and_the_start_says_why_it_fails),
        T(a_new_version_that_lacks_memory_is_not_rolled_back),
        T(an_instance_that_breaks_its_ring_is_killed_and_others_live),
        T(frames_that_make_no_sense_cost_the_instance_its_life),
        T(a_complaint_of_a_worker_ends_the_instance_it_holds),
        T(words_about_a_generation_that_is_no_more_are_dropped),
        T(what_a_worker_may_not_say_is_malformed),
        T(log_lines_are_kept_cleaned_and_limited),
        T(a_worker_that_goes_waits_for_nothing_any_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
