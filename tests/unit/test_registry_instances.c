/* What tenants live through: instances, upgrades, and the events that tell of them. */
#include "registry_house.h"

static bool count_instance(void *arg, const struct registry_instance *i)
{
    (void)i;
    ++*(unsigned *)arg;
    return true;
}

/*----- instances -----*/

static void a_new_instance_is_a_new_generation(void **state)
{
    struct house *h = *state;
    struct registry_instance one, two;
    uint64_t image = house_add_image(h, "hello", "1");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    unsigned alive = 0;

    house_must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &one));
    assert_int_equal(one.generation, 1);
    assert_int_equal(one.state, REGISTRY_INSTANCE_STARTING);
    assert_string_equal(one.tenant_name, "acme");
    assert_string_equal(one.image_ref, "hello:1");
    house_must(h, registry_instance_handle(h->r, one.id, "pid=1 start=2"));
    house_must(h, registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_READY, NOW + 1));
    house_must(h, registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_DRAINING, NOW + 2));
    house_must(h, registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_READY, NOW + 3));
    house_must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &two));
    assert_int_equal(two.generation, 2);
    assert_int_equal(house_tenant(h, t.id).generation, 2);

    house_reopen(h);
    house_must(h, registry_instances_alive(h->r, count_instance, &alive));
    assert_int_equal(alive, 2);
    house_must(h, registry_instance(h->r, one.id, &one));
    assert_string_equal(one.handle, "pid=1 start=2");
    assert_int_equal(one.ready_at, NOW + 1);

    house_must(h, registry_instance_end(h->r, one.id, "stopped", NOW + 4));
    assert_int_equal(registry_instance_end(h->r, one.id, "again", NOW), RC_NOT_FOUND);
    assert_int_equal(registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_READY, NOW),
                     RC_NOT_FOUND);
    house_must(h, registry_instance(h->r, one.id, &one));
    assert_string_equal(one.why, "stopped");
    assert_int_equal(one.state, REGISTRY_INSTANCE_ENDED);
    assert_int_equal(registry_instance_begin(h->r, 999, image, "x", NOW, &one), RC_NOT_FOUND);
    assert_int_equal(registry_instance_begin(h->r, t.id, 999, "x", NOW, &one), RC_NOT_FOUND);
    assert_int_equal(house_tenant(h, t.id).generation, 2);
}

static void ended_instances_are_pruned(void **state)
{
    struct house *h = *state;
    struct registry_instance i, first;
    uint64_t image = house_add_image(h, "hello", "1");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    uint64_t ended[3 * REGISTRY_INSTANCES_KEPT];
    const int most = 3 * REGISTRY_INSTANCES_KEPT;

    house_must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &first));
    for (int n = 0; n < most; n++) {
        house_must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &i));
        house_must(h, registry_instance_end(h->r, i.id, "idle", NOW));
        ended[n] = i.id;
    }
    for (int n = 0; n < most; n++)
        assert_int_equal(registry_instance(h->r, ended[n], &i),
                         n < most - REGISTRY_INSTANCES_KEPT ? RC_NOT_FOUND : RC_OK);
    /* The living one is older than all of them, and stays. */
    house_must(h, registry_instance(h->r, first.id, &first));
}

static void a_tenant_with_a_living_instance_is_not_removed(void **state)
{
    struct house *h = *state;
    struct registry_instance i;
    struct registry_dropped dropped;
    uint64_t image = house_add_image(h, "hello", "1");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");

    house_must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &i));
    assert_int_equal(registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no), RC_BUSY);
    house_must_say(h, "acme");
    house_must(h, registry_instance_end(h->r, i.id, "stopped", NOW));
    house_must(h, registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no));
    assert_string_equal(house_last_event(h, "acme").kind, "tenant removed");
    assert_true(house_add_tenant(h, "acme", "hello:1", "a.localhost").id > t.id);
}

/*----- upgrades -----*/

static void an_upgrade_that_comes_up_is_the_last_good_one(void **state)
{
    struct house *h = *state;
    uint64_t one = house_add_image(h, "hello", "1"), two = house_add_image(h, "hello", "2");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    struct registry_route route;

    house_must(h, registry_tenant_good(h->r, t.id, one, NOW));
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", NOW + 5, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_WAITING);
    assert_int_equal(t.upgrade_deadline, NOW + 5);
    assert_int_equal(t.image, two);
    assert_int_equal(t.last_good, one);
    house_must(h, registry_route_of(h->r, t.id, &route));
    assert_string_equal(route.image.version, "2");
    house_must(h, registry_tenant_upgrade_state(h->r, t.id, REGISTRY_UPGRADE_DRAINING));
    assert_int_equal(house_tenant(h, t.id).upgrade, REGISTRY_UPGRADE_DRAINING);

    /* The old one says that it is ready: that proves nothing of the new one. */
    house_must(h, registry_tenant_good(h->r, t.id, one, NOW));
    assert_int_equal(house_tenant(h, t.id).last_good, one);
    house_must(h, registry_tenant_good(h->r, t.id, two, NOW));
    t = house_tenant(h, t.id);
    assert_int_equal(t.last_good, two);
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    assert_string_equal(house_last_event(h, "acme").text, "upgraded from hello:1 to hello:2");
}

static void an_upgrade_that_fails_is_rolled_back_once(void **state)
{
    struct house *h = *state;
    uint64_t one = house_add_image(h, "hello", "1"), three = house_add_image(h, "hello", "3"), last;
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    bool back;

    house_must(h, registry_tenant_good(h->r, t.id, one, NOW));
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:3", 0, NOW, &t, &h->no));
    house_must(h, registry_tenant_rollback(h->r, t.id, three, "on_start failed", NOW + 9, &back));
    assert_true(back);
    t = house_tenant(h, t.id);
    assert_int_equal(t.image, one);
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    assert_string_equal(t.failed_ref, "hello:3");
    assert_string_equal(t.failed_why, "on_start failed");
    assert_int_equal(t.failed_at, NOW + 9);
    assert_string_equal(house_last_event(h, "acme").kind, "rolled back");
    assert_string_equal(house_last_event(h, "acme").text,
                        "rolled back from hello:3 to hello:1: on_start failed");

    house_must(h, registry_events_last(h->r, &last));
    house_must(h, registry_tenant_rollback(h->r, t.id, three, "late news", NOW, &back));
    assert_false(back);
    assert_int_equal(house_last_event(h, NULL).id, last);
    /* The good one comes up again: what failed stays on display. */
    house_must(h, registry_tenant_good(h->r, t.id, one, NOW));
    assert_string_equal(house_tenant(h, t.id).failed_ref, "hello:3");
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:3", 0, NOW, &t, &h->no));
    assert_string_equal(t.failed_ref, "");
}

static void the_first_image_has_nothing_to_go_back_to(void **state)
{
    struct house *h = *state;
    uint64_t three = house_add_image(h, "hello", "3");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:3", "a.localhost");
    bool back = true;

    house_must(h, registry_tenant_rollback(h->r, t.id, three, "on_start failed", NOW, &back));
    assert_false(back);
    t = house_tenant(h, t.id);
    assert_int_equal(t.image, three);
    assert_string_equal(t.failed_why, "on_start failed");
    house_must(h, registry_tenant_good(h->r, t.id, three, NOW));
    assert_string_equal(house_tenant(h, t.id).failed_why, "");
}

static void an_upgrade_back_to_the_last_good_one_is_over_at_once(void **state)
{
    struct house *h = *state;
    uint64_t one = house_add_image(h, "hello", "1");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");

    house_add_image(h, "hello", "2");
    house_must(h, registry_tenant_good(h->r, t.id, one, NOW));
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:1", 0, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", 0, NOW, &t, &h->no));
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", NOW + 1, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_WAITING);
    assert_int_equal(t.upgrade_deadline, NOW + 1);
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:1", 0, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    assert_int_equal(t.image, one);
    assert_int_equal(registry_tenant_upgrade(h->r, "acme", "none:9", 0, NOW, &t, &h->no),
                     RC_NOT_FOUND);
    house_must_say(h, "none:9");
}

/*----- events -----*/

static bool first_only(void *arg, const struct registry_event *e)
{
    *(uint64_t *)arg = e->id;
    return false;
}

static void events_are_pruned_and_followed_by_id(void **state)
{
    struct house *h = *state;
    uint64_t first = 0, last;

    for (unsigned i = 0; i < REGISTRY_EVENTS_KEPT + 200; i++)
        house_must(h,
                   registry_event(h->r, i % 16 == 7 ? "acme" : NULL, "test", NOW, "event %u", i));
    house_must(h, registry_events_last(h->r, &last));
    assert_int_equal(last, REGISTRY_EVENTS_KEPT + 200);
    house_must(h, registry_events(h->r, NULL, 0, 10, first_only, &first));
    assert_in_range(first, 100, 201);
    house_must(h, registry_events(h->r, "acme", last - 2, 10, first_only, &first));
    assert_int_equal(first, last);
    assert_string_equal(house_last_event(h, NULL).tenant, "acme");
}

static bool count_one(void *arg, const struct registry_event *e)
{
    (void)e;
    ++*(unsigned *)arg;
    return true;
}

/* Seen to fail: without PRUNE_ONE, and with ids in place of the count in PRUNE_ALL.  Until it is
 * pruned there are 61 more of each of the two. */
static void who_is_loud_pushes_out_its_own_events_and_nobody_elses(void **state)
{
    struct house *h = *state;
    unsigned quiet = 0, loud = 0;

    for (unsigned i = 0; i < 50; i++)
        house_must(h, registry_event(h->r, i % 2 ? "quiet" : NULL, "test", NOW, "event %u", i));
    for (unsigned i = 0; i < REGISTRY_EVENTS_KEPT + 200; i++)
        house_must(h, registry_event(h->r, i % 2 ? "loud" : "louder", "test", NOW, "event %u", i));
    house_must(h, registry_events(h->r, "quiet", 0, UINT32_MAX, count_one, &quiet));
    assert_int_equal(quiet, 25);
    house_must(h, registry_events(h->r, "loud", 0, UINT32_MAX, count_one, &loud));
    assert_in_range(loud, REGISTRY_EVENTS_EACH, REGISTRY_EVENTS_EACH + 61);
    quiet = 0;
    house_must(h, registry_events(h->r, NULL, 0, UINT32_MAX, count_one, &quiet));
    assert_in_range(quiet, 50 + 2 * REGISTRY_EVENTS_EACH, 50 + 2 * REGISTRY_EVENTS_EACH + 122);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_instance_is_a_new_generation),
        TEST(ended_instances_are_pruned),
        TEST(a_tenant_with_a_living_instance_is_not_removed),
        TEST(an_upgrade_that_comes_up_is_the_last_good_one),
        TEST(an_upgrade_that_fails_is_rolled_back_once),
        TEST(the_first_image_has_nothing_to_go_back_to),
        TEST(an_upgrade_back_to_the_last_good_one_is_over_at_once),
        TEST(events_are_pruned_and_followed_by_id),
        TEST(who_is_loud_pushes_out_its_own_events_and_nobody_elses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
