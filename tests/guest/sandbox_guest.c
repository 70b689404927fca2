/* What an instance sees and tries, for tests/unit/test_sandbox*.c.
 *
 * An instance gets its arguments from the backend, so a test says what to do in
 * the tenant's name: the first word of it picks the act. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/core/image_calls.h"
#include "common/core/launch.h"

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        _exit(99);
}

/* One number as the name says: "exit-65". */
static int number(const char *act)
{
    const char *dash = strrchr(act, '-');

    return dash ? atoi(dash + 1) : 0;
}

static void show_descriptors(void)
{
    char line[1024] = "open:";

    for (int fd = 0; fd < 256; fd++) {
        struct pollfd p = {.fd = fd};
        struct timespec none = {0, 0};

        /* One at a time: more than RLIMIT_NOFILE of them is refused. */
        if (ppoll(&p, 1, &none, NULL) >= 0 && !(p.revents & POLLNVAL))
            snprintf(line + strlen(line), sizeof line - strlen(line), " %d", fd);
    }
    strcat(line, "\n");
    say(line);
}

/* Rings each peer and waits for one ring, as an instance does. */
static void use_channels(unsigned channels)
{
    uint64_t one = 1;
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, LAUNCH_FD_CONTROL_MEMORY, 0);
    struct pollfd p = {.fd = LAUNCH_FD_DOORBELL, .events = POLLIN};

    if (page == MAP_FAILED)
        _exit(98);
    page[4095] = 'x';
    if (write(LAUNCH_FD_CONTROL_DOORBELL, &one, 8) != 8)
        _exit(97);
    for (unsigned i = 0; i < channels; i++)
        if (write(LAUNCH_FD_CHANNEL_DOORBELL(i), &one, 8) != 8)
            _exit(96);
    if (ppoll(&p, 1, NULL, NULL) != 1 || read(LAUNCH_FD_DOORBELL, &one, 8) != 8)
        _exit(95);
    say("rung\n");
}

static void serve(void)
{
    struct pollfd p = {.fd = LAUNCH_FD_DOORBELL, .events = POLLIN};
    uint64_t n;

    say("waiting\n");
    for (;;)
        if (ppoll(&p, 1, NULL, NULL) == 1 && read(LAUNCH_FD_DOORBELL, &n, 8) == 8)
            say("rung\n");
}

static void flood(void)
{
    char line[200];

    memset(line, 'f', sizeof line);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 20000; i++)
        (void)!write(1, line, sizeof line);
    for (int i = 0; i < 4096; i++)
        (void)!write(1, "y", 1);
}

static void eat(void)
{
    size_t mib = 0;

    while (malloc(1u << 20))
        mib++;
    printf("got %zu MiB\n", mib);
}

/*----- what must end it -----*/

static _Alignas(4096) char attack_page[4096];

static void attack(const char *what)
{
    static const struct {
        const char *name;
        long nr, a, b, c;
    } calls[] = {
        {"open", SYS_open, (long)"/", O_RDONLY, 0},
        {"openat", SYS_openat, AT_FDCWD, (long)"/etc/passwd", O_RDONLY},
        {"creat", SYS_creat, (long)"/x", 0600, 0},
        {"socket", SYS_socket, 1, 1, 0},
        {"fork", SYS_fork, 0, 0, 0},
        {"clone", SYS_clone, 17, 0, 0},
        {"clone3", SYS_clone3, 0, 0, 0},
        {"ptrace", SYS_ptrace, 0, 0, 0},
        {"kill", SYS_kill, 1, 9, 0},
        {"execve", SYS_execve, (long)"/bin/sh", 0, 0},
        {"execveat", SYS_execveat, 134, (long)"", 0},
        {"mount", SYS_mount, (long)"x", (long)"/", (long)"tmpfs"},
        {"unshare", SYS_unshare, 0x10000000, 0, 0},
        {"setns", SYS_setns, 3, 0, 0},
        {"bpf", SYS_bpf, 0, 0, 0},
        {"iouring", SYS_io_uring_setup, 8, 0, 0},
        {"memfd", SYS_memfd_create, (long)"x", 0, 0},
        {"ftruncate", SYS_ftruncate, 4, 0, 0},
        {"dup", SYS_dup, 1, 0, 0},
        {"processvm", SYS_process_vm_readv, 1, 0, 0},
        {"keyctl", SYS_keyctl, 0, 0, 0},
        {"mprotect", SYS_mprotect, 0x400000, 4096, PROT_READ | PROT_EXEC},
        {"mmapexec", SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC},
        {"mmapwx", SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC},
        {"mmapall", SYS_mmap, 0, 4096, -1},
        {"mprotectstack", SYS_mprotect, (long)attack_page, 4096,
         PROT_READ | PROT_WRITE | PROT_EXEC},
        {"mprotectgrow", SYS_mprotect, (long)attack_page, 4096,
         PROT_READ | PROT_EXEC | PROT_GROWSDOWN},
        {"x32", 0x40000000 | SYS_getpid, 0, 0, 0},
    };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(what, calls[i].name))
            continue;
        syscall(calls[i].nr, calls[i].a, calls[i].b, calls[i].c, 0, 0, 0);
        say("survived\n");
        _exit(0);
    }
    say("no such attack\n");
    _exit(94);
}

/* By number: as a call of x86-64, of x32, of i386, of the vsyscall page. */
static void attack_number(const char *how)
{
    long n = number(how), r;

    if (!strncmp(how, "call-", 5)) {
        syscall(n, 0, 0, 0, 0, 0, 0);
    } else if (!strncmp(how, "x32-", 4)) {
        syscall(0x40000000 | n, 1, "x", 1, 0, 0, 0);
    } else if (!strncmp(how, "i386-", 5)) {
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(n) : "memory");
    } else {
        long (*page)(void *, void *) =
            (long (*)(void *, void *))(0xffffffffff600000 + (unsigned long)n * 1024);

        page(NULL, NULL);
    }
    say("survived\n");
    _exit(0);
}

/* One bit of an argument that a rule fixes is another: "rule-I-BIT". */
static void break_rule(const char *how)
{
    static const struct {
        long nr;
        unsigned argument;
        uint64_t value;
    } rules[] = {
#define X(name, argument, mask, value, why) {IMAGE_CALL_##name, argument, value},
        IMAGE_CALL_RULE_MAP(X)
#undef X
    };
    long arg[6] = {0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0};
    unsigned rule, bit;

    if (sscanf(how, "rule-%u-%u", &rule, &bit) != 2 || rule >= sizeof rules / sizeof rules[0])
        _exit(92);
    arg[rules[rule].argument] = (long)(rules[rule].value ^ (uint64_t)1 << bit);
    syscall(rules[rule].nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    say("survived\n");
    _exit(0);
}

/*----- what must get an error -----*/

/* All calls that take a descriptor, with each number there may be. */
static void guess_descriptors(unsigned channels)
{
    static const unsigned long questions[] = {0x5401, 0x5412, 0x541b, 0x5421, 0x5452, 0x8901};
    int known = LAUNCH_FD_CHANNEL_MEMORY(channels);
    unsigned others = 0, controls = 0, grown = 0;
    char line[1024] = "maps:", byte = 0;
    struct iovec v = {&byte, 1};

    for (int fd = -1; fd < 4096; fd++) {
        bool ours = fd >= 0 && fd < known, memory = ours && fd >= 4 && fd % 2 == 0;
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED) {
            snprintf(line + strlen(line), sizeof line - strlen(line), " %d", fd);
            munmap(p, 4096);
        }
        for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
            controls += syscall(SYS_ioctl, fd, questions[i], &v) >= 0;
        if (memory)
            grown += write(fd, &byte, 1) >= 0;
        if (!ours)
            others += read(fd, &byte, 1) >= 0 || errno != EBADF || write(fd, &byte, 1) >= 0 ||
                      errno != EBADF || writev(fd, &v, 1) >= 0 || errno != EBADF;
    }
    printf("%s\nothers %u, controls %u, written %u\n", line, others, controls, grown);
}

/* Touched, in pieces of 64 KiB; KiB. */
static unsigned take(int prot, int flags, bool then)
{
    enum { PIECE = 64 << 10 };
    unsigned kib = 0;

    for (;;) {
        char *p = mmap(NULL, PIECE, prot, flags, -1, 0);

        if (p == MAP_FAILED || (then && mprotect(p, PIECE, PROT_READ | PROT_WRITE)))
            return kib;
        for (int i = 0; i < PIECE; i += 4096)
            p[i] = 1;
        kib += PIECE >> 10;
    }
}

/* By every way that there is, one after the other, and nothing is given back. */
static void eat_all_ways(void)
{
    enum { RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };
    unsigned own = take(RW, ANON | MAP_NORESERVE, false), more = 0;
    unsigned shared = take(RW, MAP_SHARED | MAP_ANONYMOUS, false);

    more += take(RW, ANON, false) + take(PROT_NONE, ANON, true) + take(PROT_READ, ANON, true);
    more +=
        take(RW, ANON | MAP_GROWSDOWN | MAP_STACK, false) + take(RW, ANON | MAP_POPULATE, false);
    more += take(RW, ANON | MAP_LOCKED, false) + take(RW, ANON | MAP_HUGETLB, false);
    for (char *end = (char *)syscall(SYS_brk, 0);; end += 4096, more += 4) {
        if ((char *)syscall(SYS_brk, end + 4096) != end + 4096)
            break;
        *end = 1;
    }
    printf("own %u KiB, shared %u KiB, more %u KiB\n", own, shared, more);
}

/* Mappings of one page that do not merge: each costs the kernel some memory. */
static void shatter(void)
{
    unsigned n = 0;

    while (mmap(NULL, 4096, n % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED)
        n++;
    printf("mappings %u\n", n);
}

static int recurse(unsigned left, volatile char *above)
{
    volatile char frame[4096];

    frame[0] = above ? above[0] : 1;
    return left ? recurse(left - 1, frame) + frame[0] : 0;
}

int main(int argc, char **argv)
{
    const char *act = "";
    unsigned channels = 0;

    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], LAUNCH_ARG_TENANT, strlen(LAUNCH_ARG_TENANT)))
            act = argv[i] + strlen(LAUNCH_ARG_TENANT);
        if (!strncmp(argv[i], LAUNCH_ARG_CHANNELS, strlen(LAUNCH_ARG_CHANNELS)))
            channels = (unsigned)atoi(argv[i] + strlen(LAUNCH_ARG_CHANNELS));
    }

    if (!strncmp(act, "exit-", 5))
        return number(act);
    if (!strncmp(act, "try-", 4))
        attack(act + 4);
    if (!strncmp(act, "call-", 5) || !strncmp(act, "x32-", 4) || !strncmp(act, "i386-", 5) ||
        !strncmp(act, "vsyscall-", 9))
        attack_number(act);
    if (!strncmp(act, "rule-", 5))
        break_rule(act);
    if (!strcmp(act, "guess"))
        return guess_descriptors(channels), 0;
    if (!strcmp(act, "eat-all"))
        return eat_all_ways(), 0;
    if (!strcmp(act, "shatter"))
        return shatter(), 0;
    if (!strcmp(act, "recurse"))
        return recurse(UINT32_MAX, NULL);
    if (!strcmp(act, "arguments")) {
        for (int i = 0; i < argc; i++) {
            say(argv[i]);
            say("\n");
        }
        return 0;
    }
    if (!strcmp(act, "descriptors"))
        return show_descriptors(), 0;
    if (!strcmp(act, "channels"))
        return use_channels(channels), 0;
    if (!strcmp(act, "segv"))
        *(volatile int *)(uintptr_t)number("x-8") = 1;
    if (!strcmp(act, "lines")) {
        say("one\ntwo\n");
        for (int i = 0; i < 3000; i++)
            say("z");
        say("\nunfinished");
        return 0;
    }
    if (!strcmp(act, "flood"))
        return flood(), 0;
    if (!strcmp(act, "eat"))
        return eat(), 0;
    if (!strcmp(act, "spin"))
        for (;;)
            ;
    if (!strcmp(act, "serve"))
        serve();
    say("no such act\n");
    return 93;
}
