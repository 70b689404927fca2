/* What an instance sees and tries, for tests/unit/test_sandbox*.c.
 *
 * An instance gets its arguments from the backend, so a test says what to do in
 * the tenant's name: the first word of it picks the act. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

/* Each of these must end the instance. */
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
        {"x32", 0x40000000 | SYS_getpid, 0, 0, 0},
        {"compat", -1, 0, 0, 0},
    };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(what, calls[i].name))
            continue;
        if (calls[i].nr == -1) {
            long r;

            __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory"); /* i386 getpid */
        } else {
            syscall(calls[i].nr, calls[i].a, calls[i].b, calls[i].c, 0, 0, 0);
        }
        say("survived\n");
        _exit(0);
    }
    say("no such attack\n");
    _exit(94);
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
