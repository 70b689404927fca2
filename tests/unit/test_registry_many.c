/* A registry of 10,000 tenants: one more, and what it lives through, costs SQLite as many steps as
 * the tenth did.
 *
 * Steps of its virtual machine, and rows that a scan went over: no time is asserted.  Seen to fail:
 * without the index hostname_tenant or certificate_key_id. */
#include <sqlite3.h>

#include "registry_house.h"

#define FEW    10u
#define MANY   10000u
#define SUFFIX ".localhost"

static int set_up(void **state)
{
    house_set_up(state);
    house_add_image(*state, "hello", "1");
    house_add_image(*state, "hello", "2");
    return 0;
}

/* Each has a key and a chain of its own. */
static struct registry_certificate own_cert(const char *host)
{
    struct registry_certificate c = house_cert(host, "EC P-256", host);

    house_hash(c.key_id, host);
    return c;
}

static struct registry_tenant add(struct house *h, unsigned n)
{
    char name[16], text[32];
    const char *host = text;
    struct registry_certificate c;
    struct registry_wish wish = {.image = "hello:1", .hosts = &host, .hosts_nr = 1, .cert = &c};
    struct registry_tenant t;

    snprintf(name, sizeof name, "t%u", n);
    snprintf(text, sizeof text, "t%u" SUFFIX, n);
    c = own_cert(host);
    house_must(h, registry_tenant_add(h->r, name, &wish, NOW, &t, &h->no));
    return t;
}

static bool count(void *arg, const struct registry_tenant *t)
{
    (void)t;
    ++*(unsigned *)arg;
    return true;
}

static bool count_image(void *arg, const struct registry_image *i)
{
    (void)i;
    ++*(unsigned *)arg;
    return true;
}

static bool count_instance(void *arg, const struct registry_instance *i)
{
    (void)i;
    ++*(unsigned *)arg;
    return true;
}

static bool count_event(void *arg, const struct registry_event *e)
{
    (void)e;
    ++*(unsigned *)arg;
    return true;
}

/* Onboarded, looked up, woken, upgraded, changed, suspended, listed, removed. */
static void life(struct house *h, unsigned n)
{
    struct registry_tenant t = add(h, n);
    struct registry_dropped dropped;
    struct registry_route route;
    struct registry_instance i;
    char name[16], text[32];
    const char *host = text;
    struct registry_certificate c;
    struct registry_wish wish = {.hosts = &host, .hosts_nr = 1, .cert = &c};
    unsigned listed = 0;
    uint64_t first = t.image;
    bool used;

    memcpy(name, t.name, strlen(t.name) + 1);
    snprintf(text, sizeof text, "t%u" SUFFIX, n);
    house_must(h, registry_route(h->r, text, &route));
    assert_int_equal(route.tenant.id, t.id);
    house_must(h, registry_tenant_by_name(h->r, name, &t, &h->no));
    house_must(h, registry_instance_begin(h->r, t.id, first, "sandbox", NOW, &i));
    house_must(h, registry_instance_handle(h->r, i.id, "x"));
    house_must(h, registry_instance_state(h->r, i.id, REGISTRY_INSTANCE_READY, NOW));
    house_must(h, registry_tenant_good(h->r, t.id, first, NOW));
    house_must(h, registry_tenant_upgrade(h->r, name, "hello:2", 0, NOW, &t, &h->no));
    house_must(h, registry_tenant_rollback(h->r, t.id, t.image, "x", NOW, &used));
    house_must(h, registry_instances_alive(h->r, count_instance, &listed));
    assert_int_equal(listed, 1);
    house_must(h, registry_instance_end(h->r, i.id, "x", NOW));
    snprintf(text, sizeof text, "other%u" SUFFIX, n);
    c = own_cert(host);
    house_must(h, registry_tenant_set(h->r, name, &wish, NOW, &t, &dropped, &h->no));
    house_must(h, registry_tenant_suspend(h->r, name, true, NOW, &t, &h->no));
    listed = 0;
    house_must(h, registry_tenants(h->r, "t5", FEW / 2, count, &listed)); /* one page */
    house_must(h, registry_events(h->r, name, 0, 100, count_event, &listed));
    house_must(h, registry_chain_used(h->r, c.fingerprint, &used));
    house_must(h, registry_key_used(h->r, c.key_id, &used));
    house_must(h, registry_tenant_remove(h->r, name, NOW, &dropped, &h->no));
}

struct cost {
    unsigned steps, scanned;
};

/* Of all statements, since asked last. */
static struct cost cost(struct registry *r)
{
    struct cost c = {0};

    for (size_t k = 0; k < DB_STATEMENTS; k++)
        if (r->kept[k].stmt) {
            c.steps += (unsigned)sqlite3_stmt_status(r->kept[k].stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
            c.scanned +=
                (unsigned)sqlite3_stmt_status(r->kept[k].stmt, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1);
        }
    return c;
}

static struct cost cost_of_life(struct house *h, unsigned n)
{
    h->r->events_since_prune = 1; /* pruning comes once in 64 events: not in this one */
    (void)cost(h->r);
    life(h, n);
    return cost(h->r);
}

static void a_tenant_costs_the_same_steps_among_ten_and_ten_thousand(void **state)
{
    struct house *h = *state;
    struct cost few, many;

    for (unsigned n = 0; n < FEW; n++)
        add(h, n);
    life(h, MANY + 1); /* prepares all statements */
    few = cost_of_life(h, MANY + 2);
    house_must(h, db_begin(h->r, DB_LAZY)); /* from here on nothing is synced to the disk */
    house_must(h, db_end(h->r, RC_OK));
    assert_int_equal(sqlite3_exec(h->r->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL), SQLITE_OK);
    h->r->lazy = false; /* what registry.c takes for FULL stays off */
    for (unsigned n = FEW; n < MANY; n++)
        add(h, n);
    many = cost_of_life(h, MANY + 3);
    print_message("a tenant's life: %u steps among %u tenants, %u among %u; scanned %u, %u rows\n",
                  few.steps, FEW, many.steps, MANY, few.scanned, many.scanned);
    assert_in_range(many.steps, 0, few.steps + few.steps / 10);
    assert_in_range(many.scanned, 0, few.scanned);
}

static void a_list_costs_the_same_steps_for_each_tenant(void **state)
{
    struct house *h = *state;
    unsigned steps[2], n = 0, made[] = {100, 1000};

    assert_int_equal(sqlite3_exec(h->r->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL), SQLITE_OK);
    for (unsigned i = 0; i < 2; i++) {
        unsigned listed = 0;
        char after[16];

        for (; n < made[i]; n++)
            add(h, n);
        house_must(h, registry_tenants(h->r, NULL, 1, count, &listed));
        (void)cost(h->r);
        listed = 0;
        house_must(h, registry_tenants(h->r, NULL, n, count, &listed));
        assert_int_equal(listed, n);
        steps[i] = cost(h->r).steps / n;
        snprintf(after, sizeof after, "t%u", n / 2);
        house_must(h, registry_tenants(h->r, after, 1, count, &listed));
        assert_in_range(cost(h->r).steps, 0, 200); /* a page begins where it begins */
    }
    print_message("a list: %u and %u steps a tenant\n", steps[0], steps[1]);
    assert_in_range(steps[1], 0, steps[0] + 1);
}

/* A plan that reads a whole table grows with the number of tenants. */
static void explain(struct house *h, const char *sql)
{
    char *explained = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_prepare_v2(h->r->db, explained, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *plan = (const char *)sqlite3_column_text(stmt, 3);

        /* A partial index holds only what is alive, or is moving. */
        if ((strncmp(plan, "SCAN", 4) == 0 && !strstr(plan, "USING INDEX instance_alive") &&
             !strstr(plan, "USING INDEX tenant_upgrading") && !strstr(plan, "CONSTANT ROW")) ||
            strstr(plan, "AUTOMATIC"))
            fail_msg("%s: %s", sql, plan);
    }
    sqlite3_finalize(stmt);
    sqlite3_free(explained);
}

static void no_statement_scans_a_table(void **state)
{
    struct house *h = *state;
    uint64_t one = house_add_image(h, "hello", "1"), two = house_add_image(h, "hello", "2"), id;
    struct registry_tenant t = house_add_tenant(h, "acme", "hello:1", "a.localhost");
    struct registry_dropped dropped;
    struct registry_instance i;
    struct registry_image image;
    struct registry_route route;
    const char *host = "b.localhost";
    struct registry_certificate c = house_cert(host, "EC P-256", "x");
    struct registry_wish wish = {.hosts = &host, .hosts_nr = 1, .cert = &c};
    unsigned statements = 0, n = 0;
    bool b;

    house_must(h, registry_route(h->r, "a.localhost", &route));
    house_must(h, registry_instance_begin(h->r, t.id, one, "sandbox", NOW, &i));
    house_must(h, registry_instance_handle(h->r, i.id, "x"));
    house_must(h, registry_instance_state(h->r, i.id, REGISTRY_INSTANCE_READY, NOW));
    house_must(h, registry_instances_alive(h->r, count_instance, &n));
    house_must(h, registry_tenant_good(h->r, t.id, one, NOW));
    house_must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", 0, NOW, &t, &h->no));
    house_must(h, registry_tenant_upgrade_state(h->r, t.id, REGISTRY_UPGRADE_DRAINING));
    house_must(h, registry_tenant_rollback(h->r, t.id, two, "x", NOW, &b));
    house_must(h, registry_instance_end(h->r, i.id, "x", NOW));
    house_must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    house_must(h, registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no));
    house_must(h, registry_tenants(h->r, "", 5, count, &n));
    house_must(h, registry_images(h->r, NULL, 5, count_image, &n));
    house_must(h, registry_image_users(h->r, one, 5, count, &n));
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_BUSY);
    house_must(h, registry_image_remove(h->r, "hello:2", NOW, &image, &h->no));
    house_must(h, registry_image_used(h->r, image.sha256, &b));
    house_must(h, registry_chain_used(h->r, c.fingerprint, &b));
    house_must(h, registry_key_used(h->r, c.key_id, &b));
    house_must(h, registry_events_last(h->r, &id));
    house_last_event(h, "acme");
    house_last_event(h, NULL);
    house_must(h, registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no));

    for (size_t k = 0; k < DB_STATEMENTS; k++) {
        const char *sql = h->r->kept[k].sql;

        /* The revision counter is a table of one row. */
        if (!sql || strncmp(sql, "PRAGMA", 6) == 0 || strstr(sql, "route_revision"))
            continue;
        explain(h, sql);
        statements++;
    }
    assert_true(statements > 40);
    /* Half full at most: a look-up of a statement stays short. */
    assert_true(statements < DB_STATEMENTS / 2 + 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tenant_costs_the_same_steps_among_ten_and_ten_thousand),
        TEST(a_list_costs_the_same_steps_for_each_tenant),
        TEST(no_statement_scans_a_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
