#include <stdio.h>

#include "common/host/units.h"
#include "orchestrator/config.h"
#include "scratch.h"

static enum rc parse(struct config *c, const char *text, struct refusal *no)
{
    char copy[4096];

    config_init(c);
    snprintf(copy, sizeof copy, "%s", text);
    return config_parse(c, copy, no);
}

static void an_empty_file_leaves_every_default(void **state)
{
    struct config c, standard;
    struct refusal no;

    (void)state;
    config_init(&standard);
    assert_int_equal(parse(&c, "", &no), RC_OK);
    assert_memory_equal(&c, &standard, sizeof c);
}

static void each_kind_of_setting_is_taken(void **state)
{
    struct config c;
    struct refusal no;

    (void)state;
    assert_int_equal(parse(&c,
                           "[daemon]\nstate = '/s'\nrun = '/r'\nground = 'sandbox'\n"
                           "leave_instances = true\nlog_level = 'debug'\n"
                           "[limits]\nmax_running = 7\n[deadlines]\nstart = '90s'\nidle = '1s'\n",
                           &no),
                     RC_INVAL); /* there is no deadline "idle" */
    assert_int_equal(parse(&c,
                           "[daemon]\nstate = '/s'\nrun = '/r'\nground = 'sandbox'\n"
                           "leave_instances = true\nlog_level = 'debug'\n"
                           "[limits]\nmax_running = 7\n[deadlines]\nstart = '90s'\n"
                           "[xen]\nhelpers = 5\npool_idle = '2m'\n",
                           &no),
                     RC_OK);
    assert_string_equal(c.state, "/s");
    assert_string_equal(c.run, "/r");
    assert_string_equal(c.ground, "sandbox");
    assert_true(c.leave_instances);
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_int_equal(c.limits.max_running, 7);
    assert_int_equal(c.limits.start_ms, 90000);
    assert_int_equal(c.xen.helpers, 5);
    assert_int_equal(c.xen.pool_idle_ms, 120000);
}

static void what_is_wrong_is_named_and_nothing_is_taken(void **state)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"[limits\n", "TOML"},
        {"x = 1\n", "x"},
        {"[nowhere]\n", "nowhere"},
        {"[limits]\nmax_runing = 1\n", "max_runing"},
        {"[limits]\nmax_running = 0\n", "from 1 to 1000000"},
        {"[limits]\nlog_lines = 8193\n", "from 1 to 8192"},
        {"[limits]\nmax_running = '7'\n", "max_running"},
        {"[limits]\nchannels = 65\n", "channels"},
        {"[limits]\nmax_running = 9223372036854775807\n", "max_running"},
        {"[xen]\nhelpers = 0\n", "from 1 to 16"},
        {"[xen]\npool = 65\n", "from 0 to 64"},
        {"[xen]\njob = 5\n", "a duration"},
        {"[xen]\nhelper = 1\n", "helper"},
        {"[deadlines]\nstart = 10\n", "a duration"},
        {"[deadlines]\nstart = '10'\n", "a duration"},
        {"[deadlines]\nstart = '1 s'\n", "a duration"},
        {"[deadlines]\nstart = '-1s'\n", "a duration"},
        {"[deadlines]\nstart = '99999999999999d'\n", "a duration"},
        {"[deadlines]\nretire = '9180671240388d'\n", "a duration"}, /* 2^64 ms wrap to hours */
        {"[deadlines]\npause = '2m'\n", "pause"},
        {"[deadlines]\npause = '1m'\npause_max = '1s'\n", "at least as long"},
        {"[daemon]\nground = 'moon'\n", "ground"},
        {"[daemon]\nlog_level = 'loud'\n", "log_level"},
        {"[daemon]\nleave_instances = 1\n", "true or false"},
        {"[daemon]\nstate = ''\n", "state"},
    };
    struct config c, standard;
    struct refusal no;
    char line[2048];

    (void)state;
    config_init(&standard);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        assert_int_equal(parse(&c, bad[n].text, &no), RC_INVAL);
        if (!strstr(refusal_line(&no, line, sizeof line), bad[n].word))
            fail_msg("\"%s\" is not in: %s", bad[n].word, line);
        assert_memory_equal(&c, &standard, sizeof c);
    }
}

static void a_file_is_read_and_a_missing_one_is_named(void **state)
{
    struct scratch s;
    struct config c;
    struct refusal no;
    char path[128], line[2048];

    (void)state;
    scratch_make(&s);
    config_init(&c);
    snprintf(path, sizeof path, "%s/roomkey.toml", s.dir);
    assert_int_equal(config_load(&c, path, &no), RC_INVAL);
    assert_non_null(strstr(refusal_line(&no, line, sizeof line), path));
    assert_int_equal(scratch_sh(&s, "printf '[limits]\\nmax_running = 9\\n' > roomkey.toml"), 0);
    assert_int_equal(config_load(&c, path, &no), RC_OK);
    assert_int_equal(c.limits.max_running, 9);
    assert_int_equal(scratch_sh(&s, "head -c 70000 /dev/zero | tr '\\0' '#' > roomkey.toml"), 0);
    assert_int_equal(config_load(&c, path, &no), RC_INVAL);
    scratch_remove(&s);
}

/* docs/CONFIG.md names every setting with its default. */
static void the_manual_is_true(void **state)
{
    static const struct {
        const char *name;
        int64_t value;
        bool duration;
    } all[] = {
#define X(name, standard, least, most) {#name, standard, false},
        FLEET_BOUNDS(X) XEN_BOUNDS(X)
#undef X
#define X(name, standard, least, most) {#name, standard, true},
            FLEET_DEADLINES(X) XEN_DEADLINES(X)
#undef X
    };
    char manual[16384], *line, *rest = manual;
    size_t found = 0;
    FILE *f = fopen(ROOMKEY_SOURCE "/docs/CONFIG.md", "re");

    (void)state;
    assert_non_null(f);
    manual[fread(manual, 1, sizeof manual - 1, f)] = '\0';
    fclose(f);
    while ((line = strtok_r(rest, "\n", &rest))) {
        char name[64], value[64];
        int64_t ms;

        if (sscanf(line, "| `%63[a-z_]` | %63[^ ] |", name, value) != 2)
            continue;
        for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
            if (strcmp(all[n].name, name) != 0)
                continue;
            found++;
            if (all[n].duration)
                assert_true(units_parse(value, units_duration, UINT32_MAX, &ms));
            else
                ms = strtoll(value, NULL, 10);
            if (ms != all[n].value)
                fail_msg("docs/CONFIG.md: %s is not %s", name, value);
        }
    }
    assert_int_equal(found, sizeof all / sizeof *all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_leaves_every_default),
        cmocka_unit_test(each_kind_of_setting_is_taken),
        cmocka_unit_test(what_is_wrong_is_named_and_nothing_is_taken),
        cmocka_unit_test(a_file_is_read_and_a_missing_one_is_named),
        cmocka_unit_test(the_manual_is_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
