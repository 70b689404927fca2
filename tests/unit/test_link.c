/* A tenant that lies to roomkeyd on its control channel: every type of frame with a length at every
 * edge, indices out of their bounds, a doorbell that rings without end, a flood of good frames.
 *
 * Seen to fail: without IDLE_RINGS_MAX the storm is heard for ever, with it alone frames that were
 * read before their doorbells are a storm, without FRAMES_A_SECOND the flood has no pause, without
 * index_is_bad() nobody notices a bad index of the ring that it reads.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/core/launch.h"
#include "common/core/wire.h"
#include "orchestrator/link.h"
#include "tests/unit/unit.h"

struct end {
    uv_loop_t loop;
    struct link *link;
    struct ring tenant;
    struct ring_page *page;
    size_t len;
    int bell;                      /* rings roomkeyd */
    unsigned heard, ready, broken; /* callbacks */
    char why[128];
};

static void on_ready(void *arg, const struct mux_ready *ready)
{
    struct end *e = arg;

    (void)ready;
    e->heard++;
    e->ready++;
}

static void on_text(struct end *e)
{
    e->heard++;
}

static void on_failed(void *arg, const char *text)
{
    (void)text;
    on_text(arg);
}

static void on_log(void *arg, int level, const char *text)
{
    (void)level;
    (void)text;
    on_text(arg);
}

static void on_health(void *arg, const struct mux_health *health)
{
    (void)health;
    on_text(arg);
}

static void on_slot(void *arg, uint32_t channel)
{
    (void)channel;
    on_text(arg);
}

static void on_broken(void *arg, const char *why)
{
    struct end *e = arg;

    e->broken++;
    snprintf(e->why, sizeof e->why, "%s", why);
}

static const struct link_events events = {on_ready,  on_failed, on_log,
                                          on_health, on_slot,   on_broken};

static void begin(struct end *e)
{
    struct backend_channel ch = {.len = ring_bytes(LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER)};

    memset(e, 0, sizeof *e);
    e->len = ch.len;
    ch.memory_fd = memfd_create("control", MFD_CLOEXEC);
    assert_int_equal(ftruncate(ch.memory_fd, (off_t)ch.len), 0);
    e->page = mmap(NULL, ch.len, PROT_READ | PROT_WRITE, MAP_SHARED, ch.memory_fd, 0);
    assert_ptr_not_equal(e->page, MAP_FAILED);
    ring_format(e->page, LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER);
    assert_int_equal(ring_attach(&e->tenant, e->page, ch.len, RING_SERVER), RC_OK);
    e->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ch.bell.in_fd = fcntl(e->bell, F_DUPFD_CLOEXEC, 0);
    ch.bell.out_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(uv_loop_init(&e->loop), 0);
    assert_int_equal(link_open(&e->loop, &ch, &events, e, &e->link), RC_OK);
}

static void turn(struct end *e)
{
    eventfd_write(e->bell, 1);
    uv_run(&e->loop, UV_RUN_NOWAIT);
}

static void end(struct end *e)
{
    link_close(e->link);
    uv_run(&e->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&e->loop), 0);
    munmap(e->page, e->len);
    close(e->bell);
}

static void expect_broken(struct end *e, const char *what, const char *why)
{
    for (int i = 0; i < 3; i++)
        turn(e);
    if (e->broken != 1 || (why && !strstr(e->why, why)))
        fail_msg("%s: broken %u times, \"%s\"", what, e->broken, e->why);
}

/* A head that claims `len`, and so much of it as the ring can hold, of zeros. */
static void put_claim(struct end *e, uint8_t type, uint32_t len)
{
    static uint8_t bytes[1 << LAUNCH_CONTROL_ORDER];
    struct wire_out out = wire_out(bytes, MUX_HEAD_SIZE);
    uint32_t n = len <= sizeof bytes - MUX_HEAD_SIZE ? len : 64, room;
    struct ring_span span;

    wire_put_u32(&out, len);
    wire_put_u8(&out, type);
    wire_put_u8(&out, 0);
    wire_put_u16(&out, 0);
    wire_put_u64(&out, 0);
    assert_int_equal(ring_writable(&e->tenant, &span, &room), RC_OK);
    assert_true(ring_span_fill(&span, 0, bytes, MUX_HEAD_SIZE + n));
    ring_publish(&e->tenant, MUX_HEAD_SIZE + n);
}

enum { HEALTH_SIZE = 8 + 1 + 4 + 4 + 4 + 8 };

/* schema/wire/mux.md; a payload of zeros. */
static bool is_allowed(unsigned type, uint32_t len)
{
    switch (type) {
    case MUX_READY:
        return len == 4 + 2 + 2;
    case MUX_FAILED:
        return len <= MUX_TEXT_MAX + 1;
    case MUX_LOG:
        return len >= 1 && len <= MUX_TEXT_MAX + 1;
    case MUX_BUSY:
        return len == HEALTH_SIZE;
    case MUX_HEALTH:
        return false; /* of no question */
    case MUX_SLOT:
        return len == MUX_U32_SIZE;
    default:
        return len <= MUX_TEXT_MAX + 1; /* of a newer runtime, and dropped */
    }
}

static void every_type_with_a_length_at_every_edge(void **state)
{
    static const uint32_t lengths[] = {0,
                                       1,
                                       MUX_U32_SIZE - 1,
                                       MUX_U32_SIZE,
                                       MUX_U32_SIZE + 1,
                                       7,
                                       8,
                                       9,
                                       HEALTH_SIZE - 1,
                                       HEALTH_SIZE,
                                       HEALTH_SIZE + 1,
                                       MUX_TEXT_MAX,
                                       MUX_TEXT_MAX + 1,
                                       MUX_TEXT_MAX + 2,
                                       (1 << LAUNCH_CONTROL_ORDER) - MUX_HEAD_SIZE,
                                       (1 << LAUNCH_CONTROL_ORDER) - MUX_HEAD_SIZE + 1,
                                       MUX_PAYLOAD_MAX,
                                       MUX_PAYLOAD_MAX + 1,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff - MUX_HEAD_SIZE,
                                       0xffffffff};
    unsigned lies = 0, allowed = 0;
    char what[64];
    struct end e;

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        if (type > 32 && type < 254)
            continue;
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            snprintf(what, sizeof what, "type %u, length %u", type, lengths[n]);
            begin(&e);
            put_claim(&e, (uint8_t)type, lengths[n]);
            if (is_allowed(type, lengths[n])) {
                allowed++;
                put_claim(&e, MUX_SLOT, MUX_U32_SIZE); /* heard behind it */
                for (int i = 0; i < 3; i++)
                    turn(&e);
                if (e.broken || !e.heard)
                    fail_msg("%s: %s", what, e.why);
            } else {
                lies++;
                expect_broken(&e, what, NULL);
            }
            end(&e);
        }
    }
    print_message("             %u lies, %u frames that are none\n", lies, allowed);
}

static void every_index_out_of_its_bounds(void **state)
{
    static const uint32_t by[] = {0xffffffff, 0x80000000, 0x7fffffff,
                                  (1u << LAUNCH_CONTROL_ORDER) + 1};
    struct end e;

    (void)state;
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++) {
        begin(&e);
        atomic_store(&e.page->right.prod, by[i]);
        expect_broken(&e, "right.prod", "indices");
        end(&e);

        begin(&e);
        atomic_store(&e.page->left.cons, 0 - by[i]);
        expect_broken(&e, "left.cons", "index");
        end(&e);

        begin(&e); /* found when something is to be put, though nobody rings */
        uv_run(&e.loop, UV_RUN_NOWAIT);
        atomic_store(&e.page->left.cons, 0 - by[i]);
        link_health(e.link, 1);
        assert_int_equal(e.broken, 0);
        uv_run(&e.loop, UV_RUN_NOWAIT);
        assert_int_equal(e.broken, 1);
        link_stop(e.link, 1);
        expect_broken(&e, "left.cons, with a question", "index");
        end(&e);
    }
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void a_doorbell_that_rings_for_nothing(void **state)
{
    uint64_t late = now_ms() + 10000;
    struct end e;

    (void)state;
    begin(&e);
    for (int i = 0; i < 1000; i++) { /* a while of it harms nobody */
        turn(&e);
        assert_int_equal(e.broken, 0);
    }
    while (!e.broken) {
        turn(&e);
        if (now_ms() > late)
            fail_msg("it is still listened to");
    }
    expect_broken(&e, "a storm", "rings without end");
    end(&e);
}

/* A frame may be read before the doorbell that rings for it is answered. */
static void a_doorbell_may_ring_once_more_for_each_frame(void **state)
{
    struct end e;

    (void)state;
    begin(&e);
    for (unsigned n = 1; n <= 8000; n++) { /* in less than a second */
        assert_int_equal(mux_put(&e.tenant, MUX_LOG, 0, "\1", 1), RC_OK);
        turn(&e);
        assert_int_equal(e.heard, n);
        turn(&e);
        assert_int_equal(e.broken, 0);
    }
    end(&e);
}

/* Puts what goes in, and rings, until it is not heard any more; how many were heard. */
static unsigned flood(struct end *e, uint8_t type, uint32_t len)
{
    static const uint8_t zeros[64];
    unsigned deaf = 0;

    while (deaf < 64 && e->heard < 1000000) {
        unsigned before = e->heard;

        while (mux_put(&e->tenant, type, 0, zeros, len) == RC_OK)
            ;
        turn(e);
        deaf = e->heard == before ? deaf + 1 : 0;
    }
    return e->heard;
}

static void a_flood_of_good_frames_is_heard_in_part_and_then_later(void **state)
{
    static const struct {
        uint8_t type;
        uint32_t len;
    } kinds[] = {{MUX_LOG, 1}, {MUX_BUSY, HEALTH_SIZE}};
    struct mux_ready ready = {.name = "web", .version = "1"};
    struct end e;
    uint8_t buf[64];
    unsigned first;
    size_t n;

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        begin(&e);
        first = flood(&e, kinds[k].type, kinds[k].len);
        assert_true(first >= 8192 && first < 1000000);
        assert_int_equal(e.broken, 0);
        /* What stands in the ring is heard when the second is over; and what comes then. */
        while (e.heard == first)
            uv_run(&e.loop, UV_RUN_ONCE);
        assert_int_equal(mux_ready_encode(&ready, buf, sizeof buf, &n), RC_OK);
        while (mux_put(&e.tenant, MUX_READY, 0, buf, (uint32_t)n) != RC_OK)
            turn(&e);
        for (e.ready = 0; !e.ready;)
            turn(&e);
        assert_int_equal(e.broken, 0);
        end(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_with_a_length_at_every_edge),
        cmocka_unit_test(every_index_out_of_its_bounds),
        cmocka_unit_test(a_doorbell_that_rings_for_nothing),
        cmocka_unit_test(a_doorbell_may_ring_once_more_for_each_frame),
        cmocka_unit_test(a_flood_of_good_frames_is_heard_in_part_and_then_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
