#include <sqlite3.h>
#include <sys/stat.h>

#include "orchestrator/registry_db.h"
#include "scratch.h"

#define NOW 1700000000000
#define MIB (1024u * 1024)

struct house {
    struct scratch scratch;
    struct registry *r;
    struct refusal no;
};

static void must(struct house *h, enum rc rc)
{
    char line[2048];

    if (rc)
        fail_msg("%s: %s (%s)", rc_text(rc), refusal_line(&h->no, line, sizeof line),
                 h->r ? registry_error(h->r) : "");
}

static void must_say(const struct house *h, const char *words)
{
    char line[2048];

    refusal_line(&h->no, line, sizeof line);
    if (!strstr(line, words))
        fail_msg("\"%s\" is not in: %s", words, line);
    assert_string_not_equal(h->no.what, "");
    assert_string_not_equal(h->no.why, "");
    assert_string_not_equal(h->no.todo, "");
}

static int set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);

    scratch_make(&h->scratch);
    must(h, registry_open(h->scratch.dir, &h->r, &h->no));
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

static void reopen(struct house *h)
{
    registry_close(h->r);
    h->r = NULL;
    must(h, registry_open(h->scratch.dir, &h->r, &h->no));
}

/* 64 hex digits that depend on the text. */
static void fake_hash(char out[REGISTRY_HASH_SIZE], const char *text)
{
    unsigned long long v = 1469598103934665603u;

    for (; *text; text++)
        v = (v ^ (unsigned char)*text) * 1099511628211u;
    snprintf(out, REGISTRY_HASH_SIZE, "%016llx%016llx%016llx%016llx", v, ~v, v * 3, v * 5);
}

static uint64_t add_image(struct house *h, const char *name, const char *version)
{
    struct registry_image image = {.abi = 1, .memory_kib = 2048, .size = 1000};
    uint64_t id;

    snprintf(image.name, sizeof image.name, "%s", name);
    snprintf(image.version, sizeof image.version, "%s", version);
    strcpy(image.alpn, "http/1.1");
    char text[REGISTRY_REF_SIZE];
    snprintf(text, sizeof text, "%s:%s", name, version);
    fake_hash(image.sha256, text);
    must(h, registry_image_add(h->r, &image, NOW, &id, &h->no));
    return id;
}

static struct registry_certificate cert(const char *names, const char *key_type, const char *seed)
{
    struct registry_certificate c = {.not_before = NOW, .not_after = NOW + 1};

    snprintf(c.names, sizeof c.names, "%s", names);
    snprintf(c.key_type, sizeof c.key_type, "%s", key_type);
    strcpy(c.subject, "CN=test");
    fake_hash(c.fingerprint, seed);
    fake_hash(c.key_id, key_type);
    return c;
}

static enum rc try_tenant(struct house *h, const char *name, const char *image, const char *host,
                          struct registry_tenant *out)
{
    struct registry_certificate c = cert(host, "EC P-256", name);
    struct registry_wish wish = {.image = image, .hosts = &host, .hosts_nr = 1, .cert = &c};

    return registry_tenant_add(h->r, name, &wish, NOW, out, &h->no);
}

static struct registry_tenant add_tenant(struct house *h, const char *name, const char *image,
                                         const char *host)
{
    struct registry_tenant t;

    must(h, try_tenant(h, name, image, host, &t));
    return t;
}

static struct registry_tenant tenant(struct house *h, uint64_t id)
{
    struct registry_tenant t;

    must(h, registry_tenant(h->r, id, &t));
    return t;
}

static bool last_event_cb(void *arg, const struct registry_event *e)
{
    *(struct registry_event *)arg = *e;
    return true;
}

static struct registry_event last_event(struct house *h, const char *of)
{
    struct registry_event e = {.id = 0};

    must(h, registry_events(h->r, of, 0, 100000, last_event_cb, &e));
    return e;
}

static bool count_instance(void *arg, const struct registry_instance *i)
{
    (void)i;
    ++*(unsigned *)arg;
    return true;
}

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

static bool join_image(void *arg, const struct registry_image *i)
{
    strcat(strcat(strcat(strcat(arg, i->name), ":"), i->version), " ");
    return true;
}

/*----- open -----*/

static void what_was_acknowledged_is_there_after_reopening(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;
    struct registry_route route;

    add_image(h, "hello", "1");
    t = add_tenant(h, "acme", "hello:1", "acme.localhost");
    reopen(h);
    must(h, registry_route(h->r, "acme.localhost", &route));
    assert_int_equal(route.tenant.id, t.id);
    assert_string_equal(route.image.name, "hello");
    assert_string_equal(route.image.alpn, "http/1.1");
    assert_int_equal(route.certs, 1);
    assert_int_equal(route.tenant.idle_ms, REGISTRY_IDLE_MS);
    assert_int_equal(route.tenant.wake_timeout_ms, REGISTRY_WAKE_TIMEOUT_MS);
}

static void nobody_else_may_read_the_database(void **state)
{
    struct house *h = *state;

    assert_int_equal(scratch_sh(&h->scratch, "test -z \"$(find . -name 'roomkey*' -perm /077)\""),
                     0);
}

static void a_second_roomkeyd_is_refused(void **state)
{
    struct house *h = *state;
    struct registry *second = NULL;

    assert_int_equal(registry_open(h->scratch.dir, &second, &h->no), RC_BUSY);
    must_say(h, "another roomkeyd");
    assert_null(second);
}

/* To an empty registry nobody needs any key: roomkeyd would sweep them all. */
static void a_lost_database_is_refused_while_keys_or_images_are_there(void **state)
{
    static const char *const folders[] = {"keys", "images/sha256"};
    struct house *h = *state;

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        registry_close(h->r);
        h->r = NULL;
        assert_int_equal(scratch_sh(&h->scratch,
                                    "rm -rf roomkey.db* keys images && mkdir -p '%s' && touch "
                                    "'%s/.temporary' '%s/of-a-tenant'",
                                    folders[i], folders[i], folders[i]),
                         0);
        /* Again: the first try must not make it look like a registry. */
        for (int again = 0; again < 2; again++) {
            assert_int_equal(registry_open(h->scratch.dir, &h->r, &h->no), RC_NOT_FOUND);
            must_say(h, "from a backup");
        }
        assert_int_equal(scratch_sh(&h->scratch, "rm '%s/of-a-tenant'", folders[i]), 0);
        must(h, registry_open(h->scratch.dir, &h->r, &h->no));
    }
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    struct house *h = *state;
    char version[16];

    registry_close(h->r);
    h->r = NULL;
    assert_int_equal(scratch_sh(&h->scratch, "sqlite3 roomkey.db 'PRAGMA user_version=99'"), 0);
    assert_int_equal(registry_open(h->scratch.dir, &h->r, &h->no), RC_VERSION);
    must_say(h, "version 99");
    scratch_out(&h->scratch, version, sizeof version, "sqlite3 roomkey.db 'PRAGMA user_version'");
    assert_string_equal(version, "99");
}

static void a_migration_that_fails_leaves_nothing_behind(void **state)
{
    struct house *h = *state;
    char tables[256];

    registry_close(h->r);
    h->r = NULL;
    /* The first migration meets a table of its name, after it has made others. */
    assert_int_equal(
        scratch_sh(&h->scratch, "rm roomkey.db*; sqlite3 roomkey.db 'CREATE TABLE event (x)'"), 0);
    assert_int_equal(registry_open(h->scratch.dir, &h->r, &h->no), RC_DB);
    scratch_out(&h->scratch, tables, sizeof tables, "sqlite3 roomkey.db .tables");
    assert_string_equal(tables, "event");
}

static void a_file_that_is_no_database_is_refused(void **state)
{
    struct house *h = *state;

    registry_close(h->r);
    h->r = NULL;
    assert_int_equal(
        scratch_sh(&h->scratch, "rm roomkey.db*; yes garbage | head -c 9000 >roomkey.db"), 0);
    assert_int_equal(registry_open(h->scratch.dir, &h->r, &h->no), RC_DB);
    must_say(h, "not a database");
    must_say(h, "backup");
}

static void a_corrupt_database_is_refused(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 20; i++) {
        char version[16];
        snprintf(version, sizeof version, "%d", i);
        add_image(h, "hello", version);
    }
    registry_close(h->r);
    h->r = NULL;
    /* Past the first page, which holds the schema. */
    assert_int_equal(scratch_sh(&h->scratch, "yes X | dd of=roomkey.db bs=4096 seek=1 count=4 "
                                             "conv=notrunc iflag=fullblock"),
                     0);
    assert_int_equal(registry_open(h->scratch.dir, &h->r, &h->no), RC_DB);
    must_say(h, "malformed");
}

static void a_missing_state_folder_is_refused(void **state)
{
    struct house *h = *state;
    struct registry *r = NULL;

    assert_int_equal(registry_open("/nonexistent-folder", &r, &h->no), RC_NOT_FOUND);
    must_say(h, "/nonexistent-folder");
}

static void a_locked_database_is_told_from_a_broken_one(void **state)
{
    struct house *h = *state;
    char path[128];
    sqlite3 *other;
    struct registry_tenant t;

    add_image(h, "hello", "1");
    snprintf(path, sizeof path, "%s/roomkey.db", h->scratch.dir);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(try_tenant(h, "acme", "hello:1", "acme.localhost", &t), RC_BUSY);
    must_say(h, "another program");
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    add_tenant(h, "acme", "hello:1", "acme.localhost");
}

/*----- images -----*/

static void the_same_image_twice_is_one_image(void **state)
{
    struct house *h = *state;

    assert_int_equal(add_image(h, "hello", "1"), add_image(h, "hello", "1"));
}

static void other_content_under_a_taken_version_is_refused(void **state)
{
    struct house *h = *state;
    struct registry_image image = {
        .name = "hello", .version = "1", .abi = 1, .memory_kib = 1024, .size = 1};
    uint64_t id;

    add_image(h, "hello", "1");
    fake_hash(image.sha256, "other");
    assert_int_equal(registry_image_add(h->r, &image, NOW, &id, &h->no), RC_EXISTS);
    must_say(h, "hello:1");
}

static void images_are_listed_in_pages(void **state)
{
    struct house *h = *state;
    char page[256] = "";

    add_image(h, "b", "1");
    add_image(h, "a", "2");
    add_image(h, "a", "1");
    must(h, registry_images(h->r, NULL, 2, join_image, page));
    assert_string_equal(page, "a:1 a:2 ");
    page[0] = '\0';
    must(h, registry_images(h->r, "a:2", 2, join_image, page));
    assert_string_equal(page, "b:1 ");
}

static void an_image_in_use_is_not_removed_and_its_users_are_named(void **state)
{
    struct house *h = *state;
    struct registry_image image;
    struct registry_dropped dropped;
    uint64_t id = add_image(h, "hello", "1"), count;
    char users[128] = "";

    for (int i = 0; i < 5; i++) {
        char name[16], host[32];
        snprintf(name, sizeof name, "t%d", i);
        snprintf(host, sizeof host, "t%d.localhost", i);
        add_tenant(h, name, "hello:1", host);
    }
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_BUSY);
    must_say(h, "t0, t1, t2 and 2 more");
    must(h, registry_image_users_count(h->r, id, &count));
    assert_int_equal(count, 5);
    must(h, registry_image_users(h->r, id, 2, join_tenant, users));
    assert_string_equal(users, "t0 t1 ");
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        must(h, registry_tenant_remove(h->r, name, NOW, &dropped, &h->no));
        assert_int_equal(dropped.nr, 1);
    }
    must(h, registry_image_remove(h->r, "hello:1", NOW, &image, &h->no));
    assert_int_equal(image.id, id);
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_NOT_FOUND);
    must_say(h, "hello:1");
}

static void an_image_that_a_living_instance_runs_is_not_removed(void **state)
{
    struct house *h = *state;
    struct registry_image image;
    struct registry_instance old;
    uint64_t one = add_image(h, "hello", "1"), two = add_image(h, "hello", "2");
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "acme.localhost");

    must(h, registry_instance_begin(h->r, t.id, one, "sandbox", NOW, &old));
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", 0, NOW, &t, &h->no));
    must(h, registry_tenant_good(h->r, t.id, two, NOW));
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_BUSY);
    must_say(h, "acme");
    must(h, registry_instance_end(h->r, old.id, "stopped", NOW));
    must(h, registry_image_remove(h->r, "hello:1", NOW, &image, &h->no));
    must(h, registry_instance(h->r, old.id, &old));
    assert_string_equal(old.image_ref, "hello:1");
    assert_int_equal(old.image, 0);
}

/*----- tenants and host names -----*/

static void an_exact_name_beats_a_wildcard_of_one_label(void **state)
{
    struct house *h = *state;
    struct registry_route route;

    add_image(h, "hello", "1");
    add_tenant(h, "wild", "hello:1", "*.example");
    add_tenant(h, "exact", "hello:1", "a.example");
    must(h, registry_route(h->r, "a.example", &route));
    assert_string_equal(route.tenant.name, "exact");
    must(h, registry_route(h->r, "b.example", &route));
    assert_string_equal(route.tenant.name, "wild");
    assert_int_equal(registry_route(h->r, "x.b.example", &route), RC_NOT_FOUND);
    assert_int_equal(registry_route(h->r, "example", &route), RC_NOT_FOUND);
    assert_int_equal(registry_route(h->r, "", &route), RC_NOT_FOUND);
}

static void a_taken_host_name_is_refused_with_its_owner(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;

    add_image(h, "hello", "1");
    add_tenant(h, "globex", "hello:1", "acme.localhost");
    assert_int_equal(try_tenant(h, "acme", "hello:1", "ACME.localhost.", &t), RC_EXISTS);
    must_say(h, "host name acme.localhost is taken");
    must_say(h, "globex");
    /* Nothing of it is left. */
    assert_int_equal(registry_tenant_by_name(h->r, "acme", &t, &h->no), RC_NOT_FOUND);
    assert_int_equal(add_tenant(h, "acme", "hello:1", "other.localhost").generation, 0);
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const bad_tenants[] = {"", "-a", "Acme", "a b", "a_b", "a.b"};
    static const char *const bad_hosts[] = {"",      "no host", "a..b",         ".a",  "a_b.c",
                                            "-a.b",  "a-.b",    "10.0.0.1",     "*",   "*.",
                                            "a.*.b", "*a.b",    "b\xc3\xbc.de", "a/b", "[::1]"};
    struct house *h = *state;
    struct registry_tenant t;

    add_image(h, "hello", "1");
    for (size_t i = 0; i < sizeof bad_tenants / sizeof *bad_tenants; i++) {
        assert_int_equal(try_tenant(h, bad_tenants[i], "hello:1", "x.localhost", &t), RC_INVAL);
        must_say(h, "name");
    }
    for (size_t i = 0; i < sizeof bad_hosts / sizeof *bad_hosts; i++) {
        assert_int_equal(try_tenant(h, "acme", "hello:1", bad_hosts[i], &t), RC_INVAL);
        must_say(h, "host name");
    }
    assert_int_equal(try_tenant(h, "acme", "none:9", "x.localhost", &t), RC_NOT_FOUND);
    must_say(h, "none:9");
    assert_int_equal(try_tenant(h, "acme", "none", "x.localhost", &t), RC_INVAL);
    must_say(h, "NAME:VERSION");
}

static void a_tenant_that_exists_is_refused(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;

    add_image(h, "hello", "1");
    add_tenant(h, "acme", "hello:1", "a.localhost");
    assert_int_equal(try_tenant(h, "acme", "hello:1", "b.localhost", &t), RC_EXISTS);
    must_say(h, "acme");
}

static void too_little_memory_for_the_image_is_refused(void **state)
{
    struct house *h = *state;
    struct registry_wish wish = {.has_memory = true, .memory = MIB};
    struct registry_dropped dropped;
    struct registry_tenant t;

    add_image(h, "hello", "1");
    add_tenant(h, "acme", "hello:1", "a.localhost");
    assert_int_equal(registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no), RC_INVAL);
    must_say(h, "2048 KiB");
    wish.memory = 1;
    assert_int_equal(registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no), RC_INVAL);
    must_say(h, "out of range");
    wish.memory = 2 * MIB;
    must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_int_equal(t.memory, 2 * MIB);
    assert_int_equal(t.idle_ms, REGISTRY_IDLE_MS);
}

static void hosts_are_replaced_and_the_old_ones_are_free(void **state)
{
    struct house *h = *state;
    const char *hosts[] = {"c.localhost", "b.localhost", "C.localhost"};
    struct registry_certificate c = cert("*.localhost", "RSA 2048", "new");
    struct registry_wish wish = {.hosts = hosts, .hosts_nr = 3, .cert = &c};
    struct registry_dropped dropped;
    struct registry_tenant t;
    char joined[256] = "";
    uint64_t revision;

    add_image(h, "hello", "1");
    t = add_tenant(h, "acme", "hello:1", "a.localhost");
    revision = t.revision;
    must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_true(t.revision > revision);
    /* The EC certificate was for a.localhost alone. */
    assert_int_equal(dropped.nr, 1);
    must(h, registry_hosts(h->r, t.id, join_host, joined));
    assert_string_equal(joined, "b.localhost c.localhost ");
    add_tenant(h, "globex", "hello:1", "a.localhost");
}

static void a_revision_is_never_given_twice(void **state)
{
    struct house *h = *state;
    struct registry_dropped dropped;
    uint64_t first;

    add_image(h, "hello", "1");
    first = add_tenant(h, "acme", "hello:1", "a.localhost").revision;
    must(h, registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no));
    assert_true(add_tenant(h, "globex", "hello:1", "a.localhost").revision > first);
}

static void suspend_and_resume_change_the_route(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;
    uint64_t revision;

    add_image(h, "hello", "1");
    revision = add_tenant(h, "acme", "hello:1", "a.localhost").revision;
    must(h, registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no));
    assert_true(t.suspended && t.revision > revision);
    assert_string_equal(last_event(h, "acme").kind, "suspended");
    revision = t.revision;
    must(h, registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no));
    assert_int_equal(t.revision, revision);
    must(h, registry_tenant_suspend(h->r, "acme", false, NOW, &t, &h->no));
    assert_false(t.suspended);
}

static void tenants_are_listed_in_pages_and_a_list_may_ask_for_more(void **state)
{
    struct house *h = *state;
    char page[64] = "";

    add_image(h, "hello", "1");
    add_tenant(h, "b", "hello:1", "b.localhost");
    add_tenant(h, "a", "hello:1", "a.localhost");
    add_tenant(h, "c", "hello:1", "c.localhost");
    must(h, registry_tenants(h->r, NULL, 2, join_tenant, page));
    assert_string_equal(page, "a b ");
    page[0] = '\0';
    must(h, registry_tenants(h->r, "b", 9, join_tenant, page));
    assert_string_equal(page, "c ");
}

/*----- certificates -----*/

static void an_ec_and_an_rsa_certificate_stand_side_by_side(void **state)
{
    struct house *h = *state;
    struct registry_certificate rsa = cert("a.localhost", "RSA 2048", "rsa"),
                                ec = cert("a.localhost", "EC P-384", "ec");
    struct registry_wish wish = {.cert = &rsa};
    struct registry_dropped dropped;
    struct registry_route route;
    struct registry_tenant t;
    bool used;

    add_image(h, "hello", "1");
    add_tenant(h, "acme", "hello:1", "a.localhost");
    must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_int_equal(dropped.nr, 0);
    must(h, registry_route(h->r, "a.localhost", &route));
    assert_int_equal(route.certs, 2);

    wish.cert = &ec;
    must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    assert_int_equal(dropped.nr, 1);
    must(h, registry_chain_used(h->r, dropped.cert[0].fingerprint, &used));
    assert_false(used);
    must(h, registry_chain_used(h->r, rsa.fingerprint, &used));
    assert_true(used);
    must(h, registry_key_used(h->r, ec.key_id, &used));
    assert_true(used);
}

static void a_certificate_that_misses_a_host_is_refused_by_name(void **state)
{
    struct house *h = *state;
    const char *hosts[] = {"a.localhost", "b.localhost"};
    struct registry_certificate c = cert("a.localhost", "EC P-256", "x");
    struct registry_wish both = {.image = "hello:1", .hosts = hosts, .hosts_nr = 2, .cert = &c},
                         more = {.hosts = hosts, .hosts_nr = 2};
    struct registry_dropped dropped;
    struct registry_tenant t;
    char joined[64] = "";

    add_image(h, "hello", "1");
    assert_int_equal(registry_tenant_add(h->r, "acme", &both, NOW, &t, &h->no), RC_INVAL);
    must_say(h, "b.localhost");
    t = add_tenant(h, "acme", "hello:1", "a.localhost");
    assert_int_equal(registry_tenant_set(h->r, "acme", &more, NOW, &t, &dropped, &h->no), RC_INVAL);
    must_say(h, "b.localhost");
    must(h, registry_hosts(h->r, t.id, join_host, joined));
    assert_string_equal(joined, "a.localhost ");
}

/*----- instances -----*/

static void a_new_instance_is_a_new_generation(void **state)
{
    struct house *h = *state;
    struct registry_instance one, two;
    uint64_t image = add_image(h, "hello", "1");
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");
    unsigned alive = 0;

    must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &one));
    assert_int_equal(one.generation, 1);
    assert_int_equal(one.state, REGISTRY_INSTANCE_STARTING);
    assert_string_equal(one.tenant_name, "acme");
    assert_string_equal(one.image_ref, "hello:1");
    must(h, registry_instance_handle(h->r, one.id, "pid=1 start=2"));
    must(h, registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_READY, NOW + 1));
    must(h, registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_DRAINING, NOW + 2));
    must(h, registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_READY, NOW + 3));
    must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &two));
    assert_int_equal(two.generation, 2);
    assert_int_equal(tenant(h, t.id).generation, 2);

    reopen(h);
    must(h, registry_instances_alive(h->r, count_instance, &alive));
    assert_int_equal(alive, 2);
    must(h, registry_instance(h->r, one.id, &one));
    assert_string_equal(one.handle, "pid=1 start=2");
    assert_int_equal(one.ready_at, NOW + 1);

    must(h, registry_instance_end(h->r, one.id, "stopped", NOW + 4));
    assert_int_equal(registry_instance_end(h->r, one.id, "again", NOW), RC_NOT_FOUND);
    assert_int_equal(registry_instance_state(h->r, one.id, REGISTRY_INSTANCE_READY, NOW),
                     RC_NOT_FOUND);
    must(h, registry_instance(h->r, one.id, &one));
    assert_string_equal(one.why, "stopped");
    assert_int_equal(one.state, REGISTRY_INSTANCE_ENDED);
    assert_int_equal(registry_instance_begin(h->r, 999, image, "x", NOW, &one), RC_NOT_FOUND);
    assert_int_equal(registry_instance_begin(h->r, t.id, 999, "x", NOW, &one), RC_NOT_FOUND);
    assert_int_equal(tenant(h, t.id).generation, 2);
}

static void ended_instances_are_pruned(void **state)
{
    struct house *h = *state;
    struct registry_instance i, first;
    uint64_t image = add_image(h, "hello", "1");
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");
    uint64_t ended[3 * REGISTRY_INSTANCES_KEPT];
    const int most = 3 * REGISTRY_INSTANCES_KEPT;

    must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &first));
    for (int n = 0; n < most; n++) {
        must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &i));
        must(h, registry_instance_end(h->r, i.id, "idle", NOW));
        ended[n] = i.id;
    }
    for (int n = 0; n < most; n++)
        assert_int_equal(registry_instance(h->r, ended[n], &i),
                         n < most - REGISTRY_INSTANCES_KEPT ? RC_NOT_FOUND : RC_OK);
    /* The living one is older than all of them, and stays. */
    must(h, registry_instance(h->r, first.id, &first));
}

static void a_tenant_with_a_living_instance_is_not_removed(void **state)
{
    struct house *h = *state;
    struct registry_instance i;
    struct registry_dropped dropped;
    uint64_t image = add_image(h, "hello", "1");
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");

    must(h, registry_instance_begin(h->r, t.id, image, "sandbox", NOW, &i));
    assert_int_equal(registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no), RC_BUSY);
    must_say(h, "acme");
    must(h, registry_instance_end(h->r, i.id, "stopped", NOW));
    must(h, registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no));
    assert_string_equal(last_event(h, "acme").kind, "tenant removed");
    assert_true(add_tenant(h, "acme", "hello:1", "a.localhost").id > t.id);
}

/*----- upgrades -----*/

static void an_upgrade_that_comes_up_is_the_last_good_one(void **state)
{
    struct house *h = *state;
    uint64_t one = add_image(h, "hello", "1"), two = add_image(h, "hello", "2");
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");
    struct registry_route route;

    must(h, registry_tenant_good(h->r, t.id, one, NOW));
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", NOW + 5, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_WAITING);
    assert_int_equal(t.upgrade_deadline, NOW + 5);
    assert_int_equal(t.image, two);
    assert_int_equal(t.last_good, one);
    must(h, registry_route_of(h->r, t.id, &route));
    assert_string_equal(route.image.version, "2");
    must(h, registry_tenant_upgrade_state(h->r, t.id, REGISTRY_UPGRADE_DRAINING));
    assert_int_equal(tenant(h, t.id).upgrade, REGISTRY_UPGRADE_DRAINING);

    /* The old one says that it is ready: that proves nothing of the new one. */
    must(h, registry_tenant_good(h->r, t.id, one, NOW));
    assert_int_equal(tenant(h, t.id).last_good, one);
    must(h, registry_tenant_good(h->r, t.id, two, NOW));
    t = tenant(h, t.id);
    assert_int_equal(t.last_good, two);
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    assert_string_equal(last_event(h, "acme").text, "upgraded from hello:1 to hello:2");
}

static void an_upgrade_that_fails_is_rolled_back_once(void **state)
{
    struct house *h = *state;
    uint64_t one = add_image(h, "hello", "1"), three = add_image(h, "hello", "3"), last;
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");
    bool back;

    must(h, registry_tenant_good(h->r, t.id, one, NOW));
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:3", 0, NOW, &t, &h->no));
    must(h, registry_tenant_rollback(h->r, t.id, three, "on_start failed", NOW + 9, &back));
    assert_true(back);
    t = tenant(h, t.id);
    assert_int_equal(t.image, one);
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    assert_string_equal(t.failed_ref, "hello:3");
    assert_string_equal(t.failed_why, "on_start failed");
    assert_int_equal(t.failed_at, NOW + 9);
    assert_string_equal(last_event(h, "acme").kind, "rolled back");
    assert_string_equal(last_event(h, "acme").text,
                        "rolled back from hello:3 to hello:1: on_start failed");

    must(h, registry_events_last(h->r, &last));
    must(h, registry_tenant_rollback(h->r, t.id, three, "late news", NOW, &back));
    assert_false(back);
    assert_int_equal(last_event(h, NULL).id, last);
    /* The good one comes up again: what failed stays on display. */
    must(h, registry_tenant_good(h->r, t.id, one, NOW));
    assert_string_equal(tenant(h, t.id).failed_ref, "hello:3");
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:3", 0, NOW, &t, &h->no));
    assert_string_equal(t.failed_ref, "");
}

static void the_first_image_has_nothing_to_go_back_to(void **state)
{
    struct house *h = *state;
    uint64_t three = add_image(h, "hello", "3");
    struct registry_tenant t = add_tenant(h, "acme", "hello:3", "a.localhost");
    bool back = true;

    must(h, registry_tenant_rollback(h->r, t.id, three, "on_start failed", NOW, &back));
    assert_false(back);
    t = tenant(h, t.id);
    assert_int_equal(t.image, three);
    assert_string_equal(t.failed_why, "on_start failed");
    must(h, registry_tenant_good(h->r, t.id, three, NOW));
    assert_string_equal(tenant(h, t.id).failed_why, "");
}

static void an_upgrade_back_to_the_last_good_one_is_over_at_once(void **state)
{
    struct house *h = *state;
    uint64_t one = add_image(h, "hello", "1");
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");

    add_image(h, "hello", "2");
    must(h, registry_tenant_good(h->r, t.id, one, NOW));
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:1", 0, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", 0, NOW, &t, &h->no));
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", NOW + 1, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_WAITING);
    assert_int_equal(t.upgrade_deadline, NOW + 1);
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:1", 0, NOW, &t, &h->no));
    assert_int_equal(t.upgrade, REGISTRY_UPGRADE_NONE);
    assert_int_equal(t.image, one);
    assert_int_equal(registry_tenant_upgrade(h->r, "acme", "none:9", 0, NOW, &t, &h->no),
                     RC_NOT_FOUND);
    must_say(h, "none:9");
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
        must(h, registry_event(h->r, i % 2 ? "acme" : NULL, "test", NOW, "event %u", i));
    must(h, registry_events_last(h->r, &last));
    assert_int_equal(last, REGISTRY_EVENTS_KEPT + 200);
    must(h, registry_events(h->r, NULL, 0, 10, first_only, &first));
    assert_in_range(first, 100, 201);
    must(h, registry_events(h->r, "acme", last - 2, 10, first_only, &first));
    assert_int_equal(first, last);
    assert_string_equal(last_event(h, NULL).tenant, "acme");
}

/*----- size -----*/

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
    uint64_t one = add_image(h, "hello", "1"), two = add_image(h, "hello", "2"), id;
    struct registry_tenant t = add_tenant(h, "acme", "hello:1", "a.localhost");
    struct registry_dropped dropped;
    struct registry_instance i;
    struct registry_image image;
    struct registry_route route;
    const char *host = "b.localhost";
    struct registry_certificate c = cert(host, "EC P-256", "x");
    struct registry_wish wish = {.hosts = &host, .hosts_nr = 1, .cert = &c};
    unsigned statements = 0, n = 0;
    char text[256] = "";
    bool b;

    must(h, registry_route(h->r, "a.localhost", &route));
    must(h, registry_instance_begin(h->r, t.id, one, "sandbox", NOW, &i));
    must(h, registry_instance_handle(h->r, i.id, "x"));
    must(h, registry_instance_state(h->r, i.id, REGISTRY_INSTANCE_READY, NOW));
    must(h, registry_instances_alive(h->r, count_instance, &n));
    must(h, registry_tenant_good(h->r, t.id, one, NOW));
    must(h, registry_tenant_upgrade(h->r, "acme", "hello:2", 0, NOW, &t, &h->no));
    must(h, registry_tenant_upgrade_state(h->r, t.id, REGISTRY_UPGRADE_DRAINING));
    must(h, registry_tenant_rollback(h->r, t.id, two, "x", NOW, &b));
    must(h, registry_instance_end(h->r, i.id, "x", NOW));
    must(h, registry_tenant_set(h->r, "acme", &wish, NOW, &t, &dropped, &h->no));
    must(h, registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no));
    must(h, registry_tenants(h->r, "", 5, join_tenant, text));
    must(h, registry_images(h->r, NULL, 5, join_image, text));
    must(h, registry_image_users(h->r, one, 5, join_tenant, text));
    assert_int_equal(registry_image_remove(h->r, "hello:1", NOW, &image, &h->no), RC_BUSY);
    must(h, registry_image_remove(h->r, "hello:2", NOW, &image, &h->no));
    must(h, registry_image_used(h->r, image.sha256, &b));
    must(h, registry_chain_used(h->r, c.fingerprint, &b));
    must(h, registry_key_used(h->r, c.key_id, &b));
    must(h, registry_events_last(h->r, &id));
    last_event(h, "acme");
    last_event(h, NULL);
    must(h, registry_tenant_remove(h->r, "acme", NOW, &dropped, &h->no));

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

static void counts_are_told(void **state)
{
    struct house *h = *state;
    struct registry_counts counts;
    struct registry_tenant t;

    add_image(h, "hello", "1");
    add_tenant(h, "a", "hello:1", "a.localhost");
    add_tenant(h, "b", "hello:1", "b.localhost");
    must(h, registry_tenant_suspend(h->r, "b", true, NOW, &t, &h->no));
    must(h, registry_counts(h->r, &counts));
    assert_int_equal(counts.tenants, 2);
    assert_int_equal(counts.suspended, 1);
    assert_int_equal(counts.hosts, 2);
    assert_int_equal(counts.images, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_acknowledged_is_there_after_reopening),
        TEST(nobody_else_may_read_the_database),
        TEST(a_second_roomkeyd_is_refused),
        TEST(a_lost_database_is_refused_while_keys_or_images_are_there),
        TEST(a_newer_schema_is_refused_and_left_alone),
        TEST(a_migration_that_fails_leaves_nothing_behind),
        TEST(a_file_that_is_no_database_is_refused),
        TEST(a_corrupt_database_is_refused),
        TEST(a_missing_state_folder_is_refused),
        TEST(a_locked_database_is_told_from_a_broken_one),
        TEST(the_same_image_twice_is_one_image),
        TEST(other_content_under_a_taken_version_is_refused),
        TEST(images_are_listed_in_pages),
        TEST(an_image_in_use_is_not_removed_and_its_users_are_named),
        TEST(an_image_that_a_living_instance_runs_is_not_removed),
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
        TEST(a_new_instance_is_a_new_generation),
        TEST(ended_instances_are_pruned),
        TEST(a_tenant_with_a_living_instance_is_not_removed),
        TEST(an_upgrade_that_comes_up_is_the_last_good_one),
        TEST(an_upgrade_that_fails_is_rolled_back_once),
        TEST(the_first_image_has_nothing_to_go_back_to),
        TEST(an_upgrade_back_to_the_last_good_one_is_over_at_once),
        TEST(events_are_pruned_and_followed_by_id),
        TEST(no_statement_scans_a_table),
        TEST(counts_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
