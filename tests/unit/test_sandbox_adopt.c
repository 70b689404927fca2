/* Instances outlive the orchestrator that started them, and are found again.
 *
 * Seen to fail: a sweep that waits for each stray before it kills the next. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/sandbox_house.h"
#include "tests/unit/unit.h"

static const struct backend_ops *const ops = &backend_sandbox;
static bool held; /* who is killed stays, as for a disk that does not answer */
static int waited_ms;

/* libc's, for this program. */
int poll(struct pollfd *fds, nfds_t nr, int ms)
{
    if (!held)
        return (int)syscall(SYS_poll, fds, nr, ms);
    waited_ms += ms;
    usleep((useconds_t)ms * 1000);
    return 0;
}

static void is_adopted_by_a_second_backend(void **state)
{
    struct backend_channel before, after;
    struct backend_handle handle;
    static struct guest g;
    uint64_t one = 1;
    struct house h;
    char *page;

    (void)state;
    house_open(&h);
    guest_start(&g, &h, "serve", 2);
    guest_wait_line(&g, "waiting");
    ops->handle(g.instance, &handle);
    assert_int_equal(ops->channel(g.instance, 1, &before), RC_OK);
    page = mmap(NULL, before.len, PROT_READ | PROT_WRITE, MAP_SHARED, before.memory_fd, 0);
    assert_true(page != MAP_FAILED);
    page[5000] = 'k';
    munmap(page, before.len);
    backend_channel_close(&before);
    guest_dispose(&g);
    house_close(&h);

    house_open(&h);
    assert_int_equal(guest_adopt(&g, &h, &handle, 2), RC_OK);
    assert_int_equal(ops->channel(g.instance, 1, &after), RC_OK);
    assert_int_equal(after.len, before.len);
    page = mmap(NULL, after.len, PROT_READ | PROT_WRITE, MAP_SHARED, after.memory_fd, 0);
    assert_true(page != MAP_FAILED);
    assert_int_equal(page[5000], 'k');
    munmap(page, after.len);
    assert_int_equal(write(after.bell.out_fd, &one, 8), 8);
    guest_wait_line(&g, "rung");
    backend_channel_close(&after);
    ops->kill(g.instance);
    guest_wait_exit(&g);
    assert_int_equal(g.started, 0);
    assert_true(g.why.started);
    assert_string_equal(g.why.text, "killed by SIGKILL"); /* this process is its parent */
    guest_dispose(&g);
    house_close(&h);
}

static void ring(struct guest *g)
{
    struct backend_channel control;
    uint64_t one = 1;

    assert_int_equal(ops->control(g->instance, &control), RC_OK);
    assert_int_equal(write(control.bell.out_fd, &one, 8), 8);
    guest_wait_line(g, "rung");
    backend_channel_close(&control);
}

static void stop(struct guest *g)
{
    ops->kill(g->instance);
    guest_wait_exit(g);
    guest_dispose(g);
}

/* What a first orchestrator does until it dies: everything but the goodbye. */
static void first_orchestrator(int out)
{
    struct backend_handle handle;
    static struct guest g;
    struct house h;

    house_open(&h);
    guest_start(&g, &h, "serve", 1);
    guest_wait_line(&g, "waiting");
    ops->handle(g.instance, &handle);
    rmdir(h.state);
    _exit(write(out, &handle, sizeof handle) != sizeof handle);
}

static void is_adopted_by_a_second_process(void **state)
{
    struct backend_handle handle;
    static struct guest g;
    int ends[2], status;
    struct house h;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        first_orchestrator(ends[1]);
    close(ends[1]);
    assert_int_equal(read(ends[0], &handle, sizeof handle), sizeof handle);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);

    house_open(&h);
    assert_int_equal(guest_adopt(&g, &h, &handle, 1), RC_OK);
    for (int i = 0; i < 2; i++) {
        ring(&g);
        g.console_len = 0;
        g.console[0] = 0;
    }
    ops->kill(g.instance);
    guest_wait_exit(&g);
    assert_int_equal(g.exited, 1);
    assert_non_null(strstr(g.why.text, "status unknown"));
    guest_dispose(&g);
    assert_int_equal(guest_adopt(&g, &h, &handle, 1), RC_NOT_FOUND);
    house_close(&h);
}

static void is_not_mistaken_for_another(void **state)
{
    struct house *h = *state;
    struct backend_handle handle, other;
    static struct guest g, adopted;
    unsigned long long start;
    unsigned uid;
    int pid;

    guest_start(&g, h, "serve", 1);
    guest_wait_line(&g, "waiting");
    ops->handle(g.instance, &handle);
    assert_int_equal(sscanf(handle.text, "pid=%d start=%llu uid=%u", &pid, &start, &uid), 3);

    snprintf(other.text, sizeof other.text, "pid=%d start=%llu uid=%u", pid, start + 1, uid);
    assert_int_equal(guest_adopt(&adopted, h, &other, 1), RC_NOT_FOUND);
    snprintf(other.text, sizeof other.text, "pid=%d start=%llu uid=%u", pid, start, uid + 1);
    assert_int_equal(guest_adopt(&adopted, h, &other, 1), RC_NOT_FOUND);
    snprintf(other.text, sizeof other.text, "pid=%d start=%llu uid=%u", getpid(), start, uid);
    assert_int_equal(guest_adopt(&adopted, h, &other, 1), RC_NOT_FOUND);
    /* It has fewer channels than that. */
    assert_int_equal(guest_adopt(&adopted, h, &handle, 2), RC_NOT_FOUND);

    ops->kill(g.instance);
    guest_wait_exit(&g);
    guest_dispose(&g);
}

static void wait_gone(const char *handle)
{
    struct pollfd p = {.events = POLLIN};
    int pid;

    assert_int_equal(sscanf(handle, "pid=%d", &pid), 1);
    p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p.fd < 0)
        return;
    assert_int_equal(poll(&p, 1, 10000), 1);
    close(p.fd);
}

static void is_swept_when_nobody_adopts_it(void **state)
{
    static struct guest kept, stray, foreign, again;
    struct backend_handle kept_handle, stray_handle;
    struct house first, second, other;

    (void)state;
    house_open(&other);
    guest_start(&foreign, &other, "serve", 1);
    guest_wait_line(&foreign, "waiting");

    house_open(&first);
    house_move_image(&first);
    guest_start(&kept, &first, "serve", 1);
    guest_start(&stray, &first, "serve", 1);
    guest_wait_line(&kept, "waiting");
    guest_wait_line(&stray, "waiting");
    ops->handle(kept.instance, &kept_handle);
    ops->handle(stray.instance, &stray_handle);
    guest_dispose(&kept);
    guest_dispose(&stray);
    house_leave(&first);

    house_open_again(&second, &first);
    assert_int_equal(guest_adopt(&kept, &second, &kept_handle, 1), RC_OK);
    ops->sweep(second.backend);
    wait_gone(stray_handle.text);
    assert_int_equal(guest_adopt(&again, &second, &stray_handle, 1), RC_NOT_FOUND);

    /* The others were left alone: they still do what they are told. */
    ring(&kept);
    ring(&foreign);
    stop(&kept);
    stop(&foreign);
    house_close(&second);
    house_close(&other);
}

static void strays_that_do_not_go_are_waited_for_together(void **state)
{
    static struct guest strays[3];
    struct backend_handle handles[3];
    struct house first, second;

    (void)state;
    house_open(&first);
    house_move_image(&first);
    for (int i = 0; i < 3; i++) {
        guest_start(&strays[i], &first, "serve", 1);
        guest_wait_line(&strays[i], "waiting");
        ops->handle(strays[i].instance, &handles[i]);
        guest_dispose(&strays[i]);
    }
    house_leave(&first);
    house_open_again(&second, &first);
    waited_ms = 0;
    held = true;
    ops->sweep(second.backend);
    held = false;
    assert_in_range(waited_ms, 1, 1500);
    for (int i = 0; i < 3; i++)
        wait_gone(handles[i].text);
    house_close(&second);
}

static void refuses_a_handle_that_is_none(void **state)
{
    struct house *h = *state;
    static const char *const bad[] = {
        "", "pid=1 start=2 uid=3", "pid=5", "pid=5 start=6 uid=7 more", "pid=-5 start=6 uid=7",
    };
    struct backend_handle handle;
    static struct guest g;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        strcpy(handle.text, bad[i]);
        assert_int_equal(guest_adopt(&g, h, &handle, 1), RC_INVAL);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_adopted_by_a_second_backend),
        cmocka_unit_test(is_adopted_by_a_second_process),
        TEST(is_not_mistaken_for_another),
        cmocka_unit_test(is_swept_when_nobody_adopts_it),
        cmocka_unit_test(strays_that_do_not_go_are_waited_for_together),
        TEST(refuses_a_handle_that_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
