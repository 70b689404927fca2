/* The ring between two threads, each of which sleeps whenever it has nothing to do: all frames
 * come, in order and whole, no doorbell is missed, and for TSan (scripts/test tsan) every byte
 * that one side reads was handed over by the other.
 *
 * Seen to fail: ring_want() without the second look behind it (the two sleep for ever: the
 * deadline), and under TSan an index that is stored or loaded with memory_order_relaxed. */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/core/mux.h"
#include "tests/unit/unit.h"

#define ORDER       12
#define FRAMES      20000u
#define DEADLINE_MS 20000

struct side {
    struct ring ring;
    int own, other; /* doorbells: the one that rings here, and the peer's */
    uint32_t put, taken;
    const char *fault; /* what went wrong, or NULL */
};

static uint32_t length(uint32_t serial)
{
    return serial * 2654435761u >> 22; /* 0 … 1023, in no order */
}

static void ring_bell(const struct side *s)
{
    eventfd_write(s->other, 1);
}

/* One frame, if there is room. */
static bool put_one(struct side *s)
{
    uint8_t bytes[1024];
    uint32_t len = length(s->put);
    enum rc rc;

    if (s->put == FRAMES)
        return false;
    memset(bytes, (int)(s->put & 255), len);
    rc = mux_put(&s->ring, MUX_DATA, s->put, bytes, len);
    if (rc == RC_FULL)
        return false;
    if (rc) {
        s->fault = "a frame could not be put";
        return false;
    }
    s->put++;
    if (ring_must_notify(&s->ring, RING_NOTIFY_WRITE))
        ring_bell(s);
    return true;
}

static bool take_one(struct side *s)
{
    struct ring_span payload;
    struct mux_head head;
    uint8_t bytes[1024];
    enum rc rc = mux_next(&s->ring, &head, &payload);

    if (rc == RC_AGAIN)
        return false;
    if (rc || head.conn != s->taken || head.len != length(s->taken) ||
        !ring_span_copy(&payload, 0, bytes, head.len)) {
        s->fault = "a frame is not the next one";
        return false;
    }
    for (uint32_t i = 0; i < head.len; i++)
        if (bytes[i] != (uint8_t)s->taken)
            s->fault = "a byte is not the one that was put";
    mux_consume(&s->ring, &head);
    s->taken++;
    if (ring_must_notify(&s->ring, RING_NOTIFY_READ))
        ring_bell(s);
    return true;
}

static bool is_done(const struct side *s)
{
    return s->put == FRAMES && s->taken == FRAMES;
}

static void *run(void *arg)
{
    struct side *s = arg;
    struct pollfd bell = {.fd = s->own, .events = POLLIN};
    eventfd_t rung;

    while (!s->fault && !is_done(s)) {
        bool any = put_one(s);

        any |= take_one(s);
        if (any)
            continue;
        /* As channel.c goes to sleep: ask to be rung, look again, sleep. */
        (void)eventfd_read(s->own, &rung);
        ring_want(&s->ring, RING_NOTIFY_WRITE | RING_NOTIFY_READ);
        any = put_one(s);
        any |= take_one(s);
        if (!any && !s->fault && !is_done(s) && poll(&bell, 1, DEADLINE_MS) != 1)
            s->fault = "no doorbell came";
    }
    ring_bell(s); /* the other one waits for nothing in vain */
    return NULL;
}

static void frames_come_whole_and_in_order_and_nobody_sleeps_through_a_doorbell(void **state)
{
    size_t len = ring_bytes(ORDER, ORDER);
    void *memory = aligned_alloc(RING_PAGE_SIZE, len);
    struct side sides[2] = {0};
    pthread_t threads[2];

    (void)state;
    assert_non_null(memory);
    memset(memory, 0, len);
    ring_format(memory, ORDER, ORDER);
    assert_int_equal(ring_attach(&sides[0].ring, memory, len, RING_SERVER), RC_OK);
    assert_int_equal(ring_attach(&sides[1].ring, memory, len, RING_CLIENT), RC_OK);
    sides[0].own = sides[1].other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sides[1].own = sides[0].other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &sides[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        if (sides[i].fault)
            fail_msg("%s, after %u were put and %u taken", sides[i].fault, sides[i].put,
                     sides[i].taken);
        close(sides[i].own);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_whole_and_in_order_and_nobody_sleeps_through_a_doorbell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
