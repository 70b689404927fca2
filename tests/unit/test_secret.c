/* What a function leaves on the stack is there until it is wiped: looked at from another
 * stack, while the one that it was on waits.
 *
 * Seen to fail: secret_wipe_stack() empty. */
#include <stdbool.h>
#include <stdint.h>

#include "common/core/fiber.h"
#include "common/core/secret.h"
#include "unit.h"

#define DEEP (SECRET_STACK - 4096)

static struct fiber *fiber;
static uintptr_t top; /* of what is looked at */

/* As a library does that has a key in a frame. */
static __attribute__((noinline)) void leave(void)
{
    volatile uint8_t frame[DEEP];

    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = 0xa5;
}

static void body(void *wipe)
{
    uint8_t here = 0;

    fiber = fiber_current();
    leave();
    if (wipe)
        secret_wipe_stack();
    top = (uintptr_t)&here;
    fiber_wait();
}

static size_t left_over(bool wipe)
{
    size_t n = 0;

    assert_int_equal(fiber_start(body, wipe ? &fiber : NULL), RC_OK);
    for (uintptr_t at = top - DEEP; at < top; at++)
        n += *(const volatile uint8_t *)at == 0xa5;
    fiber_wake(fiber);
    assert_true(fiber_run_woken());
    return n;
}

static void what_was_left_on_the_stack_is_wiped(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* it has frames of its own elsewhere */
#endif
    assert_true(left_over(false) > DEEP / 2); /* it is there to be found */
    assert_true(left_over(true) < 64);
    fiber_pool_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_left_on_the_stack_is_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
