/* Bodies of requests: what is taken, what is refused and in which words. */
#include "tests/unit/unit.h"

#include <string.h>

#include "orchestrator/admin/body.h"

#define ALL ((1u << ADMIN_MEMBER_NR) - 1)

static enum rc parse(const char *text, uint32_t takes, uint32_t needs, struct admin_body *out,
                     struct refusal *no)
{
    return admin_body_parse(text, strlen(text), takes, needs, out, no);
}

static void a_whole_body_is_taken(void **state)
{
    struct admin_body b;
    struct refusal no;

    (void)state;
    assert_int_equal(parse("{\"name\":\"acme\",\"image\":\"a:1\",\"hosts\":[\"a.b\",\"c.d\"],"
                           "\"cert_file\":\"/c\",\"self_signed\":false,\"memory\":16777216,"
                           "\"wait\":true}",
                           ALL, ADMIN_BIT(NAME), &b, &no),
                     RC_OK);
    assert_string_equal(b.text[ADMIN_MEMBER_NAME], "acme");
    assert_int_equal(b.hosts_nr, 2);
    assert_string_equal(b.hosts[1], "c.d");
    assert_int_equal(b.number[ADMIN_MEMBER_MEMORY], 16777216);
    assert_int_equal(b.number[ADMIN_MEMBER_SELF_SIGNED], 0);
    assert_int_equal(b.number[ADMIN_MEMBER_WAIT], 1);
    assert_true(b.given & ADMIN_BIT(SELF_SIGNED));
    assert_false(b.given & ADMIN_BIT(IDLE_MS));
    admin_body_dispose(&b);
}

static void no_body_is_an_empty_one(void **state)
{
    struct admin_body b;
    struct refusal no;

    (void)state;
    assert_int_equal(parse("", 0, 0, &b, &no), RC_OK);
    assert_int_equal(b.given, 0);
    admin_body_dispose(&b);
}

/* The refusal must name the member, so that a typing error is found. */
static void a_member_that_the_call_does_not_take_is_refused_by_name(void **state)
{
    char line[3 * REFUSAL_TEXT_MAX];
    struct admin_body b;
    struct refusal no;

    (void)state;
    assert_int_equal(parse("{\"idle\":1}", ADMIN_BIT(IDLE_MS), 0, &b, &no), RC_INVAL);
    refusal_line(&no, line, sizeof line);
    assert_non_null(strstr(line, "member idle "));
    assert_non_null(strstr(line, "idle_ms"));
    assert_int_equal(parse("{\"wait\":true}", ADMIN_BIT(IDLE_MS), 0, &b, &no), RC_INVAL);
}

static void what_is_missing_is_named(void **state)
{
    char line[3 * REFUSAL_TEXT_MAX];
    struct admin_body b;
    struct refusal no;

    (void)state;
    assert_int_equal(parse("{\"name\":\"x\"}", ALL, ADMIN_BIT(NAME) | ADMIN_BIT(IMAGE), &b, &no),
                     RC_INVAL);
    assert_non_null(strstr(refusal_line(&no, line, sizeof line), "image"));
}

static void what_is_of_another_type_or_out_of_range_is_refused(void **state)
{
    static const char *const bad[] = {
        "[]",
        "null",
        "1",
        "\"x\"",
        "{",
        "{}x",
        "{} {}",
        "{\"name\":\"a\",\"name\":\"b\"}",
        "{\"name\":1}",
        "{\"name\":\"\"}",
        "{\"name\":\"a\\u0000b\"}",
        "{\"hosts\":\"a\"}",
        "{\"hosts\":[]}",
        "{\"hosts\":[1]}",
        "{\"cert_file\":\"relative\"}",
        "{\"memory\":-1}",
        "{\"memory\":1.5}",
        "{\"memory\":\"16M\"}",
        "{\"memory\":9223372036854775807}",
        "{\"memory\":99999999999999999999}",
        "{\"idle_ms\":4294967296}",
        "{\"wait\":1}",
        "{\"wait\":null}",
    };
    struct admin_body b;
    struct refusal no;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i], ALL, 0, &b, &no) == RC_OK)
            fail_msg("taken: %s", bad[i]);
}

static void more_hosts_than_a_tenant_may_have_are_refused(void **state)
{
    char text[1024] = "{\"hosts\":[\"h\"";
    struct admin_body b;
    struct refusal no;

    (void)state;
    for (int i = 1; i < REGISTRY_HOSTS_MAX; i++)
        strcat(text, ",\"h\"");
    strcat(text, "]}");
    assert_int_equal(parse(text, ALL, 0, &b, &no), RC_OK);
    admin_body_dispose(&b);
    strcpy(strrchr(text, ']'), ",\"h\"]}");
    assert_int_equal(parse(text, ALL, 0, &b, &no), RC_INVAL);
}

static void a_body_beyond_the_bound_is_refused_unread(void **state)
{
    static char big[ADMIN_BODY_MAX + 1];
    struct admin_body b;
    struct refusal no;

    (void)state;
    memset(big, ' ', sizeof big);
    assert_int_equal(admin_body_parse(big, sizeof big, ALL, 0, &b, &no), RC_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_body_is_taken),
        cmocka_unit_test(no_body_is_an_empty_one),
        cmocka_unit_test(a_member_that_the_call_does_not_take_is_refused_by_name),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(what_is_of_another_type_or_out_of_range_is_refused),
        cmocka_unit_test(more_hosts_than_a_tenant_may_have_are_refused),
        cmocka_unit_test(a_body_beyond_the_bound_is_refused_unread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
