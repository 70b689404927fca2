/* Pages, and who may do what with them.
 *
 * Everything below 1 GiB is in one array of page table entries, which is both
 * what the processor walks and what the allocator searches: an entry of 0 is a
 * free page.  Everything is mapped one to one.
 *
 *   0 … LOW                  nothing: a null pointer faults
 *   LOW … image_start        RAM where the VMM has some: given out from below for good
 *   image_start … image_end  the image's segments; the kernel's pages closed to the app
 *   … ram_end                brk grows up from below, memory_map() gives from above;
 *                            at its end the array itself, the kernel's
 *   MEMORY_WINDOW            single pages that are Xen's
 *
 * Failure modes: no RAM around the image, too little of it (stops); out of memory
 * (0, false). */
#include "tenant-runtime/ground/kernel/kernel.h"

#define PTE_PRESENT 0x001ull
#define PTE_WRITE   0x002ull
#define PTE_APP     0x004ull
#define PTE_USED    0x200ull /* for software: taken, even if not present */
#define PTE_KEEP    0x400ull /* for software: not the app's to give back or protect */
#define PTE_NX      (1ull << 63)

#define LOW         (64u << 10)
#define RAM_END_MAX (1ull << 30)
#define STACK_SIZE  (256u << 10)
#define LEAST       (1u << 20) /* free, for a stack, the C library and the runtime to start */
#define ENTRIES     512        /* of a table */
#define LEVEL2_SIZE (1ull << 21)
#define LEVEL3_SIZE (1ull << 30)

static uint64_t root[ENTRIES] __attribute__((aligned(4096)));
static uint64_t pointers[ENTRIES] __attribute__((aligned(4096)));
static uint64_t directory[ENTRIES] __attribute__((aligned(4096)));
static uint64_t window_directory[ENTRIES] __attribute__((aligned(4096)));
static uint64_t window[ENTRIES] __attribute__((aligned(4096)));
_Static_assert(MEMORY_WINDOW_LEN == LEVEL2_SIZE && MEMORY_WINDOW % LEVEL2_SIZE == 0, "one table");

static uint64_t *table; /* entry of page 0, page 1, … */
static uint64_t limit;  /* first page beyond what can be given out */
static uint64_t given;  /* bytes of RAM in the VMM's map */
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
        cpu_forget_page(page * PAGE_SIZE);
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

/* The end of the RAM that the image lies in. */
static uint64_t ram_end(const struct memory_area *map, unsigned count)
{
    uint64_t first = address(image_start), last = address(image_end);

    for (unsigned i = 0; i < count; i++)
        if (map[i].type == MEMORY_RAM && map[i].at <= first && map[i].at + map[i].len >= last &&
            map[i].at + map[i].len > map[i].at)
            return map[i].at + map[i].len < RAM_END_MAX ? map[i].at + map[i].len : RAM_END_MAX;
    kernel_stop("the VMM's memory map has no RAM where the image is");
}

/* Frees the pages that are wholly in the area, or takes those that are partly in it. */
static void mark(const struct memory_area *area, uint64_t end)
{
    bool ram = area->type == MEMORY_RAM;
    uint64_t first = ram ? pages(area->at) : area->at / PAGE_SIZE, last;

    if (area->at >= end * PAGE_SIZE || (ram && area->len > UINT64_MAX - area->at))
        return;
    if (area->len > UINT64_MAX - area->at)
        last = end;
    else
        last = ram ? (area->at + area->len) / PAGE_SIZE : pages(area->at + area->len);
    for (uint64_t page = first; page < last && page < end; page++)
        if (page >= LOW / PAGE_SIZE)
            table[page] = ram ? 0 : PTE_USED | PTE_KEEP;
}

static void mark_all(const struct memory_area *map, unsigned count, uint64_t end)
{
    for (uint64_t page = 0; page < end; page++)
        table[page] = PTE_USED | PTE_KEEP;
    for (unsigned i = 0; i < count; i++) {
        if (map[i].type != MEMORY_RAM)
            continue;
        given += map[i].len;
        mark(&map[i], end);
    }
    for (unsigned i = 0; i < count; i++)
        if (map[i].type != MEMORY_RAM)
            mark(&map[i], end);
}

static uint64_t link(const void *lower)
{
    /* The rights are the last level's to say. */
    return address(lower) | PTE_PRESENT | PTE_WRITE | PTE_APP;
}

void memory_init(const struct memory_area *map, unsigned count)
{
    uint64_t end = ram_end(map, count) / PAGE_SIZE;
    uint64_t table_pages = pages(end * sizeof *table);

    if (end < pages(address(image_end)) + table_pages)
        kernel_stop("too little memory for this image");
    limit = end - table_pages;
    table = (uint64_t *)(uintptr_t)(limit * PAGE_SIZE);
    memory_zero(table, table_pages * PAGE_SIZE);

    mark_all(map, count, end);
    set_range(image_start, text_start, PTE_KEEP | PTE_PRESENT | PTE_APP | PTE_NX);
    set_range(text_start, kernel_text_start, PTE_KEEP | PTE_PRESENT | PTE_APP);
    set_range(kernel_text_start, text_end, PTE_KEEP | PTE_PRESENT);
    set_range(data_start, kernel_data_start, PTE_KEEP | PTE_PRESENT | PTE_APP | PTE_WRITE | PTE_NX);
    set_range(kernel_data_start, kernel_data_end, PTE_KEEP | PTE_PRESENT | PTE_WRITE | PTE_NX);
    set(address(kernel_stack_guard) / PAGE_SIZE, PTE_KEEP);
    for (uint64_t page = limit; page < end; page++)
        set(page, PTE_KEEP | PTE_PRESENT | PTE_WRITE | PTE_NX);

    for (uint64_t i = 0; i < table_pages; i++)
        directory[i] = link(table + i * ENTRIES);
    pointers[0] = link(directory);
    window_directory[MEMORY_WINDOW % LEVEL3_SIZE / LEVEL2_SIZE] = link(window);
    pointers[MEMORY_WINDOW / LEVEL3_SIZE] = link(window_directory);
    root[0] = link(pointers);
    cpu_walk(root);

    brk_start = brk_end = address(kernel_data_end);
    if (memory_free() < LEAST)
        kernel_stop("too little memory for this image");
}

void memory_window(uint64_t at)
{
    window[(at - MEMORY_WINDOW) / PAGE_SIZE] = at | PTE_PRESENT | PTE_WRITE | PTE_NX;
}

uint64_t memory_given(void)
{
    return given;
}

uint64_t memory_free(void)
{
    uint64_t n = 0;

    for (uint64_t page = 0; page < limit; page++)
        n += table[page] == 0;
    return n * PAGE_SIZE;
}

/*----- what is the app's -----*/

/* Pages of a range: false when it is not page-aligned, empty, or not all the app's to change. */
static bool is_apps(uint64_t at, uint64_t len, uint64_t *first, uint64_t *n)
{
    *first = at / PAGE_SIZE;
    *n = pages(len);
    if (at % PAGE_SIZE || !*n || *first >= limit || *n > limit - *first)
        return false;
    for (uint64_t page = *first; page < *first + *n; page++)
        if (table[page] & PTE_KEEP)
            return false;
    return true;
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

uint64_t memory_map_for_good(uint64_t len)
{
    uint64_t n = pages(len), run = 0;

    for (uint64_t page = 0; page < limit; page++) {
        run = table[page] ? 0 : run + 1;
        if (run == n) {
            uint64_t first = page + 1 - n;

            give(first, n, MEMORY_READ | MEMORY_WRITE);
            for (page = first; page < first + n; page++)
                table[page] |= PTE_KEEP;
            return first * PAGE_SIZE;
        }
    }
    return 0;
}

uint64_t memory_map(uint64_t len, enum memory_rights rights)
{
    uint64_t n = pages(len), run = 0;

    for (uint64_t page = limit; n && page-- > 0;) {
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

    if (!is_apps(at, len, &first, &n))
        return false;
    give(first, n, rights);
    return true;
}

bool memory_unmap(uint64_t at, uint64_t len)
{
    uint64_t first, n;

    if (!is_apps(at, len, &first, &n))
        return false;
    for (uint64_t page = first; page < first + n; page++)
        set(page, 0);
    return true;
}

bool memory_protect(uint64_t at, uint64_t len, enum memory_rights rights)
{
    uint64_t first, n;

    if (!is_apps(at, len, &first, &n))
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
        kernel_stop("too little memory for this image");
    return stack_guard + PAGE_SIZE + STACK_SIZE;
}

bool memory_is_guard(uint64_t at)
{
    return (stack_guard && at - stack_guard < PAGE_SIZE) ||
           at - address(kernel_stack_guard) < PAGE_SIZE;
}
