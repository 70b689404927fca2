/* Durations, sizes and times as people write and read them. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

static void durations_are_a_number_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"500ms", 500},
                {"60s", 60000},
                {"10m", 600000},
                {"2h", 7200000},
                {"1d", 86400000},
                {"0s", 0},
                {"3650d", INT64_C(315360000000)}};
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(text_parse_duration(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
}

static void what_is_no_duration_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "60",
                                      "s",
                                      "-1s",
                                      "+1s",
                                      " 1s",
                                      "1s ",
                                      "1.5s",
                                      "1 s",
                                      "0x1s",
                                      "1sec",
                                      "1m30s",
                                      "4000d",
                                      "99999999999999999999s",
                                      "9223372036854775807ms"};
    int64_t ms = 42;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_parse_duration(bad[i], &ms));
    assert_int_equal(ms, 42);
}

static void sizes_count_in_1024(void **state)
{
    static const char *const bad[] = {
        "", "16", "M", "16MB", "16m", "-1M", "1.5M", "16 M", "99999999999999999999G"};
    int64_t n;

    (void)state;
    assert_true(text_parse_size("512K", &n));
    assert_int_equal(n, 512 << 10);
    assert_true(text_parse_size("16M", &n));
    assert_int_equal(n, 16 << 20);
    assert_true(text_parse_size("2G", &n));
    assert_int_equal(n, INT64_C(2) << 30);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_parse_size(bad[i], &n));
}

static void counts_are_digits_and_nothing_else(void **state)
{
    static const char *const bad[] = {"", "-1", "1x", "0x10", " 1", "2147483648"};
    int64_t n;

    (void)state;
    assert_true(text_parse_count("0", &n));
    assert_int_equal(n, 0);
    assert_true(text_parse_count("2147483647", &n));
    assert_int_equal(n, 2147483647);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_parse_count(bad[i], &n));
}

static void values_are_shown_short(void **state)
{
    char t[TEXT_SIZE];

    (void)state;
    assert_string_equal(text_duration(0, t), "0ms");
    assert_string_equal(text_duration(1500, t), "1s");
    assert_string_equal(text_duration(60000, t), "1m");
    assert_string_equal(text_duration(90000, t), "1m30s");
    assert_string_equal(text_duration(90061000, t), "1d1h");
    assert_string_equal(text_size(512, t), "512B");
    assert_string_equal(text_size(16 << 20, t), "16M");
    assert_string_equal(text_size(36045, t), "35.2K");
    assert_string_equal(text_time(INT64_C(1795458561955), t), "2026-11-23T18:29:21Z");
}

static void times_are_told_relative_to_now(void **state)
{
    const int64_t now = INT64_C(1795458561955);
    char t[TEXT_SIZE];

    (void)state;
    assert_string_equal(text_relative(now, now, t), "now");
    assert_string_equal(text_relative(now - 65000, now, t), "65s ago");
    assert_string_equal(text_relative(now - 180000, now, t), "3m ago");
    assert_string_equal(text_relative(now + INT64_C(5) * 86400000, now, t), "in 5d");
}

static void a_terminal_obeys_nothing_that_is_printed(void **state)
{
    const char *evil = "a\x1b[31m\r\n\x7f\xc2\x9b\tü";
    char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);

    (void)state;
    assert_non_null(f);
    text_print(f, evil);
    fclose(f);
    assert_string_equal(out, "a\\x1b[31m\\x0d\\x0a\\x7f\\x9b\tü");
    assert_int_equal(text_width("aü"), 2);
    assert_int_equal(text_width("\x1b"), 4);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_a_number_and_a_unit),
        cmocka_unit_test(what_is_no_duration_is_refused),
        cmocka_unit_test(sizes_count_in_1024),
        cmocka_unit_test(counts_are_digits_and_nothing_else),
        cmocka_unit_test(values_are_shown_short),
        cmocka_unit_test(times_are_told_relative_to_now),
        cmocka_unit_test(a_terminal_obeys_nothing_that_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
