/* From the start of the virtual machine to the app's, on the ground pvh.
 *
 * The happy path: the VMM's start info is checked and what matters of it copied
 * (it lies in RAM that is given to the app soon), then processor, memory, clock,
 * the app's first stack as Linux would make it, and off to the C library's start.
 * Failure modes, each of which stops with one line: a VMM that does not speak
 * PVH 1, no RAM around the image, too long a command line. */
#include <elf.h>

#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/ground/kernel/kernel.h"

#define START_MAGIC    0x336ec578u
#define START_MAPS_MAX 128
#define RAM            1
#define MAPPED_AT_BOOT (1ull << 32)
#define COMMAND_MAX    4096
#define WORDS_MAX      64

/* xen/include/public/arch-x86/hvm/start_info.h */
struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp, memory_map;
    uint32_t memory_maps, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "PVH start info, version 1");

struct start_memory {
    uint64_t at, len;
    uint32_t type, reserved;
};
_Static_assert(sizeof(struct start_memory) == 24, "PVH start info, version 1");

static char command_line[COMMAND_MAX];

/* Until memory_init() the first 4 GiB are there to be read. */
static const void *at_boot(uint64_t at, uint64_t len)
{
    if (at == 0 || at >= MAPPED_AT_BOOT || len > MAPPED_AT_BOOT - at)
        kernel_stop("the VMM's start info points out of reach");
    return (const void *)(uintptr_t)at;
}

/* The end of the RAM that the image lies in. */
static uint64_t ram_end(const struct start_info *info)
{
    uint64_t first = (uint64_t)(uintptr_t)image_start, last = (uint64_t)(uintptr_t)image_end;
    const struct start_memory *map;

    if (info->memory_maps > START_MAPS_MAX)
        kernel_stop("the VMM's memory map is too long");
    map = at_boot(info->memory_map, info->memory_maps * sizeof *map);
    for (uint32_t i = 0; i < info->memory_maps; i++)
        if (map[i].type == RAM && map[i].at <= first && map[i].at + map[i].len >= last &&
            map[i].at + map[i].len > map[i].at)
            return map[i].at + map[i].len;
    kernel_stop("the VMM's memory map has no RAM where the image is");
}

static void copy_command_line(uint64_t from)
{
    const char *s;
    size_t n = 0;

    if (from == 0)
        return;
    s = at_boot(from, COMMAND_MAX);
    while (n < COMMAND_MAX && s[n])
        n++;
    if (n == COMMAND_MAX)
        kernel_stop("the command line is longer than 4095 letters");
    memory_copy(command_line, s, n);
}

/*----- the app's first stack -----*/

/* Cuts a line into its words, in place; how many there are. */
static unsigned cut(char *line, uint64_t *words)
{
    unsigned n = 0;

    while (*line) {
        while (*line == ' ')
            *line++ = '\0';
        if (!*line)
            break;
        if (n == WORDS_MAX)
            kernel_stop("the command line has more than 64 words");
        words[n++] = (uint64_t)(uintptr_t)line;
        while (*line && *line != ' ')
            line++;
    }
    return n;
}

static uint64_t *push(uint64_t *stack, const void *p, size_t len)
{
    stack -= (len + 7) / 8;
    memory_copy(stack, p, len);
    return stack;
}

/* argc, argv, no environment, the auxiliary vector: what the C library's start reads. */
static uint64_t *first_stack(void)
{
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)(const void *)image_start;
    uint64_t *stack = (uint64_t *)(uintptr_t)memory_stack(), *line, *name, *seed, words[WORDS_MAX];
    unsigned n;

    line = stack = push(stack, command_line, COMMAND_MAX);
    name = stack = push(stack, "image", sizeof "image");
    seed = stack -= 2;
    cpu_random(seed, 16);
    n = cut((char *)line, words);

    const uint64_t auxiliary[] = {
        AT_PAGESZ, PAGE_SIZE,
        AT_PHDR,   (uint64_t)(uintptr_t)image_start + elf->e_phoff,
        AT_PHENT,  elf->e_phentsize,
        AT_PHNUM,  elf->e_phnum,
        AT_ENTRY,  elf->e_entry,
        AT_SECURE, 0,
        AT_RANDOM, (uint64_t)(uintptr_t)seed,
        AT_NULL,   0,
    };
    /* What follows must end with the stack pointer 16-byte aligned: argc, argv[0], n words, two
     * ends of lists, and pairs. */
    if (((uintptr_t)stack / 8 + n) % 2)
        stack--;
    stack = push(stack, auxiliary, sizeof auxiliary);
    *--stack = 0; /* end of the environment */
    *--stack = 0; /* end of argv */
    stack = push(stack, words, n * sizeof words[0]);
    *--stack = (uint64_t)(uintptr_t)name;
    *--stack = 1 + n;
    return stack;
}

_Noreturn void kernel_main(const void *start_info)
{
    const struct start_info *info = start_info;
    uint64_t end;

    if (info->magic != START_MAGIC || info->version < 1)
        kernel_stop("not started by PVH, version 1 or later");
    end = ram_end(info);
    copy_command_line(info->command_line);

    cpu_init();
    memory_init(end);
    clock_init();
    ground = &ground_pvh;
    kernel_enter_app(_start, first_stack());
}
