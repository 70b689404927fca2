/* The words that an instance is launched with: from its node in xenstore on Xen, else from
 * the command line; the seed is taken out of them, the rest is the app's first stack.
 *
 * Failure modes, each of which stops with a line: too long, too many words, a seed that is
 * none, no seed on Xen, a xenstore that does not answer. */
#include "common/core/launch.h"

#include <elf.h>

#include "tenant-runtime/ground/kernel/kernel.h"

#define LINE_MAX  4096
#define WORDS_MAX 64

static char line[LINE_MAX];
static unsigned channels;

/* Copies what the VMM gave, and wipes it there: it may hold the seed. */
static void take_command_line(char *s)
{
    size_t n = 0;

    while (s && n < LINE_MAX && s[n])
        n++;
    if (n == LINE_MAX)
        kernel_stop("the command line is longer than 4095 letters");
    memory_copy(line, s, n);
    line[n] = '\0';
    memory_zero(s, n);
}

/*----- single words -----*/

/* The first word that begins so, or NULL. */
static char *find(const char *begin)
{
    for (char *p = line; *p; p++)
        if ((p == line || p[-1] == ' ') && text_begins(p, begin))
            return p;
    return NULL;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode_seed(const char *hex, uint8_t *seed)
{
    for (int i = 0; i < LAUNCH_SEED_SIZE; i++, hex += 2) {
        int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);

        if (low < 0)
            return false;
        seed[i] = (uint8_t)(high << 4 | low);
    }
    return *hex == ' ' || *hex == '\0';
}

static void erase_word(char *p)
{
    while (*p && *p != ' ')
        *(volatile char *)p++ = ' ';
}

/* Feeds the seed to the kernel's generator, and leaves no trace of it. */
static void take_seed(void)
{
    uint8_t seed[LAUNCH_SEED_SIZE];
    char *word = find(LAUNCH_ARG_SEED), *more;

    if (!word && xen_present())
        kernel_stop("no entropy: launched without " LAUNCH_ARG_SEED
                    "HEX (32 bytes of the host's): start it with roomkeyd");
    if (word && !decode_seed(word + sizeof LAUNCH_ARG_SEED - 1, seed))
        kernel_stop("no entropy: " LAUNCH_ARG_SEED " is not 64 digits of 0-9 and a-f");
    entropy_init(word ? seed : NULL);
    memory_zero(seed, sizeof seed);
    while ((more = find(LAUNCH_ARG_SEED)))
        erase_word(more);
}

static void take_channels(void)
{
    const char *word = find(LAUNCH_ARG_CHANNELS);
    unsigned n = 0;

    if (!word)
        return;
    for (word += sizeof LAUNCH_ARG_CHANNELS - 1; *word >= '0' && *word <= '9'; word++)
        n = n > LAUNCH_CHANNELS_MAX ? n : n * 10 + (unsigned)(*word - '0');
    /* What is no number of channels the app complains of. */
    channels = n > LAUNCH_CHANNELS_MAX ? 0 : n;
}

unsigned launch_channels(void)
{
    return channels;
}

void launch_init(char *command_line)
{
    size_t n;

    if (!xen_present() || !xen_launch_line(line, LINE_MAX))
        take_command_line(command_line);
    /* A node may hold a NUL: what is behind it is nobody's word, and may be a seed. */
    n = text_length(line);
    memory_zero(line + n, LINE_MAX - n);
    take_seed();
    take_channels();
}

/*----- the app's first stack -----*/

/* Cuts a line into its words, in place; how many there are. */
static unsigned cut(char *p, uint64_t *words)
{
    unsigned n = 0;

    while (*p) {
        while (*p == ' ')
            *p++ = '\0';
        if (!*p)
            break;
        if (n == WORDS_MAX)
            kernel_stop("the command line has more than 64 words");
        words[n++] = (uint64_t)(uintptr_t)p;
        while (*p && *p != ' ')
            p++;
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
uint64_t *launch_stack(void)
{
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)(const void *)image_start;
    uint64_t *stack = (uint64_t *)(uintptr_t)memory_stack(), *copy, *name, *seed, words[WORDS_MAX];
    unsigned n;

    copy = stack = push(stack, line, LINE_MAX);
    name = stack = push(stack, "image", sizeof "image");
    seed = stack -= 2;
    entropy_fill(seed, 16);
    n = cut((char *)copy, words);

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
