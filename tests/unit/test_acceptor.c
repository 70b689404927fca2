/* A listening socket that cannot be accepted from, for whatever reason.
 *
 * Seen to fail: a pause for a lack alone (EINVAL spins); without the look at libuv's status (nobody
 * is taken any more); with `lacking` ended by the first who is let in (a line each time). */
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/host/acceptor.h"
#include "common/host/log.h"
#include "tests/unit/unit.h"

static uv_loop_t loop;
static struct acceptor acceptor;
static struct sockaddr_in at;
static int fails;                  /* errno of accept4(); 0: it is the real one */
static unsigned asked, taken, bad; /* bad: lines of nobody who is let in */
static uv_poll_cb looked;

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __real_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb);
int __wrap_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb);
void __wrap_log_line(enum log_level level, const char *fmt, ...);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    asked++;
    if (!fails)
        return __real_accept4(fd, addr, len, flags);
    errno = fails;
    return -1;
}

int __wrap_uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb)
{
    looked = cb;
    return __real_uv_poll_start(poll, events, cb);
}

void __wrap_log_line(enum log_level level, const char *fmt, ...)
{
    (void)fmt;
    bad += level == LOG_ERROR;
}

static void on_taken(struct acceptor *a, int fd)
{
    (void)a;
    taken++;
    close(fd);
}

static int set_up(void **state)
{
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)state;
    fails = 0;
    asked = taken = bad = 0;
    at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    acceptor = (struct acceptor){.what = "socket", .on_taken = on_taken};
    assert_int_equal(acceptor_open(&acceptor, &loop, fd), RC_OK);
    acceptor_begin(&acceptor);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    acceptor_close(&acceptor); /* without anybody to tell */
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void come(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
}

static void until_taken(unsigned n)
{
    while (taken < n)
        uv_run(&loop, UV_RUN_ONCE);
}

static void whatever_stays_is_waited_for(void **state)
{
    static const int stays[] = {EMFILE, ENFILE, ENOMEM, EINVAL, EPERM};

    (void)state;
    for (unsigned i = 0; i < sizeof stays / sizeof stays[0]; i++) {
        fails = stays[i];
        come();
        asked = 0;
        while (asked == 0)
            uv_run(&loop, UV_RUN_ONCE);
        assert_false(uv_is_active((uv_handle_t *)&acceptor.poll));
        assert_true(uv_backend_timeout(&loop) > 0);
        fails = 0;
        until_taken(i + 1);
    }
}

static void what_passes_is_not(void **state)
{
    static const int passes[] = {ECONNABORTED, EPROTO, EINTR, EAGAIN};

    (void)state;
    for (unsigned i = 0; i < sizeof passes / sizeof passes[0]; i++) {
        fails = passes[i];
        come();
        asked = 0;
        while (asked == 0)
            uv_run(&loop, UV_RUN_ONCE);
        assert_true(uv_is_active((uv_handle_t *)&acceptor.poll));
        fails = 0;
        until_taken(i + 1);
    }
    assert_int_equal(bad, 0);
}

static void a_socket_that_libuv_looks_at_no_more_is_looked_at_again(void **state)
{
    (void)state;
    uv_poll_stop(&acceptor.poll);
    looked(&acceptor.poll, UV_EBADF, 0);
    assert_true(uv_is_active((uv_handle_t *)&acceptor.again));
    come();
    until_taken(1);
    assert_int_equal(bad, 1);
}

/* At once after each other: as long as it is not calm, all that is one lack. */
static void what_lacks_again_and_again_is_said_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        fails = EMFILE;
        come();
        looked(&acceptor.poll, 0, UV_READABLE);
        fails = 0;
        looked(&acceptor.poll, 0, UV_READABLE);
        assert_int_equal(taken, i + 1);
    }
    assert_int_equal(bad, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(whatever_stays_is_waited_for),
        TEST(what_passes_is_not),
        TEST(a_socket_that_libuv_looks_at_no_more_is_looked_at_again),
        TEST(what_lacks_again_and_again_is_said_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
