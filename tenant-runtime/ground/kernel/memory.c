/* Pages, and who may do what with them.
 *
 * Everything below 1 GiB is in one array of page table entries, which is both
 * what the processor walks and what the allocator searches: an entry of 0 is a
 * free page.  Everything is mapped one to one.
 *
 *   0 … image_start          nothing: a null pointer faults
 *   image_start … image_end  the image's segments; the kernel's pages closed to the app
 *   arena …                  brk grows up from below, memory_map() gives from above
 *   … ram_end                the array itself, the kernel's
 *
 * Failure modes: no RAM for the array (stops); out of memory (0, false). */
#include "tenant-runtime/ground/kernel/kernel.h"

#define PTE_PRESENT 0x001ull
#define PTE_WRITE   0x002ull
#define PTE_APP     0x004ull
#define PTE_USED    0x200ull /* for software: taken, even if not present */
#define PTE_NX      (1ull << 63)

#define ARENA_END_MAX (1ull << 30)
#define STACK_SIZE    (256u << 10)

static uint64_t root[512] __attribute__((aligned(4096)));
static uint64_t pointers[512] __attribute__((aligned(4096)));
static uint64_t directory[512] __attribute__((aligned(4096)));

static uint64_t *table;       /* entry of page 0, page 1, … */
static uint64_t arena, limit; /* first page, first page beyond */
static uint64_t brk_start, brk_end;
static uint64_t stack_guard;

static uint64_t pages(uint64_t bytes)
{
    return bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0);
}

static uint64_t address(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

/*----- the tables -----*/

static void set(uint64_t page, uint64_t bits)
{
    bool was = table[page] & PTE_PRESENT;

    table[page] = bits ? page * PAGE_SIZE | PTE_USED | bits : 0;
    if (was)
        __asm__ volatile("invlpg (%0)" ::"r"(page * PAGE_SIZE) : "memory");
}

static void set_range(const void *from, const void *to, uint64_t bits)
{
    for (uint64_t page = address(from) / PAGE_SIZE; page < pages(address(to)); page++)
        set(page, bits);
}

static uint64_t app_bits(enum memory_rights rights)
{
    if (rights == MEMORY_NONE)
        return PTE_USED;
    return PTE_PRESENT | PTE_APP | PTE_NX | (rights & MEMORY_WRITE ? PTE_WRITE : 0);
}

void memory_init(uint64_t ram_end)
{
    uint64_t end = ram_end < ARENA_END_MAX ? ram_end / PAGE_SIZE : ARENA_END_MAX / PAGE_SIZE;
    uint64_t table_pages = pages(end * sizeof *table);

    arena = pages(address(image_end));
    if (end < arena + table_pages + pages(STACK_SIZE) + 1)
        kernel_stop("too little memory for this image");
    limit = end - table_pages;
    table = (uint64_t *)(uintptr_t)(limit * PAGE_SIZE);
    memory_zero(table, table_pages * PAGE_SIZE);

    set_range(image_start, text_start, PTE_PRESENT | PTE_APP | PTE_NX);
    set_range(text_start, kernel_text_start, PTE_PRESENT | PTE_APP);
    set_range(kernel_text_start, text_end, PTE_PRESENT);
    set_range(data_start, kernel_data_start, PTE_PRESENT | PTE_APP | PTE_WRITE | PTE_NX);
    set_range(kernel_data_start, image_end, PTE_PRESENT | PTE_WRITE | PTE_NX);
    for (uint64_t page = limit; page < end; page++)
        set(page, PTE_PRESENT | PTE_WRITE | PTE_NX);

    /* The rights are the last level's to say. */
    for (uint64_t i = 0; i < table_pages; i++)
        directory[i] = (limit + i) * PAGE_SIZE | PTE_PRESENT | PTE_WRITE | PTE_APP;
    pointers[0] = address(directory) | PTE_PRESENT | PTE_WRITE | PTE_APP;
    root[0] = address(pointers) | PTE_PRESENT | PTE_WRITE | PTE_APP;
    __asm__ volatile("movq %0, %%cr3" ::"r"(root) : "memory");

    brk_start = brk_end = arena * PAGE_SIZE;
}

/*----- the arena -----*/

/* Pages of a range of the arena: false when it is not page-aligned, empty, or out of bounds. */
static bool in_arena(uint64_t at, uint64_t len, uint64_t *first, uint64_t *n)
{
    *first = at / PAGE_SIZE;
    *n = pages(len);
    return at % PAGE_SIZE == 0 && *n && *first >= arena && *first < limit && *n <= limit - *first;
}

static void give(uint64_t first, uint64_t n, enum memory_rights rights)
{
    for (uint64_t page = first; page < first + n; page++)
        set(page, app_bits(MEMORY_READ | MEMORY_WRITE));
    memory_zero((void *)(uintptr_t)(first * PAGE_SIZE), n * PAGE_SIZE);
    if (rights != (MEMORY_READ | MEMORY_WRITE))
        for (uint64_t page = first; page < first + n; page++)
            set(page, app_bits(rights));
}

uint64_t memory_map(uint64_t len, enum memory_rights rights)
{
    uint64_t n = pages(len), run = 0;

    for (uint64_t page = limit; n && page-- > arena;) {
        run = table[page] ? 0 : run + 1;
        if (run == n) {
            give(page, n, rights);
            return page * PAGE_SIZE;
        }
    }
    return 0;
}

bool memory_map_at(uint64_t at, uint64_t len, enum memory_rights rights)
{
    uint64_t first, n;

    if (!in_arena(at, len, &first, &n))
        return false;
    give(first, n, rights);
    return true;
}

bool memory_unmap(uint64_t at, uint64_t len)
{
    uint64_t first, n;

    if (!in_arena(at, len, &first, &n))
        return false;
    for (uint64_t page = first; page < first + n; page++)
        set(page, 0);
    return true;
}

bool memory_protect(uint64_t at, uint64_t len, enum memory_rights rights)
{
    uint64_t first, n;

    if (!in_arena(at, len, &first, &n))
        return false;
    for (uint64_t page = first; page < first + n; page++)
        if (!table[page])
            return false;
    for (uint64_t page = first; page < first + n; page++)
        set(page, app_bits(rights));
    return true;
}

uint64_t memory_brk(uint64_t end)
{
    uint64_t from = pages(brk_end), to = pages(end);

    if (end < brk_start || to > limit)
        return brk_end;
    for (uint64_t page = from; page < to; page++)
        if (table[page])
            return brk_end;
    if (to > from)
        give(from, to - from, MEMORY_READ | MEMORY_WRITE);
    for (uint64_t page = to; page < from; page++)
        set(page, 0);
    return brk_end = end;
}

bool memory_allows(uint64_t at, uint64_t len, bool write)
{
    uint64_t need = PTE_PRESENT | PTE_APP | (write ? PTE_WRITE : 0);

    if (at > limit * PAGE_SIZE || len > limit * PAGE_SIZE - at)
        return false;
    for (uint64_t page = at / PAGE_SIZE; page < pages(at + len); page++)
        if ((table[page] & need) != need)
            return false;
    return true;
}

uint64_t memory_stack(void)
{
    stack_guard = memory_map(PAGE_SIZE + STACK_SIZE, MEMORY_READ | MEMORY_WRITE);
    if (!stack_guard || !memory_protect(stack_guard, PAGE_SIZE, MEMORY_NONE))
        kernel_stop("no memory for a stack");
    return stack_guard + PAGE_SIZE + STACK_SIZE;
}

bool memory_is_guard(uint64_t at)
{
    return stack_guard && at - stack_guard < PAGE_SIZE;
}
