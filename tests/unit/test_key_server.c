/* The key agent's socket with real peers, and a certificate store of one key.
 *
 * Seen to fail: is_trusted() of local_socket.c -> true; the call of cert_store_watch_keys() left
 * out; KEY taken before HELLO. */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/core/control.h"
#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/host/packet.h"
#include "orchestrator/key_server.h"
#include "scratch.h"

#define KEY  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NONE "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

struct house {
    struct scratch scratch;
    uv_loop_t loop;
    struct cert_store *certs;
    struct key_server *server;
};

static int set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);
    struct refusal no;

    scratch_make(&h->scratch);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    assert_int_equal(cert_store_open(&h->loop, h->scratch.dir, "/bin/false", &h->certs, &no),
                     RC_OK);
    assert_int_equal(scratch_sh(&h->scratch, "echo the key >keys/" KEY ".pem"), 0);
    assert_int_equal(key_server_open(&h->loop, h->scratch.dir, h->certs, &h->server, &no), RC_OK);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct house *h = *state;

    key_server_close(h->server);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    cert_store_close(h->certs);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

static void turn(struct house *h)
{
    for (unsigned n = 0; n < 5; n++)
        uv_run(&h->loop, UV_RUN_NOWAIT);
}

static int dial(struct house *h)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/agent.sock", h->scratch.dir);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(struct house *h, int fd, const struct control_msg *m)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    assert_int_equal(control_encode(m, buf, sizeof buf, &len), RC_OK);
    assert_int_equal(packet_write(fd, buf, len, NULL, 0), RC_OK);
    turn(h);
}

/* *key is the descriptor that came along, or -1. */
static enum rc hear(int fd, struct control_msg *m, int *key)
{
    uint8_t buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;
    enum rc rc = packet_read(fd, buf, sizeof buf, &len, fds, &nfds);

    *key = !rc && nfds == 1 ? fds[0] : -1;
    return rc ? rc : control_decode(buf, len, m);
}

static int greeted(struct house *h)
{
    struct control_msg m = {.type = CONTROL_HELLO};
    int fd = dial(h), key;

    assert_true(fd >= 0);
    m.hello.control_version = CONTROL_VERSION;
    say(h, fd, &m);
    assert_int_equal(hear(fd, &m, &key), RC_OK);
    assert_int_equal(m.type, CONTROL_WELCOME);
    assert_int_equal(m.welcome.control_version, CONTROL_VERSION);
    return fd;
}

static struct control_msg ask(uint64_t request, const char *key)
{
    struct control_msg m = {.type = CONTROL_KEY};

    m.key.request = request;
    strcpy(m.key.key, key);
    return m;
}

static void a_key_comes_as_a_descriptor_that_can_only_be_read(void **state)
{
    struct house *h = *state;
    struct control_msg m = ask(7, KEY);
    int fd = greeted(h), key;
    char text[16] = "";

    say(h, fd, &m);
    assert_int_equal(hear(fd, &m, &key), RC_OK);
    assert_int_equal(m.type, CONTROL_KEY_FILE);
    assert_int_equal(m.request, 7);
    assert_int_equal(pread(key, text, 7, 0), 7);
    assert_string_equal(text, "the key");
    assert_int_equal(fcntl(key, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(key);
    close(fd);
}

static void a_key_that_is_not_there_or_cannot_be_one_is_refused(void **state)
{
    static const struct {
        const char *key;
        enum rc why;
    } cases[] = {{NONE, RC_NOT_FOUND}, {"../certs/x", RC_INVAL}, {"", RC_INVAL}};
    struct house *h = *state;
    int fd = greeted(h), key;

    for (size_t i = 0; i < 3; i++) {
        struct control_msg m = ask(i + 1, cases[i].key);

        say(h, fd, &m);
        assert_int_equal(hear(fd, &m, &key), RC_OK);
        assert_int_equal(m.type, CONTROL_REFUSED);
        assert_int_equal(m.refused.request, i + 1);
        assert_int_equal(m.refused.why, cases[i].why);
        assert_int_equal(key, -1);
    }
    close(fd);
}

static void what_no_key_agent_says_ends_its_connection(void **state)
{
    struct house *h = *state;
    struct control_msg m = ask(1, KEY);
    int fd = dial(h), key;

    say(h, fd, &m); /* before HELLO */
    assert_int_equal(hear(fd, &m, &key), RC_CLOSED);
    close(fd);

    fd = greeted(h);
    m = ask(0, KEY);
    say(h, fd, &m);
    assert_int_equal(hear(fd, &m, &key), RC_CLOSED);
    close(fd);

    fd = greeted(h);
    m = (struct control_msg){.type = CONTROL_SYNCED};
    say(h, fd, &m);
    assert_int_equal(hear(fd, &m, &key), RC_CLOSED);
    close(fd);

    fd = greeted(h);
    assert_int_equal(packet_write(fd, "\xff", 1, NULL, 0), RC_OK);
    turn(h);
    assert_int_equal(hear(fd, &m, &key), RC_CLOSED);
    close(fd);
}

static void an_agent_of_another_release_hears_why(void **state)
{
    struct house *h = *state;
    struct control_msg m = {.type = CONTROL_HELLO};
    int fd = dial(h), key;

    m.hello.control_version = CONTROL_VERSION + 1;
    say(h, fd, &m);
    assert_int_equal(hear(fd, &m, &key), RC_OK);
    assert_int_equal(m.type, CONTROL_REFUSED);
    assert_int_equal(m.refused.why, RC_VERSION);
    assert_int_equal(hear(fd, &m, &key), RC_CLOSED);
    close(fd);
}

static bool used_is(void *arg, const char *hash)
{
    (void)hash;
    return *(bool *)arg;
}

static void the_agent_is_told_of_a_key_that_was_removed(void **state)
{
    struct house *h = *state;
    bool used = true;
    struct cert_store_users users = {.chain = used_is, .key = used_is, .arg = &used};
    int fd = greeted(h), key;
    struct control_msg m;

    cert_store_drop(h->certs, NONE, KEY, &users);
    assert_int_equal(hear(fd, &m, &key), RC_AGAIN);
    used = false;
    cert_store_drop(h->certs, NONE, KEY, &users);
    assert_int_equal(hear(fd, &m, &key), RC_OK);
    assert_int_equal(m.type, CONTROL_FORGET);
    assert_string_equal(m.key.key, KEY);
    close(fd);
}

static void another_user_is_turned_away(void **state)
{
    struct house *h = *state;
    struct control_msg m;
    int fd, key, status;
    struct pollfd p;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    /* Were the modes wrong, it would still be: so they are made wrong. */
    assert_int_equal(scratch_sh(&h->scratch, "chmod 755 . && chmod 666 agent.sock"), 0);
    pid = fork();
    if (pid == 0) {
        if (setuid(65534) != 0)
            _exit(2);
        fd = dial(h);
        if (fd < 0)
            _exit(3);
        p = (struct pollfd){.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 10000) == 1 && hear(fd, &m, &key) == RC_CLOSED)
            _exit(0);
        _exit(4);
    }
    while (waitpid(pid, &status, WNOHANG) == 0)
        uv_run(&h->loop, UV_RUN_NOWAIT);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_key_comes_as_a_descriptor_that_can_only_be_read),
        T(a_key_that_is_not_there_or_cannot_be_one_is_refused),
        T(what_no_key_agent_says_ends_its_connection),
        T(an_agent_of_another_release_hears_why),
        T(the_agent_is_told_of_a_key_that_was_removed),
        T(another_user_is_turned_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
