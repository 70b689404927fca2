/* An image as a process, with nothing but the descriptors of launch.h and the calls of
 * image_calls.h: the filter is made from the list here, as the sandbox makes its own, and a call
 * that is missing in it kills the image. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/image_calls.h"
#include "common/core/launch.h"
#include "common/core/ring.h"

#define ORDER       12
#define DEADLINE_MS 20000
#define DESCRIPTORS 8 /* channels: one */
#define CONSOLE_MAX 4096

/* One image and our end of it. */
struct guest {
    pid_t pid;
    int console;
    int control, channel;         /* memory files, until launch() */
    int doorbell, front_doorbell; /* its own, ours */
    struct ring ring;             /* channel 0, as a client */
    void *memory;
    size_t len;
};

static int memory_file(void)
{
    int fd = memfd_create("channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)ring_bytes(ORDER, ORDER)), 0);
    return fd;
}

static void *map_file(int fd)
{
    void *p = mmap(NULL, ring_bytes(ORDER, ORDER), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_true(p != MAP_FAILED);
    return p;
}

/* In the child: only what is safe after fork(), and no assertion. */
static int filter(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = ctx ? seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(execveat), 0) : -1;

#define RULE(name, index, mask, value, why)                                        \
    if (number == IMAGE_CALL_##name) {                                             \
        r |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 1,                      \
                              SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, mask, value)); \
        continue;                                                                  \
    }
    static const int calls[] = {
#define X(name, number, why) number,
        IMAGE_CALL_MAP(X)
#undef X
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int number = calls[i];

        IMAGE_CALL_RULE_MAP(RULE)
        r |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 0);
    }
#define X(name, number, error, why) r |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(error), number, 0);
    IMAGE_CALL_REFUSED_MAP(X)
#undef X
    return r ? r : seccomp_load(ctx);
}

static void prepare(struct guest *g)
{
    int control = memory_file(), channel = memory_file();
    void *control_memory = map_file(control);

    *g = (struct guest){.control = control,
                        .channel = channel,
                        .doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                        .front_doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                        .memory = map_file(channel),
                        .len = ring_bytes(ORDER, ORDER)};
    ring_format(control_memory, ORDER, ORDER);
    ring_format(g->memory, ORDER, ORDER);
    munmap(control_memory, g->len);
    assert_int_equal(ring_attach(&g->ring, g->memory, g->len, RING_CLIENT), RC_OK);
}

static void launch(struct guest *g, const char *what, const char *argument)
{
    static const char image[] = ROOMKEY_GUEST;
    const char *argv[] = {"guest", what, argument, NULL};
    char *const environment[] = {NULL};
    int console[2], image_fd = open(image, O_RDONLY | O_CLOEXEC);

    if (image_fd < 0)
        fail_msg("%s: %s", image, strerror(errno));
    assert_int_equal(pipe2(console, O_CLOEXEC), 0);
    g->console = console[0];

    g->pid = fork();
    assert_true(g->pid >= 0);
    if (g->pid == 0) {
        int from[DESCRIPTORS] = {
            open("/dev/null", O_RDWR), console[1], console[1],       g->doorbell, g->control,
            g->front_doorbell,         g->channel, g->front_doorbell};
        int above[DESCRIPTORS];

        image_fd = fcntl(image_fd, F_DUPFD_CLOEXEC, 4 * DESCRIPTORS);
        for (int i = 0; i < DESCRIPTORS; i++)
            above[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 2 * DESCRIPTORS);
        for (int i = 0; i < DESCRIPTORS; i++)
            dup2(above[i], i);
        if (filter() == 0)
            fexecve(image_fd, (char *const *)(uintptr_t)argv, environment);
        _exit(99);
    }
    close(console[1]);
    close(image_fd);
    close(g->control);
    close(g->channel);
}

/* Waits for the end: its wait status, and what it said. */
static int finish(struct guest *g, char *said)
{
    struct pollfd console = {.fd = g->console, .events = POLLIN};
    size_t n = 0;
    int status;

    for (;;) {
        ssize_t r;

        assert_int_equal(poll(&console, 1, DEADLINE_MS), 1);
        r = read(g->console, said + n, CONSOLE_MAX - 1 - n);
        assert_true(r >= 0);
        if (r == 0)
            break;
        n += (size_t)r;
    }
    said[n] = '\0';
    assert_int_equal(waitpid(g->pid, &status, 0), g->pid);
    close(g->console);
    close(g->doorbell);
    close(g->front_doorbell);
    munmap(g->memory, g->len);
    return status;
}

static void ring_guest(const struct guest *g)
{
    const uint64_t one = 1;

    assert_int_equal(write(g->doorbell, &one, sizeof one), sizeof one);
}

static void send_bytes(struct guest *g, const uint8_t *p, uint32_t n)
{
    struct ring_span span;
    uint32_t room;

    assert_int_equal(ring_writable(&g->ring, &span, &room), RC_OK);
    assert_true(room >= n && ring_span_fill(&span, 0, p, n));
    ring_publish(&g->ring, n);
    if (ring_must_notify(&g->ring, RING_NOTIFY_WRITE))
        ring_guest(g);
}

static void receive_bytes(struct guest *g, uint8_t *p, uint32_t n)
{
    struct pollfd doorbell = {.fd = g->front_doorbell, .events = POLLIN};
    struct ring_span span;
    uint64_t rung;
    uint32_t have;

    for (;;) {
        ring_want(&g->ring, RING_NOTIFY_WRITE);
        assert_int_equal(ring_readable(&g->ring, &span, &have), RC_OK);
        if (have >= n)
            break;
        assert_int_equal(poll(&doorbell, 1, DEADLINE_MS), 1);
        assert_int_equal(read(g->front_doorbell, &rung, sizeof rung), sizeof rung);
    }
    assert_true(ring_span_copy(&span, 0, p, n));
    ring_consume(&g->ring, n);
}

/*----- the tests -----*/

static void bytes_go_through_a_channel_and_back(void **state)
{
    uint8_t out[1500], in[sizeof out];
    char said[CONSOLE_MAX];
    struct guest g;

    (void)state;
    prepare(&g);
    launch(&g, "echo", NULL);
    for (unsigned round = 0; round < 8; round++) { /* three times around the ring */
        for (size_t i = 0; i < sizeof out; i++)
            out[i] = (uint8_t)(i * 7 + round);
        send_bytes(&g, out, sizeof out);
        receive_bytes(&g, in, sizeof in);
        assert_memory_equal(in, out, sizeof out);
    }
    ring_leave(&g.ring);
    ring_guest(&g);
    assert_int_equal(finish(&g, said), 0);
    assert_string_equal(said, "");
}

static void the_c_library_needs_no_call_but_the_listed(void **state)
{
    char said[CONSOLE_MAX];
    struct guest g;

    (void)state;
    prepare(&g);
    launch(&g, "libc", NULL);
    assert_int_equal(finish(&g, said), 0);
    assert_string_equal(said, "libc works on linux: 3.143\n");
}

static void the_exit_status_is_told(void **state)
{
    char said[CONSOLE_MAX];
    struct guest g;
    int status;

    (void)state;
    prepare(&g);
    launch(&g, "exit", "65");
    status = finish(&g, said);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 65);
}

static void a_failed_check_says_where_and_exits_134(void **state)
{
    char said[CONSOLE_MAX];
    struct guest g;
    int status;

    (void)state;
    prepare(&g);
    launch(&g, "check", NULL);
    status = finish(&g, said);
    assert_non_null(strstr(said, "guests/guest.c:"));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), LAUNCH_EXIT_PANIC);
}

/* As on every ground; the C library's would be a fault of process 1. */
static void abort_says_so_and_is_a_panic(void **state)
{
    char said[CONSOLE_MAX];
    struct guest g;
    int status;

    (void)state;
    prepare(&g);
    launch(&g, "abort", NULL);
    status = finish(&g, said);
    assert_string_equal(said, "roomkey: stopped: the app called abort()\n");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), LAUNCH_EXIT_PANIC);
}

static void each_break_of_a_rule_kills(void **state)
{
    static const struct {
        const char *what;
        int signal;
    } cases[] = {
        {"text", SIGSEGV},  {"rodata", SIGSEGV}, {"exec", SIGSEGV},
        {"null", SIGSEGV},  {"stack", SIGSEGV},  {"hlt", SIGSEGV},
        {"divide", SIGFPE}, {"socket", SIGSYS},  {"code", SIGSYS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char said[CONSOLE_MAX];
        struct guest g;
        int status;

        prepare(&g);
        launch(&g, cases[i].what, NULL);
        status = finish(&g, said);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != cases[i].signal)
            fail_msg("%s: wait status %#x, said: %s", cases[i].what, (unsigned)status, said);
    }
}

static void a_console_that_nobody_reads_does_not_kill(void **state)
{
    struct guest g;
    int status;

    (void)state;
    prepare(&g);
    launch(&g, "open", NULL); /* open() comes before the line it prints */
    close(g.console);
    g.console = -1;
    assert_int_equal(waitpid(g.pid, &status, 0), g.pid);
    assert_int_equal(status, 0);
    close(g.doorbell);
    close(g.front_doorbell);
    munmap(g.memory, g.len);
}

static void memory_that_is_no_channel_is_refused(void **state)
{
    char said[CONSOLE_MAX];
    struct guest g;

    (void)state;
    prepare(&g);
    g.ring.page->right_order = RING_ORDER_MAX + 1;
    launch(&g, "open", NULL);
    assert_int_equal(finish(&g, said), 0);
    assert_string_equal(said, "open: peer sent malformed data\n");
}

static void a_descriptor_that_is_no_memory_is_refused(void **state)
{
    char said[CONSOLE_MAX];
    struct guest g;

    (void)state;
    prepare(&g);
    assert_true(dup2(g.doorbell, g.channel) >= 0);
    launch(&g, "open", NULL);
    assert_int_equal(finish(&g, said), 0);
    assert_string_equal(said, "open: I/O error\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_through_a_channel_and_back),
        cmocka_unit_test(memory_that_is_no_channel_is_refused),
        cmocka_unit_test(a_descriptor_that_is_no_memory_is_refused),
        cmocka_unit_test(the_c_library_needs_no_call_but_the_listed),
        cmocka_unit_test(the_exit_status_is_told),
        cmocka_unit_test(a_failed_check_says_where_and_exits_134),
        cmocka_unit_test(abort_says_so_and_is_a_panic),
        cmocka_unit_test(each_break_of_a_rule_kills),
        cmocka_unit_test(a_console_that_nobody_reads_does_not_kill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
