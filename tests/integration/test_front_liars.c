/* Tenants that lie to a front worker: every type of frame with a length at every edge, every index
 * out of its bounds, memory that changes while it is read, floods, a ring that is broken before it
 * is used.  Each lie ends the channel with a complaint that says why; what is allowed does not; and
 * the same worker, never replaced, serves whoever comes next.
 *
 * Seen to fail: with the lengths' checks out of mux_next() or take_*() the matrix misses a
 * complaint, or ASan speaks; with take_crossing() returning NULL the flood never ends; with
 * complain() out of wake_on_ready() nothing is heard of a ring that cannot be used. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/core/wire.h"
#include "front_peer.h"

static struct rig rig;
static struct rig_tenant tenant;
static struct rig_client client;
static struct peer peer;
static struct rig_frame frame;
static uint64_t generation;

static int set_up(void **state)
{
    (void)state;
    rig_start(&rig, NULL);
    return 0;
}

/* Of its own accord, with the worker that it began with. */
static int tear_down(void **state)
{
    (void)state;
    rig_stop(&rig);
    return 0;
}

/* A tenant with one open connection, of which it has not given all credit back. */
static void begin(void)
{
    struct rig_tls how = {0};

    rig_tenant_make(&tenant, ++generation);
    rig_hello(&rig, &client, &how);
    peer_answer_wake(&rig, &tenant);
    assert_true(rig_shake(&client));
    peer_take(&tenant, &peer);
    peer_exchange(&tenant, &peer, &client);
    assert_int_equal(SSL_write(client.ssl, "used", 4), 4);
    rig_take(&tenant, MUX_DATA, &frame);
}

static void end(void)
{
    peer_dispose(&peer);
    rig_hang_up(&client, false);
    rig_tenant_free(&tenant);
}

static void expect_complaint(const char *what, const char *why)
{
    struct control_msg m;

    rig_expect(&rig, CONTROL_COMPLAINT, &m);
    assert_int_equal(m.complaint.id.instance, RIG_INSTANCE + generation);
    if (!m.complaint.text[0] || (why && !strstr(m.complaint.text, why)))
        fail_msg("%s: the complaint says \"%s\"", what, m.complaint.text);
}

/* The channel is as good as it was: another connection is served on it. */
static void expect_nothing(void)
{
    struct rig_tls how = {0};
    struct control_msg gone = {.type = CONTROL_GONE,
                               .instance = {RIG_INSTANCE + generation, generation}};
    struct rig_client c;
    uint64_t id;

    rig_hello(&rig, &c, &how);
    assert_true(rig_shake(&c));
    rig_take(&tenant, MUX_OPEN, &frame);
    id = frame.head.conn;
    rig_hang_up(&c, true);
    rig_take(&tenant, MUX_RESET, &frame);
    assert_int_equal(frame.head.conn, id);
    rig_send(&rig, &gone, NULL, 0);
}

static void put_raw(const void *bytes, uint32_t n)
{
    struct ring_span span;
    uint32_t room;

    assert_int_equal(ring_writable(&tenant.ring, &span, &room), RC_OK);
    assert_true(room >= n);
    assert_true(ring_span_fill(&span, 0, bytes, n));
    ring_publish(&tenant.ring, n);
}

/* A head that claims `len`, and so much of it as a ring can hold. */
static void put_claim(uint8_t type, uint64_t conn, uint32_t len)
{
    static uint8_t bytes[MUX_HEAD_SIZE + MUX_PAYLOAD_MAX + 1];
    struct wire_out out = wire_out(bytes, MUX_HEAD_SIZE);
    uint32_t n = len <= MUX_PAYLOAD_MAX + 1 ? len : 64;

    wire_put_u32(&out, len);
    wire_put_u8(&out, type);
    wire_put_u8(&out, 0);
    wire_put_u16(&out, 0);
    wire_put_u64(&out, conn);
    memset(bytes + MUX_HEAD_SIZE, 0, n);
    bytes[MUX_HEAD_SIZE] = 1; /* a CREDIT of one */
    put_raw(bytes, MUX_HEAD_SIZE + n);
    rig_ring_worker(&tenant);
}

/* schema/wire/mux.md, for a connection that is open. */
static bool is_allowed(uint8_t type, uint32_t len)
{
    switch (type) {
    case MUX_DATA:
        return len >= 1 && len <= MUX_PAYLOAD_MAX;
    case MUX_CREDIT:
        return len == MUX_U32_SIZE;
    case MUX_CLOSE:
    case MUX_RESET:
        return len == 0;
    default:
        return false;
    }
}

static const uint8_t types[] = {0,          MUX_HELLO, MUX_OPEN, MUX_DATA,  MUX_CREDIT, MUX_CLOSE,
                                MUX_RESET,  MUX_DRAIN, 8,        MUX_READY, MUX_FAILED, MUX_LOG,
                                MUX_HEALTH, MUX_BUSY,  MUX_STOP, MUX_SLOT,  255};

static void every_type_with_a_length_at_every_edge(void **state)
{
    static const uint32_t lengths[] = {0,
                                       1,
                                       MUX_U32_SIZE - 1,
                                       MUX_U32_SIZE,
                                       MUX_U32_SIZE + 1,
                                       MUX_HELLO_SIZE,
                                       MUX_PAYLOAD_MAX - 1,
                                       MUX_PAYLOAD_MAX,
                                       MUX_PAYLOAD_MAX + 1,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff - MUX_HEAD_SIZE,
                                       0xffffffff};
    unsigned allowed = 0, lies = 0;
    char what[64];

    (void)state;
    for (size_t t = 0; t < sizeof types; t++) {
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            snprintf(what, sizeof what, "type %u, length %u", types[t], lengths[n]);
            begin();
            put_claim(types[t], peer.id, lengths[n]);
            if (is_allowed(types[t], lengths[n])) {
                expect_nothing();
                allowed++;
            } else {
                expect_complaint(what, NULL);
                lies++;
            }
            end();
        }
    }
    assert_int_equal(allowed, 7 + 1 + 1 + 1);
    print_message("             %u lies, %u frames that are none\n", lies, allowed);
}

static void every_type_of_no_connection_and_of_one_that_never_was(void **state)
{
    char what[64];

    (void)state;
    for (size_t t = 0; t < sizeof types; t++) {
        for (int k = 0; k < 4; k++) {
            uint64_t ids[4];

            begin();
            ids[0] = 0;
            ids[1] = (uint32_t)peer.id;      /* its index, and no serial */
            ids[2] = peer.id + (1ull << 32); /* the next one's */
            ids[3] = 0xffffffffffffffff;     /* past any table */
            snprintf(what, sizeof what, "type %u of connection %#llx", types[t],
                     (unsigned long long)ids[k]);
            put_claim(types[t], ids[k], types[t] == MUX_DATA ? 1 : types[t] == MUX_CREDIT ? 4 : 0);
            expect_complaint(what, NULL);
            end();
        }
    }
}

static void a_head_that_is_torn_or_has_a_bit_too_many(void **state)
{
    static const struct {
        uint8_t bytes[MUX_HEAD_SIZE];
        uint32_t n;
    } heads[] = {
        {{0, 0, 0, 0, MUX_CLOSE}, 1},
        {{0, 0, 0, 0, MUX_CLOSE}, MUX_HEAD_SIZE - 1},
        {{0, 0, 0, 0, MUX_CLOSE, 1}, MUX_HEAD_SIZE},
        {{0, 0, 0, 0, MUX_CLOSE, 0x80}, MUX_HEAD_SIZE},
        {{0, 0, 0, 0, MUX_CLOSE, 0, 1}, MUX_HEAD_SIZE},
        {{0, 0, 0, 0, MUX_CLOSE, 0, 0, 0x80}, MUX_HEAD_SIZE},
        {{1, 0, 0, 0, MUX_DATA}, MUX_HEAD_SIZE}, /* its payload is to come */
    };

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        uint8_t bytes[MUX_HEAD_SIZE];

        begin();
        memcpy(bytes, heads[i].bytes, sizeof bytes);
        memcpy(bytes + 8, &peer.id, sizeof peer.id);
        put_raw(bytes, heads[i].n);
        rig_ring_worker(&tenant);
        expect_complaint("a head", "malformed");
        end();
    }
}

static void every_index_out_of_its_bounds(void **state)
{
    static const uint32_t by[] = {0xffffffff, 0x80000000, 0x7fffffff, (1u << 16) + 1, 0x40000000};

    (void)state;
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++) {
        for (int which = 0; which < 2; which++) {
            struct ring_page *page;

            begin();
            page = tenant.mem;
            if (which == 0)
                atomic_store(&page->right.prod, page->right.cons + by[i]);
            else /* ours: also when nobody has anything to send there */
                atomic_store(&page->left.cons, page->left.prod - by[i]);
            rig_ring_worker(&tenant);
            expect_complaint(which ? "left.cons" : "right.prod", which ? "index" : "malformed");
            end();
        }
    }
}

static void what_else_is_on_the_page_is_its_own_matter(void **state)
{
    struct ring_page *page;

    (void)state;
    begin();
    page = tenant.mem;
    page->left_order = page->right_order = 0xffff;
    atomic_store(&page->right.cons, 0x12345678);
    atomic_store(&page->cli_live, 0x55);
    atomic_store(&page->srv_notify, 0xff);
    rig_ring_worker(&tenant);
    /* Its own end of the ring is the worker's word again with the next frame. */
    expect_nothing();
    end();
}

/* Its counter is at its end: who rings must neither wait nor give up.  Seen to fail without
 * doorbell_prepare() (the worker sleeps in write()). */
static void a_doorbell_that_is_full_holds_up_nobody(void **state)
{
    struct rig_tls how = {0};

    (void)state;
    rig_tenant_make(&tenant, ++generation);
    assert_int_equal(fcntl(tenant.bell, F_SETFL, 0), 0); /* waits for room, unless told not to */
    assert_int_equal(eventfd_write(tenant.bell, UINT64_MAX - 1), 0);
    rig_hello(&rig, &client, &how);
    peer_answer_wake(&rig, &tenant);
    assert_true(rig_shake(&client));
    peer_take(&tenant, &peer);
    assert_int_equal(SSL_write(client.ssl, "ping", 4), 4);
    rig_take(&tenant, MUX_DATA, &frame);
    expect_nothing();
    end();
}

/*----- memory that changes while it is read -----*/

struct flipper {
    pthread_t thread;
    atomic_bool over;
    void (*flip)(unsigned n);
};

static void *flip_on(void *arg)
{
    struct flipper *f = arg;

    for (unsigned n = 0; !atomic_load(&f->over); n++)
        f->flip(n);
    return NULL;
}

static uint32_t good_prod, good_cons;

static void flip_prod(unsigned n)
{
    struct ring_page *page = tenant.mem;

    atomic_store(&page->right.prod, n & 1 ? good_prod : n * 2654435761u);
}

static void flip_cons(unsigned n)
{
    struct ring_page *page = tenant.mem;

    atomic_store(&page->left.cons, n & 1 ? good_cons : n * 2654435761u);
}

/* The bytes of a head that says CREDIT of 4, then not. */
static void flip_head(unsigned n)
{
    volatile uint8_t *head = tenant.ring.tx;

    for (uint32_t i = 0; i < tenant.ring.tx_size; i += MUX_HEAD_SIZE + MUX_U32_SIZE)
        head[i + n % 8] ^= (uint8_t)(1u << (n / 8 % 8));
}

static void memory_that_changes_while_it_is_read(void **state)
{
    static void (*const flips[])(unsigned n) = {flip_prod, flip_cons, flip_head};

    (void)state;
    for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
        for (int round = 0; round < 20; round++) {
            struct flipper f = {.flip = flips[i]};

            begin();
            good_prod = tenant.ring.tx_prod;
            good_cons = atomic_load(&((struct ring_page *)tenant.mem)->left.cons);
            assert_int_equal(pthread_create(&f.thread, NULL, flip_on, &f), 0);
            while (ring_peer(&tenant.ring) == RING_CONNECTED) {
                if (flips[i] == flip_head) {
                    struct ring_span span;
                    uint32_t room;

                    if (ring_writable(&tenant.ring, &span, &room) == RC_OK && room >= 1000)
                        ring_publish(&tenant.ring, 1000);
                }
                rig_ring_worker(&tenant);
            }
            atomic_store(&f.over, true);
            pthread_join(f.thread, NULL);
            expect_complaint("a flip", NULL);
            end();
        }
    }
}

/*----- more than it may -----*/

#define FLOOD_MAX (256ull << 20) /* bytes */

/* As much as goes in, until it is thrown out. */
static void flood(enum mux_type type, uint64_t conn, const void *p, uint32_t n)
{
    uint64_t sent = 0;

    while (ring_peer(&tenant.ring) == RING_CONNECTED) {
        if (mux_put(&tenant.ring, (uint8_t)type, conn, p, n) == RC_OK)
            sent += MUX_HEAD_SIZE + n;
        else
            rig_ring_worker(&tenant);
        if (sent > FLOOD_MAX)
            fail_msg("%llu bytes, and it is still listened to", (unsigned long long)sent);
    }
}

static void more_data_than_credit(void **state)
{
    static const uint8_t data[MUX_PAYLOAD_MAX];

    (void)state;
    begin();
    flood(MUX_DATA, peer.id, data, sizeof data); /* its client does not read */
    expect_complaint("DATA", "without credit");
    end();
}

static void frames_of_connections_that_are_over_end_with_what_can_have_crossed(void **state)
{
    enum { CROSSING = MUX_CREDIT_INITIAL / 16 };
    static const enum mux_type kinds[] = {MUX_DATA, MUX_CREDIT, MUX_CLOSE, MUX_RESET};
    static const uint32_t lengths[] = {1, 4, 0, 0};

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        begin();
        rig_hang_up(&client, true);
        rig_take(&tenant, MUX_RESET, &frame);
        for (unsigned i = 0; i < CROSSING; i++) {
            while (mux_put(&tenant.ring, (uint8_t)kinds[k], peer.id, "\1\0\0\0", lengths[k]))
                rig_ring_worker(&tenant);
        }
        rig_ring_worker(&tenant);
        rig_wait_taken(&tenant);
        assert_int_equal(ring_peer(&tenant.ring), RING_CONNECTED);
        flood(kinds[k], peer.id, "\1\0\0\0", lengths[k]);
        expect_complaint("a flood", "connections that it does not have");
        peer_dispose(&peer);
        rig_tenant_free(&tenant);
    }
}

static void a_doorbell_that_rings_for_nothing(void **state)
{
    (void)state;
    begin();
    while (ring_peer(&tenant.ring) == RING_CONNECTED)
        rig_ring_worker(&tenant);
    expect_complaint("a storm", "rings without end");
    end();
}

/*----- before it is used -----*/

static void a_ring_that_cannot_be_used(void **state)
{
    struct rig_tls how = {0};

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct ring_page *page;

        rig_tenant_make(&tenant, ++generation);
        page = tenant.mem;
        if (i == 0)
            page->left_order = RING_ORDER_MAX + 1;
        else if (i == 1)
            page->right_order = RING_ORDER_MAX; /* more than there is */
        else if (i == 2)
            page->left_order = 0;
        else if (i == 3)
            atomic_store(&page->left.cons, 1); /* of what was never written */
        else
            ring_leave(&tenant.ring);
        rig_hello(&rig, &client, &how);
        peer_answer_wake(&rig, &tenant);
        expect_complaint("before it is used", i < 4 ? "makes no sense" : "left its channel");
        rig_hang_up(&client, true);
        rig_tenant_free(&tenant);
    }
    /* And its next instance serves. */
    begin();
    expect_nothing();
    end();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_type_with_a_length_at_every_edge),
        TEST(every_type_of_no_connection_and_of_one_that_never_was),
        TEST(a_head_that_is_torn_or_has_a_bit_too_many),
        TEST(every_index_out_of_its_bounds),
        TEST(what_else_is_on_the_page_is_its_own_matter),
        TEST(a_doorbell_that_is_full_holds_up_nobody),
        TEST(memory_that_changes_while_it_is_read),
        TEST(more_data_than_credit),
        TEST(frames_of_connections_that_are_over_end_with_what_can_have_crossed),
        TEST(a_doorbell_that_rings_for_nothing),
        TEST(a_ring_that_cannot_be_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
