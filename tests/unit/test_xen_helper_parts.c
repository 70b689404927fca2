/* The parts of roomkey-xen that need no Xen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "orchestrator/backend/xen/helper/node_text.h"
#include "orchestrator/backend/xen/helper/watch_list.h"

static bool number(const char *text, uint32_t max, uint32_t *out)
{
    return node_text_number(text, strlen(text), max, out);
}

static void a_number_is_decimal_and_nothing_else(void **state)
{
    static const char *const bad[] = {"",   "-1", "+1", " 1",         "1 ",          "1\n",
                                      "01", "1x", "x",  "4294967296", "99999999999", "1.0"};
    uint32_t n = 7;

    (void)state;
    assert_true(number("0", UINT32_MAX, &n) && n == 0);
    assert_true(number("4294967295", UINT32_MAX, &n) && n == UINT32_MAX);
    assert_true(number("255", 255, &n) && n == 255);
    assert_false(number("256", 255, &n));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(number(bad[i], UINT32_MAX, &n));
    assert_int_equal(n, 255); /* a refused one is not stored */
    assert_false(node_text_number("1\0002", 3, UINT32_MAX, &n));
    assert_true(node_text_number("12", 1, UINT32_MAX, &n) && n == 1); /* no terminator is needed */
}

static void only_a_terminal_is_a_terminal(void **state)
{
    static const char *const bad[] = {
        "",          "/dev/pts/",    "/dev/pts/x", "/dev/pts/1/", "/dev/pts/../mem",
        "/dev/tty1", "/dev/pts/1\n",
    };

    (void)state;
    assert_true(node_text_is_pts("/dev/pts/0", 10));
    assert_true(node_text_is_pts("/dev/pts/1234", 13));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(node_text_is_pts(bad[i], strlen(bad[i])));
}

static void names_are_fit_for_a_file(void **state)
{
    char full[8];

    (void)state;
    assert_true(node_text_is_name("rk-0123abcd-shop.example_1-7", 64));
    assert_false(node_text_is_name("", 1));
    assert_false(node_text_is_name("..", 3));
    assert_false(node_text_is_name("a/b", 4));
    assert_false(node_text_is_name("a b", 4));
    assert_false(node_text_is_name("a\xc3\xa4", 4));
    memset(full, 'a', sizeof full);
    assert_false(node_text_is_name(full, sizeof full)); /* no end */
}

static void words_are_printable(void **state)
{
    char full[8];

    (void)state;
    assert_true(node_text_is_words("roomkey.tenant=a roomkey.seed=00", 64));
    assert_false(node_text_is_words("", 1));
    assert_false(node_text_is_words("a\nb", 4));
    assert_false(node_text_is_words("a\x7f", 3));
    memset(full, 'a', sizeof full);
    assert_false(node_text_is_words(full, sizeof full));
}

static void watched_domains_are_found_in_any_order(void **state)
{
    static const uint32_t domids[] = {7, 3, 9, 1, 8, 2, 6, 4, 5};
    struct watch_list l = {0};

    (void)state;
    assert_null(watch_list_find(&l, 1));
    for (int round = 0; round < 10; round++)
        for (size_t i = 0; i < 9; i++) {
            struct watched *w = watch_list_add(&l, 100 * (uint32_t)round + domids[i]);

            assert_non_null(w);
            w->token = w->domid;
        }
    assert_int_equal(l.nr, 90);
    for (size_t i = 1; i < l.nr; i++)
        assert_true(l.at[i - 1].domid < l.at[i].domid);
    for (size_t i = 0; i < l.nr; i++)
        assert_int_equal(l.at[i].token, l.at[i].domid);
    assert_ptr_equal(watch_list_find(&l, 209), &l.at[26]);
    assert_null(watch_list_find(&l, 210));
    assert_int_equal(watch_list_from(&l, 210), 27);
    assert_int_equal(watch_list_from(&l, 5000), 90);
    watch_list_dispose(&l);
}

static void a_watched_domain_is_there_once_and_then_gone(void **state)
{
    struct watch_list l = {0};

    (void)state;
    assert_non_null(watch_list_add(&l, 5));
    watch_list_add(&l, 5)->token = 1;
    assert_int_equal(l.nr, 1);
    assert_int_equal(watch_list_add(&l, 5)->token, 1);
    assert_non_null(watch_list_add(&l, 4));
    assert_non_null(watch_list_add(&l, 6));
    watch_list_remove(&l, watch_list_find(&l, 5));
    assert_null(watch_list_find(&l, 5));
    assert_int_equal(l.nr, 2);
    assert_int_equal(l.at[0].domid, 4);
    assert_int_equal(l.at[1].domid, 6);
    watch_list_dispose(&l);
    assert_int_equal(l.nr, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_decimal_and_nothing_else),
        cmocka_unit_test(only_a_terminal_is_a_terminal),
        cmocka_unit_test(names_are_fit_for_a_file),
        cmocka_unit_test(words_are_printable),
        cmocka_unit_test(watched_domains_are_found_in_any_order),
        cmocka_unit_test(a_watched_domain_is_there_once_and_then_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
