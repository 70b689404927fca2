/* Host names: their one kept form, and which name of a certificate covers which. */
#include "tests/unit/unit.h"

#include <string.h>

#include "orchestrator/hostname.h"

static void must_keep(const char *typed, const char *kept)
{
    char out[HOSTNAME_SIZE];
    struct refusal no;

    assert_int_equal(hostname_normalize(typed, out, &no), RC_OK);
    assert_string_equal(out, kept);
}

static void must_refuse(const char *typed, const char *why)
{
    char out[HOSTNAME_SIZE];
    struct refusal no;

    assert_int_equal(hostname_normalize(typed, out, &no), RC_INVAL);
    assert_non_null(strstr(no.why, why));
    assert_true(no.todo[0]);
}

static void a_name_is_kept_in_one_form(void **state)
{
    (void)state;
    must_keep("Acme.EXAMPLE.", "acme.example");
    must_keep("*.Acme.example", "*.acme.example");
    must_keep("xn--bcher-kva.example", "xn--bcher-kva.example");
    must_keep("1.2.3.4a", "1.2.3.4a");
}

static void what_is_no_name_is_refused_with_the_reason(void **state)
{
    char label[65], name[300];

    (void)state;
    memset(label, 'a', 64);
    label[64] = '\0';
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    must_refuse("", "empty");
    must_refuse(".", "label is empty");
    must_refuse("a..b", "label is empty");
    must_refuse(label, "63");
    must_refuse(name, "253");
    must_refuse("-a.example", "hyphen");
    must_refuse("a-.example", "hyphen");
    must_refuse("a_b.example", "letters");
    must_refuse("a.*.example", "letters");
    must_refuse("b\xc3\xbc.example", "ASCII");
    must_refuse("127.0.0.1", "IP address");
}

static void a_wildcard_stands_for_one_label(void **state)
{
    char out[HOSTNAME_SIZE];

    (void)state;
    assert_true(hostname_wildcard("www.acme.example", out));
    assert_string_equal(out, "*.acme.example");
    assert_false(hostname_wildcard("localhost", out));
    assert_false(hostname_wildcard("*.acme.example", out));
}

static void one_of_the_names_must_cover_a_host(void **state)
{
    (void)state;
    assert_true(hostname_covered("acme.example", "acme.example"));
    assert_true(hostname_covered("other.example,ACME.example", "acme.example"));
    assert_true(hostname_covered("other.example,*.acme.example", "www.acme.example"));
    assert_true(hostname_covered("*.acme.example", "*.acme.example"));
    assert_false(hostname_covered("", "acme.example"));
    assert_false(hostname_covered("*.acme.example", "acme.example"));
    assert_false(hostname_covered("*.acme.example", "a.b.acme.example"));
    assert_false(hostname_covered("acme.example.org,me.example", "acme.example"));
    assert_false(hostname_covered("www.acme.example", "*.acme.example"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_kept_in_one_form),
        cmocka_unit_test(what_is_no_name_is_refused_with_the_reason),
        cmocka_unit_test(a_wildcard_stands_for_one_label),
        cmocka_unit_test(one_of_the_names_must_cover_a_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
