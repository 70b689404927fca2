/* What the front's children may not do once they are in their sandboxes: each system
 * call, made in a child of its own, ends it.
 *
 * Seen to fail: any of the calls below added to a list, and PROT_EXEC allowed. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tls-front/agent/agent_sandbox.h"
#include "tls-front/worker_sandbox.h"
#include "unit.h"

static char page[4096] __attribute__((aligned(4096)));

static const struct {
    const char *what;
    long call, a, b, c, d;
} calls[] = {
    {"open a file", SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0},
    {"open one the old way", SYS_open, (long)"/", O_RDONLY, 0, 0},
    {"make a socket", SYS_socket, AF_INET, SOCK_STREAM, 0, 0},
    {"make a Unix socket", SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0},
    {"connect one", SYS_connect, 2, (long)page, 16, 0},
    {"bind one", SYS_bind, 2, (long)page, 16, 0},
    {"run a program", SYS_execve, (long)"/x", 0, 0, 0},
    {"start a process", SYS_clone, SIGCHLD, 0, 0, 0},
    {"fork", SYS_fork, 0, 0, 0, 0},
    {"trace", SYS_ptrace, PTRACE_ATTACH, 1, 0, 0},
    {"read another's memory", SYS_process_vm_readv, 1, (long)page, 1, (long)page},
    {"take another's descriptor", SYS_pidfd_getfd, 0, 0, 0, 0},
    {"kill", SYS_kill, 1, 0, 0, 0},
    {"make memory executable", SYS_mprotect, (long)page, 4096, PROT_READ | PROT_EXEC, 0},
    {"map executable memory", SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC,
     MAP_PRIVATE | MAP_ANONYMOUS},
    {"become root", SYS_setuid, 0, 0, 0, 0},
    {"make namespaces", SYS_unshare, CLONE_NEWUSER, 0, 0, 0},
    {"use io_uring", SYS_io_uring_setup, 1, (long)page, 0, 0},
    {"load a BPF program", SYS_bpf, 0, (long)page, 0, 0},
    {"make itself dumpable", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0},
    {"duplicate a descriptor", SYS_dup2, 2, 9, 0, 0},
};

static enum rc enter_agent(void)
{
    return agent_sandbox_enter();
}

static enum rc enter_worker(void)
{
    return worker_sandbox_enter(NULL, false);
}

static void try_all(enum rc (*enter)(void))
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)enter;
    print_message("sanitized: not confined\n");
    skip();
#endif
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
            if (enter())
                _exit(2);
            syscall(calls[i].call, calls[i].a, calls[i].b, calls[i].c, calls[i].d, -1, 0);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("it may %s (status %x)", calls[i].what, (unsigned)status);
    }
}

static void the_key_agent_may_not(void **state)
{
    (void)state;
    try_all(enter_agent);
}

static void a_worker_may_not(void **state)
{
    (void)state;
    try_all(enter_worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_agent_may_not),
        cmocka_unit_test(a_worker_may_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
