/* Tenants with their host names and certificates. */
#include "registry_house.h"

static bool join_host(void *arg, const char *host)
{
    strcat(strcat(arg, host), " ");
    return true;
}

static bool join_tenant(void *arg, const struct registry_tenant *t)
{
    strcat(strcat(arg, t->name), " ");
    return true;
}

static void an_exact_name_beats_a_wildcard_of_one_label(void **state)
{
    struct house *h = *state;
    struct registry_route route;

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "wild", "hello:1", "*.example");
    house_add_tenant(h, "exact", "hello:1", "a.example");
    house_must(h, registry_route(h->r, "a.example", &route));
    assert_string_equal(route.tenant.name, "exact");
    house_must(h, registry_route(h->r, "b.example", &route));
    assert_string_equal(route.tenant.name, "wild");
    assert_int_equal(registry_route(h->r, "x.b.example", &route), RC_NOT_FOUND);
    assert_int_equal(registry_route(h->r, "example", &route), RC_NOT_FOUND);
    assert_int_equal(registry_route(h->r, "", &route), RC_NOT_FOUND);
}

static void a_taken_host_name_is_refused_with_its_owner(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "globex", "hello:1", "acme.localhost");
    assert_int_equal(house_try_tenant(h, "acme", "hello:1", "ACME.localhost.", &t), RC_EXISTS);
    house_must_say(h, "host name acme.localhost is taken");
    house_must_say(h, "globex");
    /* Nothing of it is left. */
    assert_int_equal(registry_tenant_by_name(h->r, "acme", &t, &h->no), RC_NOT_FOUND);
    assert_int_equal(house_add_tenant(h, "acme", "hello:1", "other.localhost").generation, 0);
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const bad_tenants[] = {"", "-a", "Acme", "a b", "a_b", "a.b"};
    static const char *const bad_hosts[] = {"",      "no host", "a..b",         ".a",  "a_b.c",
                                            "-a.b",  "a-.b",    "10.0.0.1",     "*",   "*.",
                                            "a.*.b", "*a.b",    "b\xc3\xbc.de", "a/b", "[::1]"};
    struct house *h = *state;
    struct registry_tenant t;

    house_add_image(h, "hello", "1");
    for (size_t i = 0; i < sizeof bad_tenants / sizeof *bad_tenants; i++) {
        assert_int_equal(house_try_tenant(h, bad_tenants[i], "hello:1", "x.localhost", &t),
                         RC_INVAL);
        house_must_say(h, "name");
    }
    for (size_t i = 0; i < sizeof bad_hosts / sizeof *bad_hosts; i++) {
        assert_int_equal(house_try_tenant(h, "acme", "hello:1", bad_hosts[i], &t), RC_INVAL);
        house_must_say(h, "host name");
    }
    assert_int_equal(house_try_tenant(h, "acme", "none:9", "x.localhost", &t), RC_NOT_FOUND);
    house_must_say(h, "none:9");
    assert_int_equal(house_try_tenant(h, "acme", "none", "x.localhost", &t), RC_INVAL);
    house_must_say(h, "NAME:VERSION");
}

static void a_tenant_that_exists_is_refused(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "acme", "hello:1", "a.localhost");
    assert_int_equal(house_try_tenant(h, "acme", "hello:1", "b.localhost", &t), RC_EXISTS);
    house_must_say(h, "acme");
}

static void too_little_memory_for_the_image_is_refused(void **state)
{
    struct house *h = *state;
    struct registry_wish wish = {.has_memory = true, .memory = MIB};
    struct registry_dropped dropped;
    struct registry_tenant t;

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "acme", "hello:1", "a.localhost");
    assert_int_equal(registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no), RC_INVAL);
    house_must_say(h, "2048 KiB");
    wish.memory = 1;
    assert_int_equal(registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no), RC_INVAL);
    house_must_say(h, "out of range");
    wish.memory = 2 * MIB;
    house_must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_int_equal(t.memory, 2 * MIB);
    assert_int_equal(t.idle_ms, REGISTRY_IDLE_MS);
}

static void hosts_are_replaced_and_the_old_ones_are_free(void **state)
{
    struct house *h = *state;
    const char *hosts[] = {"c.localhost", "b.localhost", "C.localhost"};
    struct registry_certificate c = house_cert("*.localhost", "RSA 2048", "new");
    struct registry_wish wish = {.hosts = hosts, .hosts_nr = 3, .cert = &c};
    struct registry_dropped dropped;
    struct registry_tenant t;
    char joined[256] = "";
    uint64_t revision;

    house_add_image(h, "hello", "1");
    t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    revision = t.revision;
    house_must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_true(t.revision > revision);
    /* The EC certificate was for a.localhost alone. */
    assert_int_equal(dropped.nr, 1);
    house_must(h, registry_hosts(h->r, t.id, join_host, joined));
    assert_string_equal(joined, "b.localhost c.localhost ");
    house_add_tenant(h, "globex", "hello:1", "a.localhost");
}

static void a_revision_is_never_given_twice(void **state)
{
    struct house *h = *state;
    struct registry_dropped dropped;
    uint64_t first;

    house_add_image(h, "hello", "1");
    first = house_add_tenant(h, "acme", "hello:1", "a.localhost").revision;
    house_must(h, registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no));
    assert_true(house_add_tenant(h, "globex", "hello:1", "a.localhost").revision > first);
}

static void suspend_and_resume_change_the_route(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;
    uint64_t revision;

    house_add_image(h, "hello", "1");
    revision = house_add_tenant(h, "acme", "hello:1", "a.localhost").revision;
    house_must(h, registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no));
    assert_true(t.suspended && t.revision > revision);
    assert_string_equal(house_last_event(h, "acme").kind, "suspended");
    revision = t.revision;
    house_must(h, registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no));
    assert_int_equal(t.revision, revision);
    house_must(h, registry_tenant_suspend(h->r, "acme", false, NOW, &t, &h->no));
    assert_false(t.suspended);
}

static void tenants_are_listed_in_pages_and_a_list_may_ask_for_more(void **state)
{
    struct house *h = *state;
    char page[64] = "";

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "b", "hello:1", "b.localhost");
    house_add_tenant(h, "a", "hello:1", "a.localhost");
    house_add_tenant(h, "c", "hello:1", "c.localhost");
    house_must(h, registry_tenants(h->r, NULL, 2, join_tenant, page));
    assert_string_equal(page, "a b ");
    page[0] = '\0';
    house_must(h, registry_tenants(h->r, "b", 9, join_tenant, page));
    assert_string_equal(page, "c ");
}

/*----- certificates -----*/

static void an_ec_and_an_rsa_certificate_stand_side_by_side(void **state)
{
    struct house *h = *state;
    struct registry_certificate rsa = house_cert("a.localhost", "RSA 2048", "rsa"),
                                ec = house_cert("a.localhost", "EC P-384", "ec");
    struct registry_wish wish = {.cert = &rsa};
    struct registry_dropped dropped;
    struct registry_route route;
    struct registry_tenant t;
    bool used;

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "acme", "hello:1", "a.localhost");
    house_must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_int_equal(dropped.nr, 0);
    house_must(h, registry_route(h->r, "a.localhost", &route));
    assert_int_equal(route.certs, 2);

    wish.cert = &ec;
    house_must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_int_equal(dropped.nr, 1);
    house_must(h, registry_chain_used(h->r, dropped.cert[0].fingerprint, &used));
    assert_false(used);
    house_must(h, registry_chain_used(h->r, rsa.fingerprint, &used));
    assert_true(used);
    house_must(h, registry_key_used(h->r, ec.key_id, &used));
    assert_true(used);
}

static void a_certificate_that_misses_a_host_is_refused_by_name(void **state)
{
    struct house *h = *state;
    const char *hosts[] = {"a.localhost", "b.localhost"};
    struct registry_certificate c = house_cert("a.localhost", "EC P-256", "x");
    struct registry_wish both = {.image = "hello:1", .hosts = hosts, .hosts_nr = 2, .cert = &c},
                         more = {.hosts = hosts, .hosts_nr = 2};
    struct registry_dropped dropped;
    struct registry_tenant t;
    char joined[64] = "";

    house_add_image(h, "hello", "1");
    assert_int_equal(registry_tenant_add(h->r, "acme", &both, NOW, &t, &h->no), RC_INVAL);
    house_must_say(h, "b.localhost");
    t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    assert_int_equal(registry_tenant_set(h->r, "acme", &more, NOW, &t, &dropped, &h->no), RC_INVAL);
    house_must_say(h, "b.localhost");
    house_must(h, registry_hosts(h->r, t.id, join_host, joined));
    assert_string_equal(joined, "a.localhost ");
}

/*----- all of them -----*/

static void counts_are_told(void **state)
{
    struct house *h = *state;
    struct registry_counts counts;
    struct registry_tenant t;

    house_add_image(h, "hello", "1");
    house_add_tenant(h, "a", "hello:1", "a.localhost");
    house_add_tenant(h, "b", "hello:1", "b.localhost");
    house_must(h, registry_tenant_suspend(h->r, "b", true, NOW, &t, &h->no));
    house_must(h, registry_counts(h->r, &counts));
    assert_int_equal(counts.tenants, 2);
    assert_int_equal(counts.suspended, 1);
    assert_int_equal(counts.hosts, 2);
    assert_int_equal(counts.images, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_exact_name_beats_a_wildcard_of_one_label),
        TEST(a_taken_host_name_is_refused_with_its_owner),
        TEST(names_that_are_none_are_refused),
        TEST(a_tenant_that_exists_is_refused),
        TEST(too_little_memory_for_the_image_is_refused),
        TEST(hosts_are_replaced_and_the_old_ones_are_free),
        TEST(a_revision_is_never_given_twice),
        TEST(suspend_and_resume_change_the_route),
        TEST(tenants_are_listed_in_pages_and_a_list_may_ask_for_more),
        TEST(an_ec_and_an_rsa_certificate_stand_side_by_side),
        TEST(a_certificate_that_misses_a_host_is_refused_by_name),
        TEST(counts_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
