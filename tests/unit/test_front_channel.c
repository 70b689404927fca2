/* A front worker's channel: what of ours is used up while it is opened, and how often an honest
 * tenant may ring.
 *
 * Seen to fail: with any failure of mmap() taken for the tenant's (channel_map.c); without the
 * answer of uv_poll_init() or uv_poll_start() looked at; with IDLE_RINGS_MAX alone, whatever there
 * was to ring for, frames or room. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "common/host/fd.h"
#include "tests/unit/unit.h"
#include "tests/unit/worker_house.h"
#include "tls-front/channel.h"
#include "tls-front/orch.h"
#include "tls-front/route.h"

#define ORDER 16

static struct worker w;
static struct options options;
static struct tenant acme;
static int parent;
static struct house_tenant tenant;
static int fds[3]; /* as READY has them */

/*----- calls that fail, with `fails` for errno; 0: none does -----*/

static int mmap_fails, init_fails, start_fails;

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int __real_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);
int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);
int __real_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb);
int __wrap_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb);

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (!mmap_fails)
        return __real_mmap(at, len, prot, flags, fd, offset);
    errno = mmap_fails;
    return MAP_FAILED;
}

int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd)
{
    return init_fails ? -init_fails : __real_uv_poll_init(loop, poll, fd);
}

int __wrap_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb)
{
    return start_fails ? -start_fails : __real_uv_poll_start(poll, events, cb);
}

/*----- a worker and a tenant -----*/

static int set_up(void **state)
{
    const unsigned orders[2] = {ORDER, ORDER};

    (void)state;
    mmap_fails = init_fails = start_fails = 0;
    parent = house_worker(&w, &options);
    acme = (struct tenant){.id = 1, .refs = 1, .name = "acme"};
    assert_int_equal(channels_init(&w), RC_OK);
    assert_int_equal(conns_init(&w), RC_OK);
    assert_int_equal(orch_init(&w), RC_OK);

    house_tenant_make(&tenant, orders, fds);
    assert_int_equal(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    channels_close(&w);
    orch_close(&w);
    packet_close(&w.parent);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    channels_dispose(&w);
    conns_dispose(&w);
    orch_dispose(&w);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    assert_int_equal(acme.refs, 1);
    for (int i = 0; i < 3; i++)
        fd_close(&fds[i]);
    fd_close(&parent);
    house_tenant_free(&tenant);
    return 0;
}

static enum rc ready(uint32_t port)
{
    struct control_ready m = {
        .tenant = 1, .id = {1, 1}, .bytes = (uint32_t)tenant.len, .port = port};

    return channel_ready(&w, &acme, &m, fds);
}

static void ring(void)
{
    house_tenant_ring(&tenant);
    uv_run(&w.loop, UV_RUN_NOWAIT);
}

static bool is_heard(void)
{
    return ring_peer(&tenant.ring) == RING_CONNECTED;
}

/*----- what is used up -----*/

static void of_a_mapping_that_fails_only_what_xen_refuses_is_the_tenants(void **state)
{
    (void)state;
    mmap_fails = ENOMEM;
    assert_int_equal(ready(0), RC_NOMEM);
    assert_int_equal(ready(1), RC_NOMEM);
    mmap_fails = EINVAL;
    assert_int_equal(ready(1), RC_UNMAPPED);
    mmap_fails = 0;
    assert_null(acme.channel);
    assert_int_equal(ready(0), RC_OK);
}

static void a_doorbell_that_cannot_be_polled_is_not_the_tenants_fault(void **state)
{
    (void)state;
    init_fails = ENOMEM;
    assert_int_equal(ready(0), RC_NOMEM);
    assert_null(acme.channel);
    init_fails = 0;
    start_fails = ENOMEM;
    assert_int_equal(ready(0), RC_NOMEM);
    assert_null(acme.channel);
    assert_false(is_heard());
}

/*----- doorbells -----*/

static void greet(void)
{
    assert_int_equal(ready(0), RC_OK);
    assert_int_equal(house_tenant_hello(&tenant), RC_OK);
    ring();
    assert_true(is_heard());
}

static void a_doorbell_that_rings_for_nothing_is_a_lie(void **state)
{
    unsigned n = 0;

    (void)state;
    greet();
    while (is_heard() && n++ < 100000)
        ring();
    assert_true(n >= 5000 && n < 100000);
}

/* A frame may be read before the doorbell that rings for it is answered. */
static void a_doorbell_may_ring_once_more_for_each_frame(void **state)
{
    struct channel *ch;

    (void)state;
    greet();
    ch = acme.channel;
    ch->crossing = 20000; /* of no connection, which is allowed for so many */
    for (int n = 0; n < 20000; n++) {
        assert_int_equal(mux_put(&tenant.ring, MUX_RESET, 1ull << 32, NULL, 0), RC_OK);
        ring();
        ring();
        assert_true(is_heard());
    }
}

/* A tenant takes what stands in its ring, and rings as it was asked to, while a client fills it. */
static void a_doorbell_may_ring_each_time_that_there_is_room(void **state)
{
    static const char data[8000];
    struct conn c = {.w = &w, .reset = true, .id = 1ull << 32}; /* it wants to say RESET */
    struct ring_span span;
    struct mux_head head;

    (void)state;
    greet();
    for (int n = 0; n < 6000; n++) {
        while (mux_put(&acme.channel->ring, MUX_DATA, c.id, data, sizeof data) == RC_OK)
            ;
        channel_join(acme.channel, &c);
        channel_block(acme.channel, &c);
        assert_true(c.blocked);
        while (mux_next(&tenant.ring, &head, &span) == RC_OK)
            mux_consume(&tenant.ring, &head);
        c.handles = 1; /* it is not freed */
        ring();
        assert_true(is_heard() && !c.blocked && !c.channel);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(of_a_mapping_that_fails_only_what_xen_refuses_is_the_tenants),
        TEST(a_doorbell_that_cannot_be_polled_is_not_the_tenants_fault),
        TEST(a_doorbell_that_rings_for_nothing_is_a_lie),
        TEST(a_doorbell_may_ring_once_more_for_each_frame),
        TEST(a_doorbell_may_ring_each_time_that_there_is_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
