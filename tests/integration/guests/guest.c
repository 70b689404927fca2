/* A guest for tests of the ground alone: what it is to do comes in argv, what it saw goes to its
 * console. It has a main() of its own, so the runtime's stays out.
 *
 *   argv …   prints its arguments          echo    sends back what comes on channel 0
 *   libc     malloc, stdio, time, entropy  vector  the vector registers survive a call
 *   exit N   ends with that status         open    says what opening the channels gave
 *   sleep MS                               efault  asks the kernel to write where it may not
 *   time MS  the clocks, before and after sleeping   flood N   N lines, then abort()
 *   rest     opens channel 0 and waits     chance  32 bytes of entropy
 *   socket, code, and those of crash(): each breaks one rule, and does not come back
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <roomkey/app.h>

#include "common/core/check.h"
#include "common/core/ring.h"
#include "tenant-runtime/ground/ground.h"

ROOMKEY_APP("guest", "1.0.0", .on_request = NULL);

extern char kernel_stack_top[];

static const char constant[] = "constant";

static int show_arguments(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("argv[%d]=%s\n", i, argv[i]);
    return 0;
}

/*----- the C library works -----*/

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    CHECK(clock_gettime(clock, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool all_bytes(const unsigned char *p, size_t n, unsigned char v)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != v)
            return false;
    return true;
}

static int use_libc(void)
{
    unsigned char *big, random[2][32];
    uint64_t t;

    /* More in total than there is memory: what is freed is used again, and comes zeroed. */
    for (int i = 0; i < 64; i++) {
        big = calloc(1, 1 << 20);
        CHECK(big && all_bytes(big, 1 << 20, 0));
        memset(big, 0xa5, 1 << 20);
        big = realloc(big, 3 << 19);
        CHECK(big && all_bytes(big, 1 << 20, 0xa5));
        free(big);
    }
    CHECK(!malloc((size_t)1 << 40));

    big = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(big != MAP_FAILED);
    CHECK(mprotect(big, 4096, PROT_NONE) == 0);
    big[4096] = 1;
    CHECK(munmap(big, 12288) == 0);

    CHECK(getrandom(random[0], 32, 0) == 32 && getrandom(random[1], 32, 0) == 32);
    CHECK(memcmp(random[0], random[1], 32) != 0);

    t = now_ns(CLOCK_MONOTONIC);
    while (now_ns(CLOCK_MONOTONIC) - t < 1000000) {
    }
    printf("libc works on %s: %.3f\n", ground->name, 22 / 7.0);
    return 0;
}

static int use_vectors(void)
{
    const uint64_t before = 0x0123456789abcdef;
    uint64_t after, entropy;
    long n = SYS_getrandom;

    __asm__ volatile("movq %[before], %%xmm15\n\t"
                     "syscall\n\t"
                     "movq %%xmm15, %[after]"
                     : "+a"(n), [after] "=r"(after)
                     : [before] "r"(before), "D"(&entropy), "S"(sizeof entropy), "d"(0L)
                     : "rcx", "r11", "xmm15", "memory");
    CHECK(n == sizeof entropy && after == before);
    printf("vectors are kept, avx2 %s\n", __builtin_cpu_supports("avx2") ? "on" : "off");
    return 0;
}

static int sleep_ms(const char *ms)
{
    const struct timespec t = {atoi(ms) / 1000, atoi(ms) % 1000 * 1000000L};

    CHECK(ppoll(NULL, 0, &t, NULL) == 0);
    return 0;
}

static int show_time(const char *ms)
{
    uint64_t monotonic = now_ns(CLOCK_MONOTONIC), last = monotonic, now;

    printf("began %llu\n", (unsigned long long)monotonic / 1000);
    fflush(stdout);
    sleep_ms(ms);
    for (int i = 0; i < 1000; i++, last = now)
        CHECK((now = now_ns(CLOCK_MONOTONIC)) >= last);
    printf("slept %llu now %llu\n", (unsigned long long)(last - monotonic) / 1000,
           (unsigned long long)now_ns(CLOCK_REALTIME) / 1000000000);
    return 0;
}

static int flood(const char *lines)
{
    for (int i = 0; i < atoi(lines); i++)
        printf("line %d of a log that fills the console's ring many times over\n", i);
    abort();
}

static int show_chance(void)
{
    unsigned char bytes[32];

    CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        printf("%02x", bytes[i]);
    printf("\n");
    return 0;
}

static int ask_for_faults(void)
{
    const struct {
        const char *name;
        uintptr_t at;
    } places[] = {
        {"kernel", (uintptr_t)kernel_stack_top},
        {"text", (uintptr_t)exit},
        {"null", 0},
        {"beyond", UINTPTR_MAX - 7},
    };

    printf("refused:");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        CHECK(syscall(SYS_getrandom, places[i].at, 16, 0) == -1 && errno == EFAULT);
        printf("%s %s", i ? "," : "", places[i].name);
    }
    printf("\n");
    return 0;
}

/*----- channels -----*/

static int open_channels(void)
{
    printf("open: %s\n", rc_text(ground->open(1)));
    return 0;
}

static int rest(void)
{
    CHECK(!ground->open(1));
    for (;;)
        ground->wait(UINT64_MAX);
}

static int echo(void)
{
    struct ground_channel c;
    struct ring_span in, out;
    struct ring ring;
    uint32_t n, room;
    uint8_t byte;

    CHECK(!ground->open(1));
    c = ground->channel(0);
    CHECK(!ring_attach(&ring, c.memory, c.len, RING_SERVER));
    for (;;) {
        ring_want(&ring, RING_NOTIFY_WRITE);
        CHECK(!ring_readable(&ring, &in, &n));
        if (n == 0) {
            if (ring_peer(&ring) == RING_GONE)
                return 0;
            ground->wait(UINT64_MAX);
            continue;
        }
        CHECK(!ring_writable(&ring, &out, &room) && room);
        CHECK(ring_span_copy(&in, 0, &byte, 1) && ring_span_fill(&out, 0, &byte, 1));
        ring_consume(&ring, 1);
        ring_publish(&ring, 1);
        if (ring_must_notify(&ring, RING_NOTIFY_WRITE))
            ground->ring(0);
    }
}

/*----- breaking the rules -----*/

static int recurse(volatile char *above)
{
    volatile char frame[1024];

    frame[0] = above[0];
    return above[0] == 'x' ? recurse(frame) + frame[0] : 0; /* always 'x' */
}

static int crash(const char *how)
{
    volatile char *null = NULL;
    volatile int one = 1, zero = 0;
    char c = 'x';

    __asm__("" : "+r"(null)); /* or the compiler would know, and trap by itself */
    if (!strcmp(how, "text"))
        *(volatile char *)(uintptr_t)exit = 0;
    else if (!strcmp(how, "rodata"))
        *(volatile char *)(uintptr_t)constant = 0;
    else if (!strcmp(how, "null"))
        printf("%d\n", *null);
    else if (!strcmp(how, "stack"))
        return recurse(&c);
    else if (!strcmp(how, "exec"))
        ((void (*)(void))(uintptr_t)malloc(16))();
    else if (!strcmp(how, "kernel"))
        *(volatile char *)kernel_stack_top = 1;
    else if (!strcmp(how, "hlt"))
        __asm__ volatile("hlt");
    else if (!strcmp(how, "divide"))
        return one / zero;
    else if (!strcmp(how, "socket"))
        syscall(SYS_socket, 1, 1, 0);
    else if (!strcmp(how, "code"))
        mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else if (!strcmp(how, "abort"))
        abort();
    else if (!strcmp(how, "check"))
        CHECK(how == NULL);
    printf("survived %s\n", how);
    return 1;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "argv";

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "argv"))
        return show_arguments(argc, argv);
    if (!strcmp(what, "libc"))
        return use_libc();
    if (!strcmp(what, "sleep") && argc > 2)
        return sleep_ms(argv[2]);
    if (!strcmp(what, "time") && argc > 2)
        return show_time(argv[2]);
    if (!strcmp(what, "flood") && argc > 2)
        return flood(argv[2]);
    if (!strcmp(what, "chance"))
        return show_chance();
    if (!strcmp(what, "rest"))
        return rest();
    if (!strcmp(what, "efault"))
        return ask_for_faults();
    if (!strcmp(what, "vector"))
        return use_vectors();
    if (!strcmp(what, "open"))
        return open_channels();
    if (!strcmp(what, "echo"))
        return echo();
    if (!strcmp(what, "exit") && argc > 2)
        return atoi(argv[2]);
    return crash(what);
}
