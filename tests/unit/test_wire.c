/* The cursor that every decoder stands on: bounds, stickiness, byte order. */
#include <string.h>

#include "common/core/wire.h"
#include "tests/unit/unit.h"

static void numbers_are_little_endian(void **state)
{
    const uint8_t want[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8};
    uint8_t buf[sizeof want];
    struct wire_out out = wire_out(buf, sizeof buf);
    size_t len;

    (void)state;
    wire_put_u8(&out, 1);
    wire_put_u16(&out, 0x0203);
    wire_put_u32(&out, 0x04050607);
    wire_put_u64(&out, 0x08090a0b0c0d0e0f);
    assert_int_equal(wire_done(&out, &len), RC_OK);
    assert_int_equal(len, sizeof want);
    assert_memory_equal(buf, want, sizeof want);

    struct wire_in in = wire_in(buf, len);
    assert_int_equal(wire_u8(&in), 1);
    assert_int_equal(wire_u16(&in), 0x0203);
    assert_int_equal(wire_u32(&in), 0x04050607);
    assert_true(wire_u64(&in) == 0x08090a0b0c0d0e0f);
    assert_int_equal(wire_end(&in), RC_OK);
}

static void a_read_past_the_end_sticks(void **state)
{
    const uint8_t buf[] = {1, 2, 3};
    struct wire_in in = wire_in(buf, sizeof buf);

    (void)state;
    assert_int_equal(wire_u32(&in), 0);
    assert_true(in.bad);
    assert_int_equal(wire_u8(&in), 0); /* though there are three */
    assert_null(wire_bytes(&in, 1));
    assert_int_equal(wire_end(&in), RC_MALFORMED);
}

static void a_length_that_would_overflow_is_refused(void **state)
{
    const uint8_t buf[] = {1, 2, 3};
    struct wire_in in = wire_in(buf, sizeof buf);

    (void)state;
    assert_null(wire_bytes(&in, SIZE_MAX));
    assert_int_equal(wire_end(&in), RC_MALFORMED);
}

static void bytes_that_trail_are_refused(void **state)
{
    const uint8_t buf[] = {1, 2, 3};
    struct wire_in in = wire_in(buf, sizeof buf);

    (void)state;
    assert_int_equal(wire_u16(&in), 0x0201);
    assert_int_equal(wire_end(&in), RC_MALFORMED);
    assert_int_equal(wire_u8(&in), 3);
    assert_int_equal(wire_end(&in), RC_OK);
}

static void what_cannot_be_copied_is_zeroed(void **state)
{
    const uint8_t buf[] = {1, 2, 3};
    uint8_t to[4] = {9, 9, 9, 9};
    struct wire_in in = wire_in(buf, sizeof buf);

    (void)state;
    wire_copy(&in, to, sizeof to);
    assert_memory_equal(to, "\0\0\0\0", 4);
    assert_int_equal(wire_end(&in), RC_MALFORMED);
}

static void a_string_is_bounded_and_has_no_nul(void **state)
{
    const struct {
        const char *bytes;
        size_t len;
        bool good;
    } cases[] = {
        {"\0\0", 2, true},    {"\3\0abc", 5, true},   {"\4\0abcd", 6, false},
        {"\3\0ab", 4, false}, {"\3\0a\0c", 5, false}, {"\377\377", 2, false},
        {"\3", 1, false},     {"", 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[4] = "old";
        struct wire_in in = wire_in(cases[i].bytes, cases[i].len);

        wire_str(&in, text, sizeof text);
        assert_int_equal(wire_end(&in) == RC_OK, cases[i].good);
        assert_string_equal(text, cases[i].good ? cases[i].bytes + 2 : "");
    }
}

static void a_write_that_does_not_fit_sticks(void **state)
{
    static char long_text[UINT16_MAX + 2];
    uint8_t buf[3] = {9, 9, 9};
    struct wire_out out = wire_out(buf, sizeof buf);
    size_t len = 77;

    (void)state;
    wire_put_u16(&out, 1);
    wire_put_u16(&out, 2);
    wire_put_u8(&out, 3); /* would fit */
    assert_int_equal(wire_done(&out, &len), RC_TOO_LARGE);
    assert_int_equal(len, 77);
    assert_int_equal(buf[2], 9);

    memset(long_text, 'x', sizeof long_text - 1);
    out = wire_out(buf, sizeof buf);
    wire_put_str(&out, long_text);
    assert_int_equal(wire_done(&out, &len), RC_TOO_LARGE);
}

static void strings_come_back(void **state)
{
    uint8_t buf[64];
    struct wire_out out = wire_out(buf, sizeof buf);
    char text[16];
    size_t len;

    (void)state;
    wire_put_str(&out, "");
    wire_put_str(&out, "acme.example");
    wire_put_bytes(&out, NULL, 0);
    assert_int_equal(wire_done(&out, &len), RC_OK);

    struct wire_in in = wire_in(buf, len);
    wire_str(&in, text, sizeof text);
    assert_string_equal(text, "");
    wire_str(&in, text, sizeof text);
    assert_string_equal(text, "acme.example");
    assert_int_equal(wire_end(&in), RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_little_endian),
        cmocka_unit_test(a_read_past_the_end_sticks),
        cmocka_unit_test(a_length_that_would_overflow_is_refused),
        cmocka_unit_test(bytes_that_trail_are_refused),
        cmocka_unit_test(what_cannot_be_copied_is_zeroed),
        cmocka_unit_test(a_string_is_bounded_and_has_no_nul),
        cmocka_unit_test(a_write_that_does_not_fit_sticks),
        cmocka_unit_test(strings_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
