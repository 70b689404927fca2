#include "tls-front/agent/agent_arena.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "common/host/log.h"

#define ORDER_MIN 6u  /* of a block, and of an entry of `map` */
#define ORDER_LOW 20u /* of a mapping: with less there is no point */
#define TAKEN     0x40u
#define FREE      0x80u

/* In each free block. */
struct hole {
    struct hole *next, **at;
};

static struct {
    uint8_t *base;
    unsigned order;
    enum agent_arena_kind kind;
    size_t used;
    struct hole *holes[AGENT_ARENA_ORDER + 1];
    /* For the first unit of each block: its order, and TAKEN or FREE; else 0. */
    uint8_t map[1u << (AGENT_ARENA_ORDER - ORDER_MIN)];
} arena;

/*----- the mapping -----*/

static void *map_secret(size_t size)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    void *p = MAP_FAILED;

    if (fd < 0)
        return MAP_FAILED;
    if (ftruncate(fd, (off_t)size) == 0)
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return p;
}

static void *map_plain(size_t size, bool lock)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return p;
    if ((lock && mlock2(p, size, MLOCK_ONFAULT) != 0) || madvise(p, size, MADV_DONTDUMP) != 0) {
        munmap(p, size);
        return MAP_FAILED;
    }
    return p;
}

static void *map_as(enum agent_arena_kind kind, size_t size)
{
    return kind == AGENT_ARENA_SECRET ? map_secret(size)
                                      : map_plain(size, kind == AGENT_ARENA_LOCKED);
}

static void put_hole(uint8_t *p, unsigned order);

enum rc agent_arena_open(unsigned most, bool secret)
{
    const struct rlimit all = {1ul << most, 1ul << most};
    struct rlimit now;

    CHECK(!arena.base && most <= AGENT_ARENA_ORDER);
    /* Secret memory is locked memory.  Root may have more, until it gives itself up. */
    if (getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur < all.rlim_cur)
        (void)setrlimit(RLIMIT_MEMLOCK, &all);
    for (int kind = secret ? AGENT_ARENA_SECRET : AGENT_ARENA_LOCKED; kind <= AGENT_ARENA_PLAIN;
         kind++)
        for (unsigned order = most; order >= ORDER_LOW; order--) {
            void *p = map_as((enum agent_arena_kind)kind, (size_t)1 << order);

            if (p == MAP_FAILED)
                continue;
            arena.base = p;
            arena.order = order;
            arena.kind = (enum agent_arena_kind)kind;
            put_hole(p, order);
            return RC_OK;
        }
    return RC_NOMEM;
}

enum agent_arena_kind agent_arena_kind(void)
{
    return arena.kind;
}

size_t agent_arena_size(void)
{
    return (size_t)1 << arena.order;
}

size_t agent_arena_used(void)
{
    return arena.used;
}

/*----- blocks -----*/

static uint8_t *note_of(const uint8_t *p)
{
    return &arena.map[(size_t)(p - arena.base) >> ORDER_MIN];
}

static void put_hole(uint8_t *p, unsigned order)
{
    struct hole *h = (struct hole *)(void *)p, **list = &arena.holes[order];

    *note_of(p) = (uint8_t)(FREE | order);
    h->next = *list;
    h->at = list;
    if (h->next)
        h->next->at = &h->next;
    *list = h;
}

static void take_hole(struct hole *h)
{
    *h->at = h->next;
    if (h->next)
        h->next->at = h->at;
    *note_of((uint8_t *)h) = 0;
}

static unsigned order_for(size_t n)
{
    unsigned order = ORDER_MIN;

    while (order < 8 * sizeof n - 1 && (size_t)1 << order < n)
        order++;
    return order;
}

void *agent_arena_alloc(size_t n)
{
    unsigned want = order_for(n), order = want;
    uint8_t *p;

    while (order <= arena.order && !arena.holes[order])
        order++;
    if (order > arena.order)
        return NULL;
    p = (uint8_t *)arena.holes[order];
    take_hole(arena.holes[order]);
    while (order > want) { /* the upper half goes back */
        order--;
        put_hole(p + ((size_t)1 << order), order);
    }
    *note_of(p) = (uint8_t)(TAKEN | order);
    arena.used += (size_t)1 << order;
    return p;
}

static unsigned order_of(const void *block)
{
    const uint8_t *p = block;

    CHECK(arena.base && p >= arena.base && p < arena.base + agent_arena_size());
    CHECK(((size_t)(p - arena.base) & (((size_t)1 << ORDER_MIN) - 1)) == 0);
    CHECK(*note_of(p) & TAKEN);
    return *note_of(p) & (TAKEN - 1);
}

void agent_arena_free(void *block)
{
    uint8_t *p = block;
    unsigned order;

    if (!p)
        return;
    order = order_of(p);
    secret_wipe(p, (size_t)1 << order);
    arena.used -= (size_t)1 << order;
    *note_of(p) = 0;
    for (; order < arena.order; order++) {
        uint8_t *buddy = arena.base + ((size_t)(p - arena.base) ^ ((size_t)1 << order));

        if (*note_of(buddy) != (FREE | order))
            break;
        take_hole((struct hole *)(void *)buddy);
        secret_wipe(buddy, sizeof(struct hole));
        if (buddy < p)
            p = buddy;
    }
    put_hole(p, order);
}

void *agent_arena_realloc(void *block, size_t n)
{
    size_t had = block ? (size_t)1 << order_of(block) : 0;
    void *p;

    if (block && n <= had)
        return block;
    p = agent_arena_alloc(n);
    if (p && block) {
        memcpy(p, block, had);
        agent_arena_free(block);
    }
    return p;
}
