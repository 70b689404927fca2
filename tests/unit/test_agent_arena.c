/* The memory of private keys: blocks that do not overlap, merge again, are wiped when
 * freed, and are nowhere that another process can read.
 *
 * Seen to fail: the secret_wipe() of agent_arena_free() taken out; the merging loop
 * taken out; agent_arena_open(AGENT_ARENA_ORDER, false) in the last test. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tls-front/agent/agent_arena.h"
#include "unit.h"

static void blocks_hold_what_was_put_there_and_all_room_comes_back(void **state)
{
    enum { BLOCKS = 200, TURNS = 20000 };
    static struct {
        uint8_t *p;
        size_t n;
        uint8_t fill;
    } b[BLOCKS];
    void *all;

    (void)state;
    srand(4);
    for (int turn = 0; turn < TURNS; turn++) {
        int i = rand() % BLOCKS;
        size_t n = (size_t)(rand() % 3 ? rand() % 300 : rand() % 20000);

        for (size_t k = 0; k < b[i].n; k++)
            assert_int_equal(b[i].p[k], b[i].fill);
        if (turn % 3 == 0) {
            agent_arena_free(b[i].p);
            b[i].p = NULL;
            b[i].n = 0;
            continue;
        }
        b[i].p = agent_arena_realloc(b[i].p, n);
        assert_non_null(b[i].p);
        assert_int_equal((uintptr_t)b[i].p % 64, 0);
        for (size_t k = 0; k < b[i].n && k < n; k++)
            assert_int_equal(b[i].p[k], b[i].fill);
        b[i].fill = (uint8_t)turn;
        b[i].n = n;
        memset(b[i].p, b[i].fill, n);
    }
    for (int i = 0; i < BLOCKS; i++)
        agent_arena_free(b[i].p);
    assert_int_equal(agent_arena_used(), 0);
    all = agent_arena_alloc(agent_arena_size()); /* it is in one piece again */
    assert_non_null(all);
    assert_null(agent_arena_alloc(1));
    agent_arena_free(all);
}

static void more_than_there_is_is_refused(void **state)
{
    (void)state;
    assert_null(agent_arena_alloc(agent_arena_size() + 1));
    assert_null(agent_arena_alloc(SIZE_MAX));
    assert_null(agent_arena_realloc(NULL, SIZE_MAX / 2));
}

static void what_is_freed_is_wiped(void **state)
{
    static const char secret[] = "a key that must not stay: 0123456789abcdef0123456789abcdef";
    char *p = agent_arena_alloc(sizeof secret), *q;

    (void)state;
    memcpy(p, secret, sizeof secret);
    agent_arena_free(p);
    assert_null(memmem(p, sizeof secret, "stay", 4));

    p = agent_arena_alloc(64);
    memcpy(p, secret, sizeof secret);
    q = agent_arena_realloc(p, 4096);
    assert_ptr_not_equal(p, q);
    assert_string_equal(q, secret);
    assert_null(memmem(p, sizeof secret, "stay", 4));
    agent_arena_free(q);
}

/* Not even root's /proc/PID/mem: the kernel has no mapping of these pages. */
static void nobody_else_can_read_it(void **state)
{
    char *p = agent_arena_alloc(64), got;
    int mem;

    (void)state;
    if (syscall(SYS_memfd_secret, 0) < 0) {
        print_message("this kernel has no memfd_secret\n");
        agent_arena_free(p);
        skip();
    }
    assert_int_equal(agent_arena_kind(), AGENT_ARENA_SECRET);
    strcpy(p, "x");
    mem = open("/proc/self/mem", O_RDONLY);
    assert_true(mem >= 0);
    assert_int_equal(pread(mem, &got, 1, (off_t)(uintptr_t)&mem), 1); /* of other memory it can */
    assert_int_equal(pread(mem, &got, 1, (off_t)(uintptr_t)p), -1);
    close(mem);
    agent_arena_free(p);
}

/* The flags of the mapping that `p` is in. */
static bool has_flags(const void *p, const char *a, const char *b)
{
    char line[512];
    unsigned long from, to;
    bool here = false, has = false;
    FILE *f = fopen("/proc/self/smaps", "r");

    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from <= (uintptr_t)p && (uintptr_t)p < to;
        if (here && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, a) && strstr(line, b);
    }
    if (f)
        fclose(f);
    return has;
}

/* What the last test runs, in a process of its own: there is one arena in each. */
static int be_locked(void)
{
    char *p;

    if (agent_arena_open(AGENT_ARENA_ORDER, false) || agent_arena_kind() != AGENT_ARENA_LOCKED)
        return 2;
    p = agent_arena_alloc(64);
    if (!p)
        return 3;
    strcpy(p, "x");
    return has_flags(p, " lo", " dd") ? 0 : 4;
}

static void without_secret_memory_it_is_locked_and_in_no_core_dump(void **state)
{
    (void)state;
    assert_int_equal(system("/proc/$PPID/exe locked"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_hold_what_was_put_there_and_all_room_comes_back),
        cmocka_unit_test(more_than_there_is_is_refused),
        cmocka_unit_test(what_is_freed_is_wiped),
        cmocka_unit_test(nobody_else_can_read_it),
        cmocka_unit_test(without_secret_memory_it_is_locked_and_in_no_core_dump),
    };

    (void)argv;
    if (argc > 1)
        return be_locked();
    if (agent_arena_open(AGENT_ARENA_ORDER, true))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
