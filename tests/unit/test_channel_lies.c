/* A worker that says what it must not: the channel ends, and no other. */
#include <string.h>

#include "tenant-runtime/runtime/runtime.h"
#include "tests/unit/channel_house.h"

static void assert_left(unsigned channel, const char *why)
{
    front_pump();
    assert_int_equal(ring_peer(&front_ring[channel]), RING_GONE);
    if (!strstr(front_said.text, why))
        print_error("said: %s\n", front_said.text);
    assert_non_null(strstr(front_said.text, why));
}

static void each_lie_closes_the_channel_and_no_other(void **state)
{
    static const uint8_t junk[MUX_PAYLOAD_MAX];
    static const struct {
        uint8_t type;
        bool of_conn;
        uint32_t len;
        int times;
        const char *why;
    } lies[] = {
        {MUX_HELLO, false, MUX_HELLO_SIZE, 1, "HELLO twice"},
        {MUX_HELLO, true, MUX_HELLO_SIZE, 1, "should not be"},
        {MUX_OPEN, true, 100, 1, "OPEN is malformed"},
        {MUX_OPEN, false, 100, 1, "should not be"},
        {MUX_DATA, false, 100, 1, "should not be"},
        {MUX_DATA, true, MUX_PAYLOAD_MAX, 3, "past its credit"},
        {MUX_CREDIT, true, 3, 1, "CREDIT is malformed"},
        {MUX_CLOSE, true, 1, 1, "CLOSE is malformed"},
        {MUX_CLOSE, true, 0, 2, "CLOSE twice"},
        {MUX_RESET, true, 1, 1, "RESET is malformed"},
        {MUX_DRAIN, true, 0, 1, "should not be"},
        {MUX_DRAIN, false, 1, 1, "DRAIN is malformed"},
        {MUX_READY, false, 0, 1, "control channel"},
        {MUX_SLOT, false, 4, 1, "control channel"},
        {0, false, 0, 1, "should not be"},
    };
    struct front_client *bystander = front_open(1, SUITE_13, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct front_client *c = house_sleeper();

        front_said.text[0] = '\0';
        for (int n = 0; n < lies[i].times; n++)
            front_put(0, lies[i].type, lies[i].of_conn ? c->id : 0, junk, lies[i].len);
        assert_left(0, lies[i].why);
        assert_int_equal(rt.connections, 1);

        front_send_text(bystander, GET("/"));
        assert_true(house_served(bystander, "hello"));
        front_kill_worker(0);
        front_attach(0);
    }
    assert_int_equal(app.gone, sizeof lies / sizeof lies[0]);
}

static void more_credit_than_was_sent_is_a_lie(void **state)
{
    struct front_client *c = house_sleeper();
    uint32_t more = 1;

    (void)state;
    front_put(0, MUX_CREDIT, c->id, &more, 4);
    assert_left(0, "more credit than");
}

static void a_frame_before_hello_is_a_lie(void **state)
{
    (void)state;
    front_kill_worker(0);
    front_attach_silent(0);
    front_put(0, MUX_DRAIN, 0, NULL, 0);
    assert_left(0, "not HELLO");
}

static void another_version_is_refused_with_a_clear_line(void **state)
{
    (void)state;
    front_kill_worker(0);
    front_attach_silent(0);
    front_hello(0, MUX_VERSION + 1, HANDOVER_VERSION, 7);
    assert_left(0, "speaks frames 2 and handover 1, this image 1 and 1");
}

static void another_generation_is_refused(void **state)
{
    (void)state;
    front_kill_worker(0);
    front_attach_silent(0);
    front_hello(0, MUX_VERSION, HANDOVER_VERSION, 8);
    assert_left(0, "another generation");
}

static void wild_indices_close_the_channel(void **state)
{
    static const uint32_t wild[] = {1u << 31,   (1u << 17) + 1,
                                    UINT32_MAX, /* of what it wrote */
                                    1u << 31,   1,
                                    1u << 18}; /* of what it read */

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct ring_page *page = front_ring[0].page;
        _Atomic uint32_t *index = i < 3 ? &page->left.prod : &page->right.cons;

        (void)house_sleeper();
        atomic_store(index, atomic_load(index) + wild[i]);
        assert_left(0, "makes no sense");
        front_kill_worker(0);
        front_attach(0);
    }
    assert_int_equal(app.gone, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(each_lie_closes_the_channel_and_no_other),
        HOUSE_TEST(more_credit_than_was_sent_is_a_lie),
        HOUSE_TEST(a_frame_before_hello_is_a_lie),
        HOUSE_TEST(another_version_is_refused_with_a_clear_line),
        HOUSE_TEST(another_generation_is_refused),
        HOUSE_TEST(wild_indices_close_the_channel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
