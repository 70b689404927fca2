/* Messages may hold secrets: neither the queue nor the stack of who sent or got one keeps it.
 *
 * Looked for in the memory of a child, as who looks for something has it.
 *
 * Seen to fail: the secret_wipe() of free_first() taken out; that of on_poll(). */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/secret.h"
#include "common/host/packet.h"
#include "memory_search.h"
#include "unit.h"

#define SECRET 32u
#define AT     64u /* what frees a message overwrites its beginning */
#define SIZE   1024u

struct child {
    uv_loop_t loop;
    struct packet packet;
    bool got;
};

static void on_message(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct child *c = p->data;

    (void)buf, (void)len, (void)fds, (void)nfds;
    c->got = true;
}

static void on_lost(struct packet *p, enum rc why)
{
    (void)p, (void)why;
    _exit(2);
}

static void on_closed(struct packet *p)
{
    (void)p;
}

/* Tells the parent that it has come so far, and waits for its word. */
static void reached(int control)
{
    char word = 0;

    if (write(control, &word, 1) != 1 || read(control, &word, 1) != 1)
        _exit(3);
}

static void child_run(int control, int fd)
{
    static const struct packet_ops ops = {on_message, on_lost, on_closed};
    static struct child c;
    uint8_t message[SIZE] = {0};

    if (read(control, message + AT, SECRET) != SECRET || uv_loop_init(&c.loop) != 0 ||
        packet_open(&c.packet, &c.loop, fd, &ops, &c) != RC_OK)
        _exit(4);
    while (c.packet.queued < 8)
        if (packet_send(&c.packet, message, sizeof message, NULL, 0) != RC_OK)
            _exit(5);
    secret_wipe(message, sizeof message);
    reached(control);
    while (c.packet.queued > 0)
        uv_run(&c.loop, UV_RUN_ONCE);
    reached(control);
    while (!c.got)
        uv_run(&c.loop, UV_RUN_ONCE);
    reached(control);
    _exit(0);
}

static void await(int control)
{
    char word;

    assert_int_equal(read(control, &word, 1), 1);
}

static void neither_the_queue_nor_the_stack_keeps_a_message(void **state)
{
    int control[2], pair[2], status;
    uint8_t message[SIZE] = {0}, *secret = message + AT, got[SIZE];
    pid_t pid;

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it keeps what was freed, and maps more than can be searched */
#endif
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(control[0]); /* so that it sees when this process has ended */
        close(pair[0]);
        child_run(control[1], pair[1]);
    }
    close(control[1]);
    close(pair[1]);
    assert_int_equal(getrandom(secret, SECRET, 0), SECRET);
    assert_int_equal(write(control[0], secret, SECRET), SECRET);

    await(control[0]);
    assert_true(memory_has(pid, secret, SECRET)); /* in the queue: the search works */
    assert_int_equal(write(control[0], "", 1), 1);
    /* Until the child says that its queue is empty. */
    while (recv(control[0], got, 1, MSG_DONTWAIT) != 1)
        (void)recv(pair[0], got, sizeof got, MSG_DONTWAIT);
    assert_false(memory_has(pid, secret, SECRET));

    assert_int_equal(write(control[0], "", 1), 1);
    assert_int_equal(send(pair[0], message, sizeof message, 0), sizeof message);
    await(control[0]);
    assert_false(memory_has(pid, secret, SECRET));
    assert_int_equal(write(control[0], "", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(control[0]);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neither_the_queue_nor_the_stack_keeps_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
