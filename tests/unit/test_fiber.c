/* Fibers and timers: order, state that survives a switch, the guard page, deadlines. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/fiber.h"
#include "tenant-runtime/runtime/timer.h"
#include "tests/unit/unit.h"

static char trace[256];
static struct fiber *fiber[40];

static void note(char c)
{
    size_t n = strlen(trace);

    trace[n] = c;
    trace[n + 1] = '\0';
}

static int setup(void **state)
{
    (void)state;
    trace[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(fiber_count(), 0);
    fiber_pool_free();
    return 0;
}

static void three_steps(void *arg)
{
    char name = *(char *)arg;

    fiber[name - 'a'] = fiber_current();
    for (int i = 0; i < 3; i++) {
        if (i)
            fiber_wait();
        note(name);
    }
}

static void fibers_run_until_they_wait_and_go_on_in_order_of_waking(void **state)
{
    char names[] = "abc";

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(fiber_start(three_steps, &names[i]), RC_OK);
    assert_string_equal(trace, "abc");
    assert_int_equal(fiber_count(), 3);
    assert_null(fiber_current());
    assert_false(fiber_run_woken());

    fiber_wake(fiber[2]);
    fiber_wake(fiber[0]);
    fiber_wake(fiber[2]); /* twice is once */
    assert_true(fiber_run_woken());
    assert_string_equal(trace, "abcca");
    assert_false(fiber_run_woken());

    for (int i = 0; i < 3; i++)
        fiber_wake(fiber[i]);
    assert_true(fiber_run_woken());
    assert_string_equal(trace, "abccaabc");
    fiber_wake(fiber[1]);
    assert_true(fiber_run_woken());
    assert_string_equal(trace, "abccaabcb");
}

static void wakes_next(void *arg)
{
    int i = *(int *)arg;

    fiber[i] = fiber_current();
    fiber_wait();
    note((char)('0' + i));
    fiber_wake(fiber_current()); /* does nothing: it is running */
    if (i < 5)
        fiber_wake(fiber[i + 1]);
}

static void what_a_fiber_wakes_runs_in_the_next_round(void **state)
{
    int ids[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        ids[i] = i;
        assert_int_equal(fiber_start(wakes_next, &ids[i]), RC_OK);
    }
    fiber_wake(fiber[0]);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(strlen(trace), i);
        assert_true(fiber_run_woken());
    }
    assert_string_equal(trace, "012345");
    assert_false(fiber_run_woken());
}

/* Uses most of the stack, floating point and callee-saved registers. */
static double fill(volatile uint8_t *below, int depth, double x)
{
    volatile uint8_t frame[1500];

    memset((void *)(uintptr_t)frame, depth, sizeof frame);
    if (depth == 0) {
        fiber_wait();
        return x;
    }
    x = fill(frame, depth - 1, x * 1.5) + frame[700];
    return below ? x + below[0] * 0 : x;
}

static double sums[40];

static void deep(void *arg)
{
    int i = *(int *)arg;

    fiber[i] = fiber_current();
    sums[i] = fill(NULL, 25, i);
}

static void forty_deep_stacks_keep_their_own(void **state)
{
    int ids[40];
    double expected = 0;

    (void)state;
    for (int round = 0; round < 3; round++) { /* the second and third on pooled stacks */
        for (int i = 0; i < 40; i++) {
            ids[i] = i;
            assert_int_equal(fiber_start(deep, &ids[i]), RC_OK);
        }
        for (int i = 39; i >= 0; i--)
            fiber_wake(fiber[i]);
        fiber_run_woken();
        for (int i = 0; i < 40; i++) {
            expected = i;
            for (int n = 0; n < 25; n++)
                expected *= 1.5;
            assert_true(sums[i] == expected + 325); /* 1 + 2 + … + 25 */
        }
    }
}

/* Waits, then goes deeper than its stack. */
static void overrun(void *arg)
{
    int i = *(int *)arg;

    fiber[i] = fiber_current();
    fiber_wait();
    (void)fill(NULL, 100, 1);
}

static void an_overrun_stack_dies_at_its_guard(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        int ids[8];

        /* Nothing of the fault on the console: it is wanted. */
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        signal(SIGSEGV, SIG_DFL);
        /* Stacks lie next to each other, so that without a guard the first one
         * would run on in its neighbours'. */
        for (int i = 0; i < 8; i++) {
            ids[i] = i;
            (void)!fiber_start(overrun, &ids[i]);
        }
        fiber_wake(fiber[0]);
        (void)fiber_run_woken();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/*----- timers -----*/

#define TIMERS 500

static struct timer timers[TIMERS];
static uint64_t last_ns;
static unsigned fired;

static void fire(struct timer *t)
{
    assert_true(t->at_ns >= last_ns);
    last_ns = t->at_ns;
    fired++;
}

static void timers_fire_in_order_whatever_was_moved_or_stopped(void **state)
{
    uint32_t x = 1;
    unsigned set = 0;

    (void)state;
    last_ns = fired = 0;
    assert_true(timer_next() == TIMER_NEVER);
    for (int i = 0; i < 20000; i++) {
        struct timer *t;

        x = x * 1664525 + 1013904223;
        t = &timers[(x >> 16) % TIMERS];
        t->fire = fire;
        if (x >> 30 == 0)
            timer_stop(t);
        else
            timer_set(t, 1000 + (x >> 8) % 5000);
    }
    for (int i = 0; i < TIMERS; i++)
        set += timers[i].link != NULL;
    for (uint64_t now = 0; now < 6000; now += 7) {
        assert_true(timer_next() > now || timer_run(now));
        assert_true(timer_next() > now);
    }
    assert_int_equal(fired, set);
    assert_true(timer_next() == TIMER_NEVER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fibers_run_until_they_wait_and_go_on_in_order_of_waking),
        TEST(what_a_fiber_wakes_runs_in_the_next_round),
        TEST(forty_deep_stacks_keep_their_own),
        TEST(an_overrun_stack_dies_at_its_guard),
        TEST(timers_fire_in_order_whatever_was_moved_or_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
