/* Limits by cgroup v2.  A host without its memory controller shows the folders'
 * life only: what is written into them is read from an ordinary folder here. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "orchestrator/backend/sandbox/sandbox_cgroup.h"
#include "tests/unit/unit.h"

static void finds_where_cgroup2_is_mounted(void **state)
{
    static const char hybrid[] =
        "31 25 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n"
        "32 25 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n";
    char out[64];

    (void)state;
    assert_true(sandbox_cgroup_parse_mount(hybrid, out, sizeof out));
    assert_string_equal(out, "/sys/fs/cgroup/unified");
    assert_true(sandbox_cgroup_parse_mount("26 25 0:24 / /c rw - cgroup2 none rw", out, 64));
    assert_string_equal(out, "/c");
    assert_false(sandbox_cgroup_parse_mount("", out, sizeof out));
    assert_false(sandbox_cgroup_parse_mount("a\n - cgroup2 \n\n", out, sizeof out));
    assert_false(sandbox_cgroup_parse_mount(hybrid, out, 8));
}

static void make_file(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static void assert_file(int dir, const char *name, const char *want)
{
    char text[64];
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);

    assert_true(n >= 0);
    text[n] = 0;
    assert_string_equal(text, want);
    close(fd);
    assert_int_equal(unlinkat(dir, name, 0), 0);
}

static void writes_the_limits(void **state)
{
    char path[] = "/tmp/roomkey-cgroup-XXXXXX";
    int dir;

    (void)state;
    assert_non_null(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    assert_int_equal(sandbox_cgroup_limit(dir, 16u << 20), RC_IO);
    make_file(dir, "memory.max");
    make_file(dir, "memory.swap.max");
    make_file(dir, "pids.max");
    assert_int_equal(sandbox_cgroup_limit(dir, 16u << 20), RC_OK);
    assert_file(dir, "memory.max", "20971520");
    assert_file(dir, "memory.swap.max", "0");
    assert_file(dir, "pids.max", "1");
    close(dir);
    rmdir(path);
}

static int open_cgroup2(void)
{
    static char text[65536];
    char mount[256];
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    return sandbox_cgroup_parse_mount(text, mount, sizeof mount)
               ? open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
               : -1;
}

static void takes_a_folder_left_behind_but_none_in_use(void **state)
{
    int parent = open_cgroup2(), fd, procs, ends[2];
    char name[32], byte;
    pid_t pid;

    (void)state;
    if (parent < 0) {
        print_message("SKIPPED: this host has no cgroup2 mount\n");
        skip();
    }
    snprintf(name, sizeof name, "roomkey-test-%d", (int)getpid());
    assert_int_equal(sandbox_cgroup_make_at(parent, name, &fd), RC_OK);
    close(fd);
    assert_int_equal(sandbox_cgroup_make_at(parent, name, &fd), RC_OK);

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        procs = openat(fd, "cgroup.procs", O_WRONLY);
        _exit(write(procs, "0", 1) != 1 || write(ends[1], "x", 1) != 1 || pause());
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(fd);
    assert_int_equal(sandbox_cgroup_make_at(parent, name, &fd), RC_BUSY);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(sandbox_cgroup_make_at(parent, name, &fd), RC_OK);
    close(fd);
    assert_int_equal(unlinkat(parent, name, AT_REMOVEDIR), 0);
    close(parent);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_where_cgroup2_is_mounted),
        cmocka_unit_test(writes_the_limits),
        cmocka_unit_test(takes_a_folder_left_behind_but_none_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
