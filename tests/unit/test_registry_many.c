/* A registry of 10,000 tenants: one more, and what it lives through, costs SQLite as many steps as
 * the tenth did.
 *
 * Steps of its virtual machine, and rows that a scan went over: no time is asserted.  That
 * every statement has an index to go by is test_registry.c's.  Seen to fail: without the index
 * hostname_tenant or certificate_key_id. */
#include <sqlite3.h>

#include "orchestrator/registry_db.h"
#include "scratch.h"

#define NOW    1700000000000
#define FEW    10u
#define MANY   10000u
#define SUFFIX ".localhost"

struct house {
    struct scratch scratch;
    struct registry *r;
    struct refusal no;
    uint64_t images[2];
};

static void must(struct house *h, enum rc rc)
{
    char line[2048];

    if (rc)
        fail_msg("%s: %s (%s)", rc_text(rc), refusal_line(&h->no, line, sizeof line),
                 h->r ? registry_error(h->r) : "");
}

static int set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);

    scratch_make(&h->scratch);
    must(h, registry_open(h->scratch.dir, &h->r, &h->no));
    for (unsigned v = 0; v < 2; v++) {
        struct registry_image image = {.abi = 1, .memory_kib = 2048, .size = 1000, .name = "hello"};

        snprintf(image.version, sizeof image.version, "%u", v + 1);
        snprintf(image.sha256, sizeof image.sha256, "%064u", v);
        strcpy(image.alpn, "http/1.1");
        must(h, registry_image_add(h->r, &image, NOW, &h->images[v], &h->no));
    }
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct house *h = *state;

    registry_close(h->r);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

/* Each has a key and a chain of its own. */
static struct registry_certificate cert(const char *host, unsigned n)
{
    struct registry_certificate c = {.not_before = NOW, .not_after = NOW + 1};

    snprintf(c.names, sizeof c.names, "%s", host);
    strcpy(c.key_type, "EC P-256");
    strcpy(c.subject, "CN=test");
    snprintf(c.fingerprint, sizeof c.fingerprint, "%064u", n);
    snprintf(c.key_id, sizeof c.key_id, "%064u", n);
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
    c = cert(host, n);
    must(h, registry_tenant_add(h->r, name, &wish, NOW, &t, &h->no));
    return t;
}

static bool count(void *arg, const struct registry_tenant *t)
{
    (void)t;
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
    bool used;

    memcpy(name, t.name, strlen(t.name) + 1);
    snprintf(text, sizeof text, "t%u" SUFFIX, n);
    must(h, registry_route(h->r, text, &route));
    assert_int_equal(route.tenant.id, t.id);
    must(h, registry_tenant_by_name(h->r, name, &t, &h->no));
    must(h, registry_instance_begin(h->r, t.id, h->images[0], "sandbox", NOW, &i));
    must(h, registry_instance_handle(h->r, i.id, "x"));
    must(h, registry_instance_state(h->r, i.id, REGISTRY_INSTANCE_READY, NOW));
    must(h, registry_tenant_good(h->r, t.id, h->images[0], NOW));
    must(h, registry_tenant_upgrade(h->r, name, "hello:2", 0, NOW, &t, &h->no));
    must(h, registry_tenant_rollback(h->r, t.id, h->images[1], "x", NOW, &used));
    must(h, registry_instances_alive(h->r, count_instance, &listed));
    assert_int_equal(listed, 1);
    must(h, registry_instance_end(h->r, i.id, "x", NOW));
    snprintf(text, sizeof text, "other%u" SUFFIX, n);
    c = cert(host, n + 1000000);
    must(h, registry_tenant_set(h->r, name, &wish, NOW, &t, &dropped, &h->no));
    must(h, registry_tenant_suspend(h->r, name, true, NOW, &t, &h->no));
    listed = 0;
    must(h, registry_tenants(h->r, "t5", FEW / 2, count, &listed)); /* one page */
    must(h, registry_events(h->r, name, 0, 100, count_event, &listed));
    must(h, registry_chain_used(h->r, c.fingerprint, &used));
    must(h, registry_key_used(h->r, c.key_id, &used));
    must(h, registry_tenant_remove(h->r, name, NOW, &dropped, &h->no));
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
    must(h, db_begin(h->r, DB_LAZY)); /* from here on nothing is synced to the disk */
    must(h, db_end(h->r, RC_OK));
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
        must(h, registry_tenants(h->r, NULL, 1, count, &listed));
        (void)cost(h->r);
        listed = 0;
        must(h, registry_tenants(h->r, NULL, n, count, &listed));
        assert_int_equal(listed, n);
        steps[i] = cost(h->r).steps / n;
        snprintf(after, sizeof after, "t%u", n / 2);
        must(h, registry_tenants(h->r, after, 1, count, &listed));
        assert_in_range(cost(h->r).steps, 0, 200); /* a page begins where it begins */
    }
    print_message("a list: %u and %u steps a tenant\n", steps[0], steps[1]);
    assert_in_range(steps[1], 0, steps[0] + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tenant_costs_the_same_steps_among_ten_and_ten_thousand),
        TEST(a_list_costs_the_same_steps_for_each_tenant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
