/* An instance's life on the ground "sandbox": started, heard, rung, stopped, and
 * nothing left.  What it cannot do is in test_sandbox_walls.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/sandbox_house.h"
#include "tests/unit/unit.h"

static const struct backend_ops *const ops = &backend_sandbox;

static unsigned count_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Processes of this house: by the program that they run. */
static unsigned count_guests(const char *image)
{
    char path[300], exe[512];
    unsigned count = 0;
    struct dirent *e;
    DIR *d = opendir("/proc");
    ssize_t n;

    assert_non_null(d);
    while ((e = readdir(d))) {
        snprintf(path, sizeof path, "/proc/%s/exe", e->d_name);
        n = readlink(path, exe, sizeof exe - 1);
        exe[n > 0 ? n : 0] = 0;
        if (!strcmp(exe, image))
            count++;
    }
    closedir(d);
    return count;
}

static void starts_and_leaves_with_its_status(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_run(&g, h, "exit-0", 1);
    assert_int_equal(g.started, 1);
    assert_true(g.why.started);
    assert_true(g.why.clean);
    assert_string_equal(g.why.text, "exit status 0");

    guest_run(&g, h, "exit-65", 1);
    assert_true(g.why.started);
    assert_false(g.why.clean);
    assert_string_equal(g.why.text, "exit status 65 (on_start failed)");
}

static void tells_a_crash_in_words(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_run(&g, h, "segv", 1);
    assert_false(g.why.clean);
    assert_string_equal(g.why.text, "killed by SIGSEGV");
}

static void is_launched_with_its_arguments(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_run(&g, h, "arguments", 3);
    assert_true(guest_said(&g, "roomkey.tenant=arguments"));
    assert_true(guest_said(&g, "roomkey.generation=7"));
    assert_true(guest_said(&g, "roomkey.channels=3"));
    assert_true(guest_said(&g, "roomkey.memory=16384"));
}

static void has_the_descriptors_of_launch_and_no_other(void **state)
{
    struct house *h = *state;
    static struct guest g;
    int low[8];

    /* Some of ours that would be inherited if anything were. */
    for (int i = 0; i < 8; i++)
        assert_true((low[i] = open("/dev/null", O_RDONLY)) >= 0);
    guest_run(&g, h, "descriptors", 2);
    assert_true(guest_said(&g, "open: 0 1 2 3 4 5 6 7 8 9"));
    for (int i = 0; i < 8; i++)
        close(low[i]);
}

static void serves_as_many_channels_as_can_be_launched(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_run(&g, h, "descriptors", 64);
    assert_int_equal(g.exited, 1);
    assert_string_equal(g.why.text, "exit status 0");
    assert_non_null(strstr(g.console, " 132 133\n"));
}

static uint64_t take_ring(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof n) == sizeof n ? n : 0;
}

static void shares_sealed_memory_and_doorbells(void **state)
{
    struct house *h = *state;
    static struct guest g;
    struct backend_channel control, one;
    uint64_t ring = 1;
    char *page;

    guest_start(&g, h, "channels", 2);
    assert_int_equal(ops->control(g.instance, &control), RC_OK);
    assert_int_equal(ops->channel(g.instance, 1, &one), RC_OK);
    assert_int_equal(control.len, 4096 + 2 * 8192);
    assert_int_equal(one.len, 4096 + (1 << 17) + (1 << 18));
    assert_int_equal(ftruncate(one.memory_fd, 0), -1);
    page = mmap(NULL, control.len, PROT_READ | PROT_WRITE, MAP_SHARED, control.memory_fd, 0);
    assert_true(page != MAP_FAILED);
    assert_int_equal(write(control.bell.out_fd, &ring, 8), 8);
    guest_wait_line(&g, "rung");
    assert_int_equal(page[4095], 'x');
    assert_int_equal(take_ring(control.bell.in_fd), 1);
    assert_int_equal(take_ring(one.bell.in_fd), 1);
    guest_wait_exit(&g);
    assert_string_equal(g.why.text, "exit status 0");
    munmap(page, control.len);
    backend_channel_close(&control);
    backend_channel_close(&one);
    guest_dispose(&g);
}

static void hears_its_console_in_bounded_lines(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_run(&g, h, "lines", 1);
    assert_true(guest_said(&g, "one"));
    assert_true(guest_said(&g, "two"));
    assert_true(guest_said(&g, "unfinished"));
    assert_int_equal(g.lines, 4);
    assert_int_equal(g.console_len, 4 + 4 + 1025 + 11);
}

static void is_not_drowned_by_a_flood(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_run(&g, h, "flood", 1);
    /* 4 MB were written; one second's budget and one pipe can be heard of it. */
    assert_string_equal(g.why.text, "exit status 0");
    assert_true(g.lines > 100 && g.lines <= (2 * 256 + 64) * 1024 / 200 + 1);
}

static void is_killed(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_start(&g, h, "serve", 1);
    guest_wait_line(&g, "waiting");
    ops->kill(g.instance);
    assert_int_equal(g.exited, 0);
    guest_wait_exit(&g);
    assert_string_equal(g.why.text, "killed by SIGKILL");
    ops->kill(g.instance); /* once more is harmless */
    guest_dispose(&g);
}

static void is_killed_while_it_starts(void **state)
{
    struct house *h = *state;
    static struct guest g;

    guest_start(&g, h, "serve", 1);
    ops->kill(g.instance);
    guest_wait_exit(&g);
    assert_int_equal(g.exited, 1);
    assert_string_equal(g.why.text, "killed by SIGKILL");
    guest_dispose(&g);
}

static char process_state(const struct guest *g)
{
    struct backend_handle handle;
    char path[64], text[256] = "", *after;
    int pid, fd;

    ops->handle(g->instance, &handle);
    assert_int_equal(sscanf(handle.text, "pid=%d", &pid), 1);
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    after = strrchr(text, ')');
    assert_non_null(after);
    return after[2];
}

static void is_paused_and_goes_on(void **state)
{
    struct house *h = *state;
    struct backend_channel control;
    static struct guest g;
    uint64_t ring = 1;

    guest_start(&g, h, "serve", 1);
    guest_wait_line(&g, "waiting");
    assert_int_equal(ops->pause(g.instance, true), RC_OK);
    while (process_state(&g) != 'T')
        ; /* the kernel stops it when it next runs: at once */
    assert_int_equal(ops->pause(g.instance, false), RC_OK);
    assert_int_equal(ops->control(g.instance, &control), RC_OK);
    assert_int_equal(write(control.bell.out_fd, &ring, 8), 8);
    guest_wait_line(&g, "rung");
    backend_channel_close(&control);
    ops->kill(g.instance);
    guest_wait_exit(&g);
    guest_dispose(&g);
}

static void tells_what_it_uses(void **state)
{
    struct house *h = *state;
    struct backend_usage usage;
    static struct guest g;

    guest_start(&g, h, "serve", 1);
    guest_wait_line(&g, "waiting");
    assert_int_equal(ops->usage(g.instance, &usage), RC_OK);
    assert_true(usage.memory >= 4096 && usage.memory < 16u << 20);
    ops->kill(g.instance);
    guest_wait_exit(&g);
    assert_int_equal(ops->usage(g.instance, &usage), RC_NOT_FOUND);
    guest_dispose(&g);
}

static void says_which_step_of_a_start_failed(void **state)
{
    struct house *h = *state;
    static struct guest g;
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/image", h->state);

    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    guest_start_fd(&g, h, "exit-0", 1, fd);
    guest_wait_exit(&g);
    assert_int_equal(g.started, 0);
    assert_false(g.why.started);
    assert_non_null(strstr(g.why.text, "could not execute the image: Permission denied; "));
    guest_dispose(&g);

    assert_int_equal(fchmod(fd, 0711), 0);
    assert_int_equal(write(fd, "garbage!", 8), 8);
    close(fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    guest_start_fd(&g, h, "exit-0", 1, fd);
    guest_wait_exit(&g);
    assert_false(g.why.started);
    assert_non_null(strstr(g.why.text, "could not execute the image: Exec format error; "));
    guest_dispose(&g);
    close(fd);
    unlink(path);
}

static void refuses_what_cannot_be_started(void **state)
{
    struct house *h = *state;
    struct backend_events none = {0};
    struct backend_instance *i = NULL;
    struct backend_spec spec = {.tenant = "a", .image_fd = -1, .memory = 16u << 20};
    unsigned before;

    before = count_descriptors();
    assert_int_equal(ops->start(h->backend, &spec, &none, NULL, &i), RC_INVAL);
    spec.image_fd = 0;
    spec.channels = 65;
    assert_int_equal(ops->start(h->backend, &spec, &none, NULL, &i), RC_INVAL);
    spec.channels = 1;
    spec.memory = 1000;
    assert_int_equal(ops->start(h->backend, &spec, &none, NULL, &i), RC_INVAL);
    assert_null(i);
    assert_int_equal(count_descriptors(), before);
}

static void leaves_nothing_after_fifty_lives(void **state)
{
    struct house *h = *state;
    static struct guest g;
    unsigned before;

    guest_run(&g, h, "exit-0", 8);
    before = count_descriptors();
    for (int i = 0; i < 50; i++) {
        guest_start(&g, h, i % 2 ? "serve" : "exit-0", 8);
        if (i % 2) {
            guest_wait_line(&g, "waiting");
            ops->kill(g.instance);
        }
        guest_wait_exit(&g);
        assert_int_equal(g.started, 1);
        guest_dispose(&g);
    }
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(count_guests(h->image), 0);
}

static void closes_while_instances_start(void **state)
{
    static struct guest g[10];
    unsigned before = count_descriptors();
    struct house h;

    (void)state;
    house_open(&h);
    for (int i = 0; i < 10; i++)
        guest_start(&g[i], &h, "exit-0", 2);
    for (int i = 0; i < 10; i++)
        guest_dispose(&g[i]);
    house_close(&h);
    assert_int_equal(count_descriptors(), before);
}

static void probe_finds_this_host_good(void **state)
{
    char why[BACKEND_TEXT_MAX] = "";
    unsigned before = count_descriptors();

    (void)state;
    if (ops->probe(why, sizeof why))
        fail_msg("%s", why);
    print_message("probe: %s\n", why[0] ? why : "ok");
    assert_int_equal(count_descriptors(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_and_leaves_with_its_status),
        TEST(tells_a_crash_in_words),
        TEST(is_launched_with_its_arguments),
        TEST(has_the_descriptors_of_launch_and_no_other),
        TEST(serves_as_many_channels_as_can_be_launched),
        TEST(shares_sealed_memory_and_doorbells),
        TEST(hears_its_console_in_bounded_lines),
        TEST(is_not_drowned_by_a_flood),
        TEST(is_killed),
        TEST(is_killed_while_it_starts),
        TEST(is_paused_and_goes_on),
        TEST(tells_what_it_uses),
        TEST(says_which_step_of_a_start_failed),
        TEST(refuses_what_cannot_be_started),
        TEST(leaves_nothing_after_fifty_lives),
        cmocka_unit_test(closes_while_instances_start),
        cmocka_unit_test(probe_finds_this_host_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
