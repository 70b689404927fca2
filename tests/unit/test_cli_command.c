/* Command lines against the tables: what is parsed, what is refused, what body
 * comes of it. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/json.h"

#define WORDS_MAX 24

/* Splits at single spaces; the words live until the next call. */
static int parse(const char *line, struct call *out)
{
    static char copy[512];
    char *argv[WORDS_MAX] = {"roomkey"};
    int argc = 1;

    assert_true(strlen(line) < sizeof copy);
    strcpy(copy, line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return command_parse(argc, argv, out);
}

static void a_whole_line_becomes_a_call_and_a_body(void **state)
{
    struct call c;

    (void)state;
    assert_int_equal(parse("tenant add acme --image hello:1.0.0 --host a.example,b.example "
                           "--cert /c.pem --key=k.pem --memory 16M --idle 60s --json",
                           &c),
                     STATUS_OK);
    assert_string_equal(c.noun->name, "tenant");
    assert_string_equal(c.command->name, "add");
    assert_string_equal(c.operands[0], "acme");
    assert_true(c.json);

    json_t *body = command_body(&c);
    assert_string_equal(json_text(body, "image"), "hello:1.0.0");
    assert_int_equal(json_array_size(json_object_get(body, "hosts")), 2);
    assert_string_equal(json_text(body, "cert_file"), "/c.pem");
    assert_int_equal(json_text(body, "key_file")[0], '/');
    assert_int_equal(json_number(body, "memory"), 16 << 20);
    assert_int_equal(json_number(body, "idle_ms"), 60000);
    assert_null(json_object_get(body, "self_signed"));
    assert_null(json_object_get(body, "max_connections"));
    json_decref(body);
}

static void global_options_may_stand_anywhere(void **state)
{
    struct call c;

    (void)state;
    assert_int_equal(parse("--run /tmp/a --json status", &c), STATUS_OK);
    assert_string_equal(c.run, "/tmp/a");
    assert_true(c.json);
    assert_int_equal(parse("status --run=/tmp/b", &c), STATUS_OK);
    assert_string_equal(c.run, "/tmp/b");
    assert_int_equal(parse("tenant --help", &c), STATUS_OK);
    assert_true(c.help);
    assert_null(c.command);
}

static void the_run_folder_comes_from_the_environment_or_is_the_default(void **state)
{
    struct call c;

    (void)state;
    setenv("ROOMKEY_RUN", "/tmp/env", 1);
    assert_int_equal(parse("status", &c), STATUS_OK);
    assert_string_equal(c.run, "/tmp/env");
    unsetenv("ROOMKEY_RUN");
    assert_int_equal(parse("status", &c), STATUS_OK);
    assert_string_equal(c.run, "/run/roomkey");
}

static void words_behind_two_dashes_are_operands(void **state)
{
    struct call c;

    (void)state;
    assert_int_equal(parse("tenant show -- --json", &c), STATUS_OK);
    assert_string_equal(c.operands[0], "--json");
    assert_false(c.json);
}

static void what_the_help_does_not_describe_is_a_usage_error(void **state)
{
    static const char *const lines[] = {
        "",
        "nonsense",
        "tenant",
        "tenant nonsense",
        "tenant add",
        "tenant add y --bogus",
        "tenant add y --image a:1",
        "tenant add y --host h",
        "tenant show",
        "tenant show a b",
        "tenant set a --idle 60",
        "tenant set a --idle",
        "tenant set a --idle 1s --idle 2s",
        "tenant set a --memory 16",
        "tenant set a --max-connections many",
        "tenant upgrade a --image a:1 --wait=yes",
        "status extra",
        "status -j",
        "status --run",
        "image add a:1",
        "rollout start a:1",
        "--idle 60s tenant set a",
    };
    struct call c;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (parse(lines[i], &c) != STATUS_USAGE)
            fail_msg("taken: roomkey %s", lines[i]);
}

/* The tables themselves: what the parser and the help rely on. */
static void every_table_is_whole(void **state)
{
    size_t count;

    (void)state;
    for (const struct noun *n = nouns; n->name; n++) {
        assert_non_null(n->help);
        for (const struct command *c = n->commands; c->name; c++) {
            const struct option *o = command_options(c, &count);

            assert_non_null(c->help);
            assert_non_null(c->run);
            assert_true(count <= OPTIONS_MAX);
            for (size_t i = 0; i < count; i++)
                assert_true((o[i].kind == OPTION_FLAG) == (o[i].value == NULL) && o[i].help);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_line_becomes_a_call_and_a_body),
        cmocka_unit_test(global_options_may_stand_anywhere),
        cmocka_unit_test(the_run_folder_comes_from_the_environment_or_is_the_default),
        cmocka_unit_test(words_behind_two_dashes_are_operands),
        cmocka_unit_test(what_the_help_does_not_describe_is_a_usage_error),
        cmocka_unit_test(every_table_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
