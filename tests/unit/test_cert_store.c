/* The store of what was taken: with a helper that fails, and as it is cleaned. */
#include <sys/stat.h>

#include "cert_house.h"

/*----- the helper itself fails -----*/

static void with_helper(struct house *h, const char *script)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/helper", h->scratch.dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
    cert_store_close(h->store);
    house_open(h, path);
}

static enum rc import_any(struct house *h)
{
    const char *host = "a.localhost";
    struct cert_request request = {
        .uid = geteuid(), .gid = getegid(), .hosts = &host, .hosts_nr = 1};

    return house_run(h, &request);
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FACTS(fingerprint, key_id)                                                 \
    "echo '{\"fingerprint\":\"" fingerprint "\",\"key_id\":\"" key_id              \
    "\",\"key_type\":\"EC\",\"subject\":\"\",\"names\":\"\",\"self_signed\":true," \
    "\"not_before\":1,\"not_after\":2}'"

static void a_helper_that_makes_no_sense_is_refused(void **state)
{
    static const char *const scripts[] = {
        "exit 0",
        "echo nonsense",
        "echo '{}'",
        "echo '{\"rc\":0,\"what\":\"x\"}'; exit 1",
        "echo '{\"rc\":999,\"what\":\"x\"}'; exit 1",
        "kill -9 $$",
        "head -c 100000 /dev/zero",
        /* A hash that would be another file. */
        FACTS("../../x", HASH),
        FACTS(HASH, "../../x"),
    };
    struct house *h = *state;

    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        with_helper(h, scripts[i]);
        assert_int_equal(import_any(h), RC_FAILED);
        house_must_say(h, "roomkey-keyimport");
    }
    /* … whatever it has said before. */
    with_helper(h, FACTS(HASH, HASH) "; kill -9 $$");
    assert_int_equal(import_any(h), RC_FAILED);
    house_must_say(h, "signal 9");
    with_helper(h, FACTS(HASH, HASH));
    house_must(h, import_any(h));
}

static void a_helper_that_is_not_there_is_refused(void **state)
{
    struct house *h = *state;

    cert_store_close(h->store);
    house_open(h, "/nonexistent/roomkey-keyimport");
    assert_int_equal(import_any(h), RC_FAILED);
    house_must_say(h, "/nonexistent/roomkey-keyimport");
}

static void cancel(uv_prepare_t *prepare)
{
    struct house *h = prepare->data;

    uv_close((uv_handle_t *)prepare, NULL);
    cert_store_cancel(h->store);
}

static void a_helper_that_hangs_is_ended_by_cancel(void **state)
{
    struct house *h = *state;
    uv_prepare_t prepare = {.data = h};

    with_helper(h, "exec sleep 1000");
    assert_int_equal(uv_prepare_init(&h->loop, &prepare), 0);
    assert_int_equal(uv_prepare_start(&prepare, cancel), 0);
    assert_int_equal(import_any(h), RC_CANCELED);
    house_must_say(h, "stopping");
}

/*----- what is there -----*/

static bool used_is(void *arg, const char *hash)
{
    (void)hash;
    return *(bool *)arg;
}

/* The last key that went, and how many have. */
struct gone {
    char key_id[REGISTRY_HASH_SIZE];
    unsigned nr;
};

static void note_gone(void *arg, const char *key_id)
{
    struct gone *g = arg;

    snprintf(g->key_id, sizeof g->key_id, "%s", key_id);
    g->nr++;
}

static void what_nobody_needs_is_dropped_or_swept(void **state)
{
    struct house *h = *state;
    bool used = true;
    struct cert_store_users users = {.chain = used_is, .key = used_is, .arg = &used};
    struct gone gone = {.nr = 0};
    int fd;

    cert_store_watch_keys(h->store, note_gone, &gone);
    house_must(h, import_any(h));
    cert_store_drop(h->store, h->facts.fingerprint, h->facts.key_id, &users);
    assert_int_equal(gone.nr, 0);
    assert_int_equal(cert_store_sweep(h->store, &users), RC_OK);
    house_must_equal(h, "2", "ls -A keys certs | grep -c .pem");
    used = false;
    cert_store_drop(h->store, h->facts.fingerprint, h->facts.key_id, &users);
    house_must_equal(h, "0", "ls -A keys certs | grep -c .pem || true");
    assert_int_equal(gone.nr, 1);
    assert_string_equal(gone.key_id, h->facts.key_id);
    assert_int_equal(cert_store_chain(h->store, h->facts.fingerprint, &fd), RC_NOT_FOUND);
    assert_int_equal(cert_store_key(h->store, h->facts.key_id, &fd), RC_NOT_FOUND);
    house_must(h, import_any(h));
    assert_int_equal(cert_store_sweep(h->store, &users), RC_OK);
    house_must_equal(h, "0", "ls -A keys certs | grep -c .pem || true");
    assert_int_equal(cert_store_chain(h->store, "../x", &fd), RC_INVAL);
    assert_int_equal(cert_store_key(h->store, "../y", &fd), RC_INVAL);
}

static void what_a_crash_left_is_removed_at_the_next_start(void **state)
{
    struct house *h = *state;

    house_sh(h, "echo half >keys/.import-3; echo half >certs/.import-3");
    cert_store_close(h->store);
    house_open(h, KEYIMPORT);
    house_must_equal(h, "0", "ls -A keys certs | grep -c import || true");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_helper_that_makes_no_sense_is_refused),
        TEST(a_helper_that_is_not_there_is_refused),
        TEST(a_helper_that_hangs_is_ended_by_cancel),
        TEST(what_nobody_needs_is_dropped_or_swept),
        TEST(what_a_crash_left_is_removed_at_the_next_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
