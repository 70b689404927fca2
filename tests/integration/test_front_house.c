/* What the front does for itself: plain HTTP, limits, a worker that dies or was taken over.
 *
 * Seen to fail: HELLO said by the worker again; a link that has ended still polled by the parent
 * (it spins, and the worker stays); one with nonsense on it ignored. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/host/packet.h"
#include "front_peer.h"

static struct rig rig;

static void ask_http(const char *request, char *answer, size_t size)
{
    struct rig_client c;
    int tls = rig.port;
    ssize_t n;

    rig.port = rig.http_port;
    rig_connect(&rig, &c);
    rig.port = tls;
    assert_int_equal(write(c.fd, request, strlen(request)), (ssize_t)strlen(request));
    n = rig_raw(&c, answer, size - 1);
    assert_true(n > 0);
    answer[n] = '\0';
    rig_hang_up(&c, false);
}

static void plain_http_redirects_and_serves_challenges_and_nothing_else(void **state)
{
    static const struct {
        const char *request, *status, *part;
    } cases[] = {
        {"GET /a?b HTTP/1.1\r\nHost: ACME.example:80\r\n\r\n", "308",
         "Location: https://acme.example:"},
        {"POST /a HTTP/1.1\r\nHost: acme.example\r\n\r\n", "308", "/a\r\n"},
        {"GET / HTTP/1.1\r\n\r\n", "400", ""},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", ""},
        {"GET / HTTP/1.1\r\nHost: a b\"><\r\n\r\n", "308", "https://a:"},
        {"GET / HTTP/1.1\r\nHost: <x>\r\n\r\n", "400", ""},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", ""},
        {"GET /.well-known/acme-challenge/tok_EN-1 HTTP/1.1\r\n\r\n", "200", "\r\n\r\nproof"},
        {"GET /.well-known/acme-challenge/none HTTP/1.1\r\n\r\n", "404", ""},
        {"GET /.well-known/acme-challenge/../secret HTTP/1.1\r\n\r\n", "404", ""},
        {"GET /.well-known/acme-challenge/link HTTP/1.1\r\n\r\n", "404", ""},
        {"PUT /.well-known/acme-challenge/tok_EN-1 HTTP/1.1\r\n\r\n", "405", ""},
    };
    char dir[] = "/tmp/roomkey-acme-XXXXXX", command[512], answer[4096], status[32];
    const char *extra[] = {"--listen-http", "127.0.0.1:0", "--acme-dir", dir, NULL};

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof command,
             "cd %s && chmod 755 . && printf proof >tok_EN-1 && ln -s tok_EN-1 link", dir);
    assert_int_equal(system(command), 0);
    rig_start(&rig, extra);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask_http(cases[i].request, answer, sizeof answer);
        snprintf(status, sizeof status, "HTTP/1.1 %s ", cases[i].status);
        assert_memory_equal(answer, status, strlen(status));
        assert_non_null(strstr(answer, cases[i].part));
    }
    rig_stop(&rig);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void a_worker_that_is_killed_is_replaced_on_the_same_port(void **state)
{
    struct rig_tls how = {0};
    struct rig_tenant t;
    struct rig_client c;
    struct peer p;

    (void)state;
    rig_start(&rig, NULL);
    kill(rig.worker, SIGKILL);
    close(rig.orch);
    rig_hello(&rig, &c, &how); /* waits in the socket that the parent kept */
    assert_int_equal(rig_greet(&rig), 0);
    rig_tenant_make(&t, 1);
    peer_answer_wake(&rig, &t);
    assert_true(rig_shake(&c));
    peer_take(&t, &p);
    peer_exchange(&t, &p, &c);
    peer_dispose(&p);
    rig_hang_up(&c, true);
    rig_stop(&rig);
    rig_tenant_free(&t);
}

/* Else one that was taken over could be given the channels of another. */
static void a_worker_cannot_say_which_it_is(void **state)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    uint8_t buf[CONTROL_SIZE_MAX];
    struct iovec iov = {.iov_base = buf, .iov_len = sizeof buf};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    const int on = 1;
    struct control_msg m;
    struct ucred who;
    ssize_t n;

    (void)state;
    rig_start(&rig, NULL);
    assert_int_equal(setsockopt(rig.listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    close(rig.orch);
    rig.orch = accept4(rig.listener, NULL, NULL, SOCK_CLOEXEC); /* the worker's next */
    n = recvmsg(rig.orch, &msg, 0);
    assert_true(n > 0);
    assert_int_equal(control_decode(buf, (size_t)n, &m), RC_OK);
    assert_int_equal(m.type, CONTROL_HELLO);
    assert_int_equal(m.hello.pid, rig.worker);
    assert_int_equal(CMSG_FIRSTHDR(&msg)->cmsg_type, SCM_CREDENTIALS);
    memcpy(&who, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof who);
    assert_int_equal(who.pid, rig.front); /* its parent has said so */
    rig_stop(&rig);
}

static void break_link(bool nonsense)
{
    pid_t before = rig.worker;
    int fd = rig_taken(&rig, RIG_TO_PARENT);

    if (nonsense)
        assert_int_equal(packet_write(fd, "?", 1, NULL, 0), RC_OK);
    else
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
    close(fd);
    close(rig.orch);
    assert_int_equal(rig_greet(&rig), 0);
    assert_int_not_equal(rig.worker, before);
}

/* The parent is root's, and has all workers to look after. */
static void a_worker_that_breaks_its_link_to_the_parent_is_ended_and_replaced(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root may take what is another process's */
    rig_start(&rig, NULL);
    break_link(false);
    break_link(true);
    rig_stop(&rig);
}

static void a_source_that_comes_too_often_is_turned_away(void **state)
{
    static const char *const extra[] = {"--rate", "2", NULL};
    struct control_msg m;
    struct rig_client c;
    char byte;

    (void)state;
    rig_start(&rig, extra);
    for (int i = 0; i < 5; i++) { /* two seconds' worth are free */
        rig_connect(&rig, &c);
        if (i == 4)
            assert_int_equal(rig_raw(&c, &byte, 1), -1);
        rig_hang_up(&c, false);
    }
    do
        rig_expect(&rig, CONTROL_STATS, &m);
    while (m.counters[CONTROL_COUNTER_refused_rate_total] == 0);
    rig_stop(&rig);
}

/* Without a descriptor left a worker could not go on.  Seen to fail: without the looks at
 * worker_is_last_file(), of either port: the worker is ended for an open(). */
static void clients_do_not_get_the_last_descriptors(void **state)
{
    enum { FILES = 100, CLIENTS = 150 };
    static const char *const extra[] = {"--listen-http", "127.0.0.1:0", NULL};
    struct rig_client c[CLIENTS], plain[CLIENTS];
    struct control_msg m;
    int port;
    char byte;

    (void)state;
    rig_files = FILES;
    rig_start(&rig, extra);
    rig_files = 0;
    for (int i = 0; i < CLIENTS; i++)
        rig_connect(&rig, &c[i]);
    port = rig.port;
    rig.port = rig.http_port;
    for (int i = 0; i < CLIENTS; i++)
        rig_connect(&rig, &plain[i]);
    rig.port = port;
    do
        rig_expect(&rig, CONTROL_STATS, &m);
    while (m.counters[CONTROL_COUNTER_refused_limit_total] < CLIENTS - FILES);
    assert_true(rig_raw(&plain[CLIENTS - 1], &byte, 1) <= 0);
    for (int i = 0; i < CLIENTS; i++) {
        rig_hang_up(&c[i], true);
        rig_hang_up(&plain[i], true);
    }
    do /* it is still the same worker that tells */
        rig_expect(&rig, CONTROL_STATS, &m);
    while (m.counters[CONTROL_COUNTER_connections] > 0);
    rig_stop(&rig);
}

static void a_hello_that_does_not_come_is_not_waited_for(void **state)
{
    static const char *const extra[] = {"--hello-timeout", "1", NULL};
    struct rig_client c;
    char byte;

    (void)state;
    rig_start(&rig, extra);
    rig_connect(&rig, &c);
    assert_int_equal(write(c.fd, "\x16\x03\x01\x02", 4), 4);
    assert_int_equal(rig_raw(&c, &byte, 1), -1);
    rig_hang_up(&c, false);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_http_redirects_and_serves_challenges_and_nothing_else),
        cmocka_unit_test(a_worker_that_is_killed_is_replaced_on_the_same_port),
        cmocka_unit_test(a_worker_cannot_say_which_it_is),
        cmocka_unit_test(a_worker_that_breaks_its_link_to_the_parent_is_ended_and_replaced),
        cmocka_unit_test(a_source_that_comes_too_often_is_turned_away),
        cmocka_unit_test(clients_do_not_get_the_last_descriptors),
        cmocka_unit_test(a_hello_that_does_not_come_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
