/* The registry's file: opened, refused, or found as it was left. */
#include <errno.h>
#include <sqlite3.h>
#include <sys/syscall.h>

#include "registry_house.h"

/* SQLite's: a disk that fails says so of what is on its way to it, and then of all that comes. */
static bool disk_fails, sync_failed;

int fdatasync(int fd)
{
    if (!disk_fails)
        return (int)syscall(SYS_fdatasync, fd);
    sync_failed = true;
    errno = EIO;
    return -1;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t at)
{
    if (!disk_fails || !sync_failed)
        return syscall(SYS_pwrite64, fd, buf, len, at);
    errno = EIO;
    return -1;
}

static void what_was_acknowledged_is_there_after_reopening(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;
    struct registry_route route;

    house_add_image(h, "hello", "1");
    t = house_add_tenant(h, "acme", "hello:1", "acme.localhost");
    house_reopen(h);
    house_must(h, registry_route(h->r, "acme.localhost", &route));
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
    house_must_say(h, "another roomkeyd");
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
            house_must_say(h, "from a backup");
        }
        assert_int_equal(scratch_sh(&h->scratch, "rm '%s/of-a-tenant'", folders[i]), 0);
        house_must(h, registry_open(h->scratch.dir, &h->r, &h->no));
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
    house_must_say(h, "version 99");
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
    house_must_say(h, "not a database");
    house_must_say(h, "backup");
}

static void a_corrupt_database_is_refused(void **state)
{
    struct house *h = *state;

    for (int i = 0; i < 20; i++) {
        char version[16];
        snprintf(version, sizeof version, "%d", i);
        house_add_image(h, "hello", version);
    }
    registry_close(h->r);
    h->r = NULL;
    /* Past the first page, which holds the schema. */
    assert_int_equal(scratch_sh(&h->scratch, "yes X | dd of=roomkey.db bs=4096 seek=1 count=4 "
                                             "conv=notrunc iflag=fullblock"),
                     0);
    assert_int_equal(registry_open(h->scratch.dir, &h->r, &h->no), RC_DB);
    house_must_say(h, "malformed");
}

static void a_missing_state_folder_is_refused(void **state)
{
    struct house *h = *state;
    struct registry *r = NULL;

    assert_int_equal(registry_open("/nonexistent-folder", &r, &h->no), RC_NOT_FOUND);
    house_must_say(h, "/nonexistent-folder");
}

static void a_locked_database_is_told_from_a_broken_one(void **state)
{
    struct house *h = *state;
    char path[128];
    sqlite3 *other;
    struct registry_tenant t;

    house_add_image(h, "hello", "1");
    snprintf(path, sizeof path, "%s/roomkey.db", h->scratch.dir);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(house_try_tenant(h, "acme", "hello:1", "acme.localhost", &t), RC_BUSY);
    house_must_say(h, "another program");
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    house_add_tenant(h, "acme", "hello:1", "acme.localhost");
}

/* What the next roomkeyd would find if this one died now. */
static bool suspended_after_a_death(struct house *h)
{
    struct registry_tenant t;
    struct registry *next;
    char dir[128];

    assert_int_equal(scratch_sh(&h->scratch, "rm -rf next && mkdir next && cp roomkey.db* next"),
                     0);
    snprintf(dir, sizeof dir, "%s/next", h->scratch.dir);
    house_must(h, registry_open(dir, &next, &h->no));
    house_must(h, registry_tenant_by_name(next, "acme", &t, &h->no));
    registry_close(next);
    return t.suspended;
}

/* Not by a commit that wrote nothing, which takes no other's place.  Seen to fail with a doubt that
 * ends with any commit that went well. */
static void a_commit_that_failed_at_its_last_step_is_buried_by_the_next_one(void **state)
{
    struct house *h = *state;
    struct registry_tenant t;
    bool used, back;

    house_add_image(h, "hello", "1");
    t = house_add_tenant(h, "acme", "hello:1", "acme.localhost");
    disk_fails = true;
    assert_int_equal(registry_tenant_suspend(h->r, "acme", true, NOW, &t, &h->no), RC_IO);
    disk_fails = false;
    assert_true(suspended_after_a_death(h));
    assert_int_equal(registry_key_used(h->r, "x", &used), RC_DB);

    house_must(h, registry_tenant_rollback(h->r, t.id, 99, "not its image", NOW, &back));
    assert_false(back);
    assert_false(suspended_after_a_death(h));
    house_must(h, registry_key_used(h->r, "x", &used));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

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
        TEST(a_commit_that_failed_at_its_last_step_is_buried_by_the_next_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
