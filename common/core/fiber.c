#include "common/core/fiber.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "common/core/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define GUARD_SIZE    4096u
#define MXCSR_DEFAULT 0x1f80u
#define X87_DEFAULT   0x037fu

/* Lies at the top of its own stack's mapping. */
struct fiber {
    struct fiber *next; /* in the pool or among the woken */
    void *sp;           /* where it left off */
    uint8_t *stack;     /* lowest usable byte */
    void (*body)(void *arg);
    void *arg;
    bool woken, ended;
    void *fake_stack, *tsan; /* the sanitizers' notes */
};

static struct {
    struct fiber *current;
    void *loop_sp;
    struct fiber *pool;
    unsigned pooled, count;
    struct fiber *woken, **woken_end;
    /* The sanitizers' notes of the loop's own stack. */
    void *loop_fake_stack, *loop_tsan;
    const void *loop_stack;
    size_t loop_stack_size;
} fibers;

void fiber_switch(void **save_sp, void *load_sp);

/*----- the sanitizers must know which stack is in use -----*/

static void announce_switch(struct fiber *to, void **fake_stack)
{
#ifdef FIBER_ASAN
    if (to)
        __sanitizer_start_switch_fiber(fake_stack, to->stack, (size_t)((uint8_t *)to - to->stack));
    else
        __sanitizer_start_switch_fiber(fake_stack, fibers.loop_stack, fibers.loop_stack_size);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to ? to->tsan : fibers.loop_tsan, 0);
#endif
    (void)to;
    (void)fake_stack;
}

static void announce_arrival(struct fiber *in)
{
#ifdef FIBER_ASAN
    if (in)
        __sanitizer_finish_switch_fiber(in->fake_stack, &fibers.loop_stack,
                                        &fibers.loop_stack_size);
    else
        __sanitizer_finish_switch_fiber(fibers.loop_fake_stack, NULL, NULL);
#endif
    (void)in;
}

/*----- stacks -----*/

static struct fiber *fiber_take(void)
{
    struct fiber *f = fibers.pool;
    size_t size = GUARD_SIZE + FIBER_STACK_SIZE;
    uint8_t *map;

    if (f) {
        fibers.pool = f->next;
        fibers.pooled--;
        return f;
    }
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    /* Without its guard a stack is no place for others' code. */
    if (mprotect(map, GUARD_SIZE, PROT_NONE) != 0) {
        munmap(map, size);
        return NULL;
    }
    f = (struct fiber *)(void *)(map + size - ((sizeof *f + 63) & ~(size_t)63));
    memset(f, 0, sizeof *f);
    f->stack = map + GUARD_SIZE;
#ifdef __SANITIZE_THREAD__
    f->tsan = __tsan_create_fiber(0);
#endif
    return f;
}

static void stack_unmap(struct fiber *f)
{
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(f->tsan);
#endif
    munmap(f->stack - GUARD_SIZE, GUARD_SIZE + FIBER_STACK_SIZE);
}

static void fiber_give(struct fiber *f)
{
    if (fibers.pooled == FIBER_POOL_MAX) {
        stack_unmap(f);
        return;
    }
    f->next = fibers.pool;
    fibers.pool = f;
    fibers.pooled++;
}

void fiber_pool_free(void)
{
    CHECK(fibers.count == 0);
    while (fibers.pool) {
        struct fiber *f = fibers.pool;

        fibers.pool = f->next;
        stack_unmap(f);
    }
    fibers.pooled = 0;
}

/*----- switching -----*/

__attribute__((noreturn)) static void fiber_entry(void)
{
    struct fiber *f = fibers.current;

    announce_arrival(f);
    f->body(f->arg);
    f->ended = true;
    announce_switch(NULL, NULL); /* NULL: this stack will not be come back to */
    fiber_switch(&f->sp, fibers.loop_sp);
    check_failed(__FILE__, __LINE__, "an ended fiber was run");
}

/* What fiber_switch pops, for a stack that has never run. */
static void stack_prepare(struct fiber *f)
{
    uint64_t *sp = (uint64_t *)(void *)((uintptr_t)f & ~(uintptr_t)15);

    *--sp = 0; /* the return address of fiber_entry, which does not return */
    *--sp = (uint64_t)(uintptr_t)fiber_entry;
    for (int saved = 0; saved < 6; saved++)
        *--sp = 0;
    *--sp = MXCSR_DEFAULT | (uint64_t)X87_DEFAULT << 32;
    f->sp = sp;
}

static void fiber_run(struct fiber *f)
{
    CHECK(!fibers.current);
#ifdef __SANITIZE_THREAD__
    fibers.loop_tsan = __tsan_get_current_fiber();
#endif
    fibers.current = f;
    announce_switch(f, &fibers.loop_fake_stack);
    fiber_switch(&fibers.loop_sp, f->sp);
    announce_arrival(NULL);
    fibers.current = NULL;
    if (f->ended) {
        fibers.count--;
        fiber_give(f);
    }
}

enum rc fiber_start(void (*body)(void *arg), void *arg)
{
    struct fiber *f = fiber_take();

    if (!f)
        return RC_NOMEM;
    f->body = body;
    f->arg = arg;
    f->woken = f->ended = false;
    f->fake_stack = NULL;
    stack_prepare(f);
    fibers.count++;
    fiber_run(f);
    return RC_OK;
}

struct fiber *fiber_current(void)
{
    return fibers.current;
}

void fiber_wait(void)
{
    struct fiber *f = fibers.current;

    CHECK(f);
    announce_switch(NULL, &f->fake_stack);
    fiber_switch(&f->sp, fibers.loop_sp);
    announce_arrival(f);
}

void fiber_wake(struct fiber *f)
{
    if (f->woken || f == fibers.current)
        return;
    f->woken = true;
    f->next = NULL;
    if (!fibers.woken)
        fibers.woken_end = &fibers.woken;
    *fibers.woken_end = f;
    fibers.woken_end = &f->next;
}

bool fiber_run_woken(void)
{
    struct fiber *f = fibers.woken;
    bool any = f != NULL;

    fibers.woken = NULL;
    while (f) {
        struct fiber *next = f->next;

        f->woken = false;
        fiber_run(f); /* f may be gone, or woken anew */
        f = next;
    }
    return any;
}

unsigned fiber_count(void)
{
    return fibers.count;
}
