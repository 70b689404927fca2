/* Images: added, listed, removed when nobody uses them. */
#include "registry_house.h"

static bool join_tenant(void *arg, const struct registry_tenant *t)
{
    strcat(strcat(arg, t->name), " ");
    return true;
}

static bool join_image(void *arg, const struct registry_image *i)
{
    strcat(strcat(strcat(strcat(arg, i->name), ":"), i->version), " ");
    return true;
}

static void the_same_image_twice_is_one_image(void **state)
{
    struct house *h = *state;

    assert_int_equal(house_add_image(h, "hello", "1"), house_add_image(h, "hello", "1"));
}

static void other_content_under_a_taken_version_is_refused(void **state)
{
    struct house *h = *state;
    struct registry_image image = {
        .name = "hello", .version = "1", .abi = 1, .memory_kib = 1024, .size = 1};
    uint64_t id;

    house_add_image(h, "hello", "1");
    house_hash(image.sha256, "other");
    assert_int_equal(registry_image_add(h->r, &image, NOW, &id, &h->no), RC_EXISTS);
    house_must_say(h, "hello:1");
}

static void images_are_listed_in_pages(void **state)
{
    struct house *h = *state;
    char page[256] = "";

    house_add_image(h, "b", "1");
    house_add_image(h, "a", "2");
    house_add_image(h, "a", "1");
    house_must(h, registry_images(h->r, NULL, 2, join_image, page));
    assert_string_equal(page, "a:1 a:2 ");
    page[0] = '\0';
    house_must(h, registry_images(h->r, "a:2", 2, join_image, page));
    assert_string_equal(page, "b:1 ");
}

static void an_image_in_use_is_not_removed_and_its_users_are_named(void **state)
{
    struct house *h = *state;
    struct registry_image image;
    struct registry_dropped dropped;
    uint64_t id = house_add_image(h, "hello", "1"), count;
    char users[128] = "";

    for (int i = 0; i < 5; i++) {
        char name[16], host[32];
        snprintf(name, sizeof name, "t%d", i);
        snprintf(host, sizeof host, "t%d.localhost", i);
        house_add_tenant(h, name, "hello:1", host);
    }
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_BUSY);
    house_must_say(h, "t0, t1, t2 and 2 more");
    house_must(h, registry_image_users_count(h->r, id, &count));
    assert_int_equal(count, 5);
    house_must(h, registry_image_users(h->r, id, 2, join_tenant, users));
    assert_string_equal(users, "t0 t1 ");
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        house_must(h, registry_tenant_remove(h->r, name, NOW, &dropped, &h->no));
        assert_int_equal(dropped.nr, 1);
    }
    house_must(h, registry_image_remove(h->r, "hello:1", NOW, &image, &h->no));
    assert_int_equal(image.id, id);
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_NOT_FOUND);
    house_must_say(h, "hello:1");
}

static void an_image_that_a_living_instance_runs_is_not_removed(void **state)
{
    struct house *h = *state;
    struct registry_image image;
    struct registry_instance old;
    uint64_t one = house_add_image(h, "hello", "1"), two = house_add_image(h, "hello", "2");
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "acme.localhost");

    house_must(h, registry_instance_begin(h->r, t.id, one, "sandbox", NOW, &old));
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", 0, NOW, &t, &h->no));
    house_must(h, registry_tenant_good(h->r, t.id, two, NOW));
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_BUSY);
    house_must_say(h, "acme");
    house_must(h, registry_instance_end(h->r, old.id, "stopped", NOW));
    house_must(h, registry_image_remove(h->r, "hello:1", NOW, &image, &h->no));
    house_must(h, registry_instance(h->r, old.id, &old));
    assert_string_equal(old.image_ref, "hello:1");
    assert_int_equal(old.image, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_image_twice_is_one_image),
        TEST(other_content_under_a_taken_version_is_refused),
        TEST(images_are_listed_in_pages),
        TEST(an_image_in_use_is_not_removed_and_its_users_are_named),
        TEST(an_image_that_a_living_instance_runs_is_not_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
