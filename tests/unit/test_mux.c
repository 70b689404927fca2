/* Frames on a ring, and the payloads that have a codec. */
#include <stdlib.h>
#include <string.h>

#include "common/core/mux.h"
#include "tests/unit/unit.h"

#define ORDER 16
#define SIZE  65536u

static void *memory;
static struct ring server, client;

static int setup(void **state)
{
    size_t len = ring_bytes(ORDER, ORDER);

    (void)state;
    memory = aligned_alloc(RING_PAGE_SIZE, len);
    assert_non_null(memory);
    memset(memory, 0, len);
    ring_format(memory, ORDER, ORDER);
    assert_int_equal(ring_attach(&server, memory, len, RING_SERVER), RC_OK);
    assert_int_equal(ring_attach(&client, memory, len, RING_CLIENT), RC_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

/* Bytes on the ring that no mux_put made. */
static void put_raw(const void *data, uint32_t len)
{
    struct ring_span span;
    uint32_t room;

    assert_int_equal(ring_writable(&client, &span, &room), RC_OK);
    assert_true(ring_span_fill(&span, 0, data, len));
    ring_publish(&client, len);
}

static void expect(uint8_t type, uint64_t conn, const void *data, uint32_t len)
{
    static uint8_t got[MUX_PAYLOAD_MAX];
    struct ring_span payload;
    struct mux_head head;

    assert_int_equal(mux_next(&server, &head, &payload), RC_OK);
    assert_int_equal(head.type, type);
    assert_true(head.conn == conn);
    assert_int_equal(head.len, len);
    assert_true(ring_span_copy(&payload, 0, got, len));
    assert_memory_equal(got, data, len);
    mux_consume(&server, &head);
}

static enum rc next(void)
{
    struct ring_span payload;
    struct mux_head head;

    return mux_next(&server, &head, &payload);
}

static void a_frame_is_laid_out_as_written_down(void **state)
{
    static const uint8_t wire[] = {3,    0,    0,    0,    MUX_DATA, 0,    0,   0,   0x88, 0x77,
                                   0x66, 0x55, 0x44, 0x33, 0x22,     0x11, 'a', 'b', 'c'};
    struct ring_span span;
    uint8_t got[sizeof wire];
    uint32_t n;

    (void)state;
    assert_int_equal(mux_put(&client, MUX_DATA, 0x1122334455667788, "abc", 3), RC_OK);
    assert_int_equal(ring_readable(&server, &span, &n), RC_OK);
    assert_int_equal(n, sizeof wire);
    assert_true(ring_span_copy(&span, 0, got, n));
    assert_memory_equal(got, wire, n);
}

static void frames_come_in_order_at_every_place_of_the_ring(void **state)
{
    uint8_t data[5000];

    (void)state;
    assert_int_equal(next(), RC_AGAIN);
    for (uint32_t i = 0; i < 2000; i++) {
        memset(data, (int)i, sizeof data);
        assert_int_equal(mux_put(&client, MUX_DATA, i, data, i), RC_OK);
        assert_int_equal(mux_put(&client, MUX_CLOSE, i, NULL, 0), RC_OK);
        expect(MUX_DATA, i, data, i);
        expect(MUX_CLOSE, i, NULL, 0);
    }
    assert_int_equal(next(), RC_AGAIN);
}

static void a_frame_is_put_whole_or_not_at_all(void **state)
{
    static uint8_t data[MUX_PAYLOAD_MAX];

    (void)state;
    assert_int_equal(mux_put(&client, MUX_DATA, 1, data, MUX_PAYLOAD_MAX), RC_OK);
    assert_int_equal(mux_put(&client, MUX_DATA, 1, data, MUX_PAYLOAD_MAX), RC_FULL);
    assert_int_equal(mux_put(&client, MUX_DATA, 1, data, MUX_PAYLOAD_MAX - 32), RC_OK);
    assert_int_equal(mux_put(&client, MUX_CLOSE, 1, NULL, 0), RC_FULL);
    expect(MUX_DATA, 1, data, MUX_PAYLOAD_MAX);
    assert_int_equal(mux_put(&client, MUX_CLOSE, 1, NULL, 0), RC_OK);
    expect(MUX_DATA, 1, data, MUX_PAYLOAD_MAX - 32);
    expect(MUX_CLOSE, 1, NULL, 0);
}

static void a_reserved_payload_is_sent_by_its_commit(void **state)
{
    static uint8_t data[MUX_PAYLOAD_MAX];
    struct ring_span span;

    (void)state;
    assert_int_equal(mux_reserve(&client, 100, &span), RC_OK);
    assert_int_equal(span.len[0] + span.len[1], 100);
    assert_true(ring_span_fill(&span, 0, "in place", 8));
    assert_int_equal(next(), RC_AGAIN);
    mux_commit(&client, MUX_DATA, 9, 8);
    expect(MUX_DATA, 9, "in place", 8);

    assert_int_equal(mux_reserve(&client, UINT32_MAX, &span), RC_OK);
    assert_int_equal(span.len[0] + span.len[1], MUX_PAYLOAD_MAX);
    assert_int_equal(mux_put(&client, MUX_DATA, 1, data, MUX_PAYLOAD_MAX), RC_OK);
    assert_int_equal(mux_put(&client, MUX_DATA, 1, data, MUX_PAYLOAD_MAX - 48), RC_OK);
    assert_int_equal(mux_reserve(&client, 1, &span), RC_FULL);
}

static void a_head_that_is_not_whole_is_malformed(void **state)
{
    static const uint8_t head[MUX_HEAD_SIZE] = {0, 0, 0, 0, MUX_CLOSE};

    for (uint32_t len = 1; len < MUX_HEAD_SIZE; len++) {
        put_raw(head, len);
        assert_int_equal(next(), RC_MALFORMED);
        teardown(state);
        setup(state);
    }
    put_raw(head, MUX_HEAD_SIZE);
    assert_int_equal(next(), RC_OK);
}

static void a_payload_that_is_not_there_is_malformed(void **state)
{
    static const uint8_t frame[] = {3, 0, 0, 0, MUX_DATA, 0, 0, 0,   1,
                                    0, 0, 0, 0, 0,        0, 0, 'a', 'b'};

    (void)state;
    put_raw(frame, sizeof frame);
    assert_int_equal(next(), RC_MALFORMED);
}

static void a_length_past_the_bound_and_bits_to_come_are_malformed(void **state)
{
    static const struct {
        int at;
        uint8_t value;
    } wrong[] = {{2, 1}, {3, 0x80}, {5, 1}, {6, 1}, {7, 0x80}};
    uint8_t head[MUX_HEAD_SIZE];
    static uint8_t rest[SIZE - MUX_HEAD_SIZE];

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memset(head, 0, sizeof head);
        head[4] = MUX_DATA;
        head[wrong[i].at] = wrong[i].value;
        put_raw(head, sizeof head);
        put_raw(rest, sizeof rest);
        assert_int_equal(next(), RC_MALFORMED);
        teardown(state);
        setup(state);
    }
    memset(head, 0, sizeof head);
    head[4] = MUX_DATA;
    head[0] = 1; /* 0x8001: one past MUX_PAYLOAD_MAX */
    head[1] = 0x80;
    put_raw(head, sizeof head);
    put_raw(rest, sizeof rest);
    assert_int_equal(next(), RC_MALFORMED);
}

static void a_bad_index_is_malformed_for_reader_and_writer(void **state)
{
    struct ring_page *page = memory;
    struct ring_span span;

    (void)state;
    atomic_store(&page->left.prod, SIZE + 1);
    assert_int_equal(next(), RC_MALFORMED);
    atomic_store(&page->left.cons, 7);
    assert_int_equal(mux_put(&client, MUX_CLOSE, 1, NULL, 0), RC_MALFORMED);
    assert_int_equal(mux_reserve(&client, 1, &span), RC_MALFORMED);
}

/*----- codecs -----*/

static void hello_goes_there_and_back_and_nothing_else_does(void **state)
{
    struct mux_hello in = {1, 2, 0x123456789abcdef0}, out;
    uint8_t buf[MUX_HELLO_SIZE + 1] = {0};
    size_t n;

    (void)state;
    assert_int_equal(mux_hello_encode(&in, buf, sizeof buf, &n), RC_OK);
    assert_int_equal(n, MUX_HELLO_SIZE);
    assert_int_equal(mux_hello_decode(buf, n, &out), RC_OK);
    assert_int_equal(out.mux_version, 1);
    assert_int_equal(out.handover_version, 2);
    assert_true(out.generation == in.generation);
    for (size_t len = 0; len < n; len++)
        assert_int_equal(mux_hello_decode(buf, len, &out), RC_MALFORMED);
    assert_int_equal(mux_hello_decode(buf, n + 1, &out), RC_MALFORMED);
    buf[5] = 1; /* reserved */
    assert_int_equal(mux_hello_decode(buf, n, &out), RC_MALFORMED);
    assert_int_equal(mux_hello_encode(&in, buf, n - 1, &n), RC_TOO_LARGE);
}

static void ready_goes_there_and_back_and_nothing_else_does(void **state)
{
    struct mux_ready in = {77, "hello", "1.0.0"}, out;
    uint8_t buf[256] = {0};
    size_t n;

    (void)state;
    assert_int_equal(mux_ready_encode(&in, buf, sizeof buf, &n), RC_OK);
    assert_int_equal(mux_ready_decode(buf, n, &out), RC_OK);
    assert_int_equal(out.boot_us, 77);
    assert_string_equal(out.name, "hello");
    assert_string_equal(out.version, "1.0.0");
    for (size_t len = 0; len < n; len++)
        assert_int_equal(mux_ready_decode(buf, len, &out), RC_MALFORMED);
    assert_int_equal(mux_ready_decode(buf, n + 1, &out), RC_MALFORMED);
    buf[7] = '\0'; /* inside the name */
    assert_int_equal(mux_ready_decode(buf, n, &out), RC_MALFORMED);
    memset(buf, 'a', sizeof buf);
    buf[4] = 64; /* no room for the terminator */
    buf[5] = 0;
    buf[70] = buf[71] = 0;
    assert_int_equal(mux_ready_decode(buf, 72, &out), RC_MALFORMED);
}

static void health_goes_there_and_back_and_nothing_else_does(void **state)
{
    struct mux_health in = {1, 1, 2, 3, 4, 5}, out;
    uint8_t buf[64] = {0};
    size_t n;

    (void)state;
    assert_int_equal(mux_health_encode(&in, buf, sizeof buf, &n), RC_OK);
    assert_int_equal(mux_health_decode(buf, n, &out), RC_OK);
    assert_true(out.token == 1 && out.healthy == 1 && out.connections == 2 && out.in_flight == 3 &&
                out.leases == 4 && out.busy_ms == 5);
    for (size_t len = 0; len < n; len++)
        assert_int_equal(mux_health_decode(buf, len, &out), RC_MALFORMED);
    assert_int_equal(mux_health_decode(buf, n + 1, &out), RC_MALFORMED);
    buf[8] = 2; /* healthy */
    assert_int_equal(mux_health_decode(buf, n, &out), RC_MALFORMED);
}

static void a_number_is_four_bytes_across_the_wrap_and_no_other_length(void **state)
{
    uint8_t raw[MUX_U32_SIZE];
    struct ring_span payload = {.p = {raw, raw + 1}, .len = {1, 3}};
    uint32_t n = 7;

    (void)state;
    mux_u32_encode(0x12345678, raw);
    assert_memory_equal(raw, "\x78\x56\x34\x12", sizeof raw);
    assert_int_equal(mux_u32_decode(&payload, 4, &n), RC_OK);
    assert_int_equal(n, 0x12345678);
    n = 7;
    assert_int_equal(mux_u32_decode(&payload, 3, &n), RC_MALFORMED);
    assert_int_equal(mux_u32_decode(&payload, 5, &n), RC_MALFORMED);
    payload.len[1] = 2;
    assert_int_equal(mux_u32_decode(&payload, 4, &n), RC_MALFORMED);
    assert_int_equal(n, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_is_laid_out_as_written_down),
        TEST(frames_come_in_order_at_every_place_of_the_ring),
        TEST(a_frame_is_put_whole_or_not_at_all),
        TEST(a_reserved_payload_is_sent_by_its_commit),
        TEST(a_head_that_is_not_whole_is_malformed),
        TEST(a_payload_that_is_not_there_is_malformed),
        TEST(a_length_past_the_bound_and_bits_to_come_are_malformed),
        TEST(a_bad_index_is_malformed_for_reader_and_writer),
        cmocka_unit_test(a_number_is_four_bytes_across_the_wrap_and_no_other_length),
        cmocka_unit_test(hello_goes_there_and_back_and_nothing_else_does),
        cmocka_unit_test(ready_goes_there_and_back_and_nothing_else_does),
        cmocka_unit_test(health_goes_there_and_back_and_nothing_else_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
