/* What a virtual machine's kernel reads of its host: PVH's start info, memory map and command
 * line, and on Xen xenstore's answers.  The real kernel_main() runs, on pages below 1 GiB of this
 * process, up to the app's first instruction, or to a line that says why not.
 *
 * Whatever the host says: no page is given out that is not RAM of its map; the app's stack is one
 * that a C library can read, with at most 64 words and no seed; nothing of the seed is left in
 * the kernel's line or in xenstore's ring; and an answer means the same however it is cut.
 *
 * Input: u8 how (HOW_*), u8 areas, each u64 at, u64 len, u32 type; u64 where the map, u64 where
 * the command line is said to be (0: where they are); then the words.  HOW_RAW: instead of the
 * words what xenstored says, head and all.  HOW_LIE: u32 first, an index of the ring.
 *
 * Seen to find, each in seconds: either of mark()'s two bounds taken out, a word too many in
 * cut(), the wipe of the ring's bytes taken out; and, in what was there before, a second seed
 * behind a NUL. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/core/check.h"
#include "common/core/wire.h"
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/ground/kernel/xen.h"

/* Where all that is: the kernel wants physical addresses, and ASan to see what it copies. */
#define ARENA     ((uint8_t *)0x10000)
#define ARENA_END ((uint8_t *)0x40000000)
#define AT(n)     ((char *)(uintptr_t)(n))

#define image_start        AT(0x100000)
#define text_start         AT(0x110000)
#define kernel_text_start  AT(0x140000)
#define text_end           AT(0x150000)
#define data_start         AT(0x150000)
#define kernel_data_start  AT(0x170000)
#define kernel_data_end    AT(0x180000)
#define image_end          AT(0x190000)
#define kernel_stack_guard AT(0x178000)

/* What a string instruction does to memory ASan does not see. */
static void seen_copy(void *to, const void *from, size_t len)
{
    if (len)
        memcpy(to, from, len);
}

static void seen_zero(void *p, size_t len)
{
    if (len)
        memset(p, 0, len);
}

#define cpu_walk(tables)    ((void)(tables))
#define cpu_forget_page(at) ((void)(at))
#define memory_copy         seen_copy
#define memory_zero         seen_zero

/* With what nobody else sees of them. */
#include "tenant-runtime/ground/kernel/launch.c"
#include "tenant-runtime/ground/kernel/main.c"
#include "tenant-runtime/ground/kernel/memory.c"
#include "tenant-runtime/ground/kernel/text.c"
#include "tenant-runtime/ground/kernel/xen_store.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HOW_XEN = 1, HOW_RAW = 2, HOW_LIE = 4 };

static const struct start_info *said; /* what the kernel was given */
static struct memory_area areas[AREAS_MAX + 1];
static unsigned how;
static uint32_t lie;
static const uint8_t *words;
static size_t words_len, told, cut_at;
static jmp_buf out;
static const char *why;
static uint64_t *stack;

static struct interface store_page;
static char given_line[COMMAND_MAX];

/*----- what the kernel stands on here -----*/

const struct ground *ground;
const struct ground ground_pvh, ground_xen;

_Noreturn void kernel_stop(const char *text)
{
    why = text;
    longjmp(out, 1);
}

_Noreturn void kernel_enter_app(void (*entry)(void), uint64_t *first)
{
    CHECK(entry == _start);
    stack = first;
    longjmp(out, 1);
}

void cpu_init(void)
{
}

void clock_init(uint64_t entered)
{
    (void)entered;
}

void xen_init(const struct memory_area *map, unsigned count)
{
    (void)map, (void)count;
    if (how & HOW_XEN)
        xen_store_init(&store_page, 1);
}

bool xen_present(void)
{
    return how & HOW_XEN;
}

bool xen_launch_line(char *to, size_t size)
{
    int64_t n = xen_store_read(LAUNCH_NODE_WORDS, to, size);

    if (n == XEN_STORE_FAILED)
        kernel_stop("xenstore");
    return n != XEN_STORE_ABSENT;
}

void entropy_init(const uint8_t *seed)
{
    (void)seed;
}

void entropy_fill(void *buf, size_t len)
{
    memset(buf, 7, len);
}

uint64_t xen_now(void)
{
    return 0;
}

void xen_event_add(struct xen_ports *set, uint32_t p)
{
    set->list[0] = p;
    set->count = 1;
}

void xen_event_send(uint32_t p)
{
    CHECK(p == 1);
}

/* xenstored, which says the next piece of what it has to say. */
bool xen_event_await(const struct xen_ports *set, bool (*there)(void), uint64_t until)
{
    (void)set, (void)until;
    for (size_t n = 0; n < cut_at && told < words_len; n++) {
        uint32_t prod = store_page.in_prod;

        if (prod - store_page.in_cons >= RING)
            break;
        store_page.in[prod % RING] = words[told++];
        store_page.in_prod = prod + 1;
    }
    return there();
}

/*----- what must hold -----*/

static bool is_in(uint64_t page, const struct memory_area *a)
{
    uint64_t last = page * PAGE_SIZE + PAGE_SIZE - 1;
    bool endless = a->len > UINT64_MAX - a->at;

    if (a->type == MEMORY_RAM)
        return !endless && page * PAGE_SIZE >= a->at && last < a->at + a->len;
    return a->len > 0 && last >= a->at && (endless || page * PAGE_SIZE < a->at + a->len);
}

static void check_page(uint64_t page)
{
    bool ram = false;

    if (page >= limit || table[page] & PTE_KEEP) /* else it is free, or the app's stack */
        return;
    CHECK(page >= LOW / PAGE_SIZE);
    CHECK(page < address(image_start) / PAGE_SIZE || page >= address(kernel_data_end) / PAGE_SIZE);
    for (unsigned i = 0; i < said->memory_maps; i++) {
        ram |= areas[i].type == MEMORY_RAM && is_in(page, &areas[i]);
        CHECK(areas[i].type == MEMORY_RAM || !is_in(page, &areas[i]));
    }
    CHECK(ram);
}

/* All at each edge, and enough of the rest. */
static void check_free_pages(void)
{
    for (uint64_t page = 0; page < limit; page += limit / 1024 + 1)
        check_page(page);
    for (unsigned i = 0; i < said->memory_maps; i++)
        for (uint64_t n = 0; n < 3; n++) {
            check_page(areas[i].at / PAGE_SIZE + n - 1);
            check_page((areas[i].at + areas[i].len) / PAGE_SIZE + n - 1);
        }
}

static void check_stack(void)
{
    uint64_t top = stack_guard + PAGE_SIZE + STACK_SIZE, *p = stack, n = *p++;

    CHECK(address(stack) % 16 == 0 && address(stack) > stack_guard + PAGE_SIZE);
    CHECK(address(stack) < top && n >= 1 && n <= 1 + WORDS_MAX);
    CHECK(strcmp((char *)(uintptr_t)p[0], "image") == 0);
    for (uint64_t i = 0; i < n; i++) {
        const char *word = (const char *)(uintptr_t)p[i];

        CHECK(address(word) > address(stack) && address(word) < top);
        CHECK(memchr(word, 0, top - address(word)) && *word && !strchr(word, ' '));
        CHECK(strncmp(word, LAUNCH_ARG_SEED, sizeof LAUNCH_ARG_SEED - 1) != 0);
    }
    CHECK(p[n] == 0 && p[n + 1] == 0);
    for (p += n + 2; *p != AT_NULL; p += 2)
        CHECK(address(p) < top);
}

static void check_no_seed(const void *in, size_t len)
{
    const char *p = in, *at = p;

    while ((at = memmem(at, len - (size_t)(at - p), LAUNCH_ARG_SEED, sizeof LAUNCH_ARG_SEED - 1))) {
        CHECK(at != p && at[-1] != ' ' && at[-1] != '\0'); /* else it is one of the words */
        at++;
    }
}

/*----- one start -----*/

static void forget(void)
{
    memset(line, 0, sizeof line);
    channels = 0;
    memset(&port, 0, sizeof port);
    asked = answered = 0;
    broken = refused = false;
    memset(&store_page, 0, sizeof store_page);
    limit = given = brk_start = brk_end = stack_guard = 0;
    memset(window, 0, sizeof window);
    told = 0;
    why = NULL;
    stack = NULL;
    CHECK(madvise(ARENA, (size_t)(ARENA_END - ARENA), MADV_DONTNEED) == 0);
}

/* Pointers that are out of reach are refused; others are where we like. */
static uint64_t pointer(uint64_t wanted, uint64_t len, const void *real, bool *out_of_reach)
{
    if (wanted == 0)
        return address(real);
    if (wanted < MAPPED_AT_BOOT && len <= MAPPED_AT_BOOT - wanted)
        return address(real);
    *out_of_reach = true;
    return wanted;
}

static void start(const struct start_info *info, size_t cut)
{
    forget();
    cut_at = cut;
    /* Both lie where RAM is that is given to the app later, as a VMM's do. */
    memcpy(AT(0x200000), areas, sizeof areas);
    if (info->command_line)
        memcpy(AT(0x210000), given_line, sizeof given_line);
    if (how & HOW_LIE)
        store_page.in_prod = store_page.out_cons = lie;
    said = info;
    if (setjmp(out) == 0)
        kernel_main(info);
    CHECK(!why != !stack);
    if (!stack)
        return;
    if (cut == SIZE_MAX)
        check_free_pages(); /* the second start has the same */
    check_stack();
    check_no_seed(line, sizeof line);
    if (!(how & HOW_LIE))
        for (uint32_t i = 0; i < RING && store_page.in_cons == store_page.in_prod; i++)
            CHECK(store_page.in[i] == 0);
}

static void arena_init(void)
{
    static bool done;

    if (done)
        return;
    CHECK(mmap(ARENA, (size_t)(ARENA_END - ARENA), PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) == ARENA);
    (void)madvise(ARENA, (size_t)(ARENA_END - ARENA), MADV_NOHUGEPAGE); /* slow to forget */
    done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t answer[sizeof(struct head) + REPLY_MAX];
    struct wire_in in = wire_in(data, size);
    struct start_info info = {.magic = START_MAGIC, .version = 1};
    char first[LINE_MAX];
    bool out_of_reach = false;
    const char *first_why;
    unsigned n;

    how = wire_u8(&in);
    n = wire_u8(&in) % (AREAS_MAX + 2);
    for (unsigned i = 0; i < n; i++) {
        areas[i].at = wire_u64(&in);
        areas[i].len = wire_u64(&in);
        areas[i].type = wire_u32(&in);
    }
    info.memory_maps = n;
    info.memory_map = pointer(wire_u64(&in), n * sizeof *areas, AT(0x200000), &out_of_reach);
    info.command_line = pointer(wire_u64(&in), COMMAND_MAX, AT(0x210000), &out_of_reach);
    if (in.bad || (how & HOW_RAW && !(how & HOW_XEN)))
        return 0;
    arena_init();
    if (how & HOW_LIE)
        lie = wire_u32(&in);

    words = in.p;
    words_len = in.left;
    memset(given_line, 0, sizeof given_line);
    memcpy(given_line, words, words_len < sizeof given_line ? words_len : sizeof given_line);
    if (how & HOW_XEN && !(how & HOW_RAW)) {
        struct head head = {STORE_READ, 1, 0, (uint32_t)words_len};

        if (words_len > REPLY_MAX)
            return 0;
        memcpy(answer, &head, sizeof head);
        memcpy(answer + sizeof head, words, words_len);
        words = answer;
        words_len += sizeof head;
    }

    start(&info, SIZE_MAX);
    CHECK(!out_of_reach || !stack);
    CHECK(n <= AREAS_MAX || !stack);
    if (how & HOW_RAW && !(how & HOW_LIE) && stack) { /* the answer to what was asked */
        struct head head;

        CHECK(words_len >= sizeof head);
        memcpy(&head, words, sizeof head);
        CHECK(head.request == 1 && (head.type == STORE_READ || head.type == STORE_ERROR));
    }
    first_why = why;
    memcpy(first, line, sizeof first);
    start(&info, 1 + how / 8);
    if (how & HOW_LIE)
        return 0;
    CHECK(why == first_why && memcmp(first, line, sizeof first) == 0);
    return 0;
}
