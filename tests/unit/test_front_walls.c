/* What the front's children may not do once they are in their sandboxes: each system
 * call, made in a child of its own, ends it.
 *
 * Seen to fail: any of the calls below added to a list (SYS_sendmsg, SYS_sendto, SYS_shutdown and
 * SYS_setsockopt with any arguments), and PROT_EXEC allowed; for the folder, with an empty root as
 * every other child has: openat2() led up from it. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tls-front/agent/agent_sandbox.h"
#include "tls-front/worker_sandbox.h"
#include "unit.h"

static char page[4096] __attribute__((aligned(4096)));

static const struct {
    const char *what;
    long call, a[5];
} calls[] = {
    {"open a file", SYS_openat, {AT_FDCWD, (long)"/", O_RDONLY}},
    {"open one the old way", SYS_open, {(long)"/", O_RDONLY}},
    {"make a socket", SYS_socket, {AF_INET, SOCK_STREAM}},
    {"make a Unix socket", SYS_socket, {AF_UNIX, SOCK_STREAM}},
    {"connect one", SYS_connect, {2, (long)page, 16}},
    {"bind one", SYS_bind, {2, (long)page, 16}},
    {"run a program", SYS_execve, {(long)"/x"}},
    {"start a process", SYS_clone, {SIGCHLD}},
    {"fork", SYS_fork, {0}},
    {"trace", SYS_ptrace, {PTRACE_ATTACH, 1}},
    {"read another's memory", SYS_process_vm_readv, {1, (long)page, 1, (long)page}},
    {"take another's descriptor", SYS_pidfd_getfd, {0}},
    {"kill", SYS_kill, {1}},
    {"make memory executable", SYS_mprotect, {(long)page, 4096, PROT_READ | PROT_EXEC}},
    {"map executable memory",
     SYS_mmap,
     {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS}},
    {"become root", SYS_setuid, {0}},
    {"make namespaces", SYS_unshare, {CLONE_NEWUSER}},
    {"use io_uring", SYS_io_uring_setup, {1, (long)page}},
    {"load a BPF program", SYS_bpf, {0, (long)page}},
    {"make itself dumpable", SYS_prctl, {PR_SET_DUMPABLE, 1}},
    {"duplicate a descriptor", SYS_dup2, {2, 9}},
    {"pass a descriptor on", SYS_sendmsg, {2, (long)page, MSG_NOSIGNAL}},
    {"send to whom it likes", SYS_sendto, {2, (long)page, 1, MSG_NOSIGNAL, (long)page}},
    {"connect by sending", SYS_sendto, {2, (long)page, 1, MSG_NOSIGNAL | MSG_FASTOPEN}},
    {"end a listening socket", SYS_shutdown, {2, SHUT_RD}},
    {"end it both ways", SYS_shutdown, {2, SHUT_RDWR}},
    {"steer the other workers' connections",
     SYS_setsockopt,
     {2, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF}},
};

static enum rc enter_agent(void)
{
    return agent_sandbox_enter();
}

static enum rc enter_worker(void)
{
    return worker_sandbox_enter(NULL, -1);
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
            syscall(calls[i].call, calls[i].a[0], calls[i].a[1], calls[i].a[2], calls[i].a[3],
                    calls[i].a[4], 0);
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

/* Exit status: 0 when the folder's file can be had and nothing above; else which step failed. */
static int look_around(const char *dir)
{
    struct open_how how = {.flags = O_RDONLY};
    int folder = open(dir, O_PATH | O_DIRECTORY);

    if (folder < 0 || worker_sandbox_enter(NULL, folder))
        return 1;
    if (syscall(SYS_openat2, folder, "token", &how, sizeof how) < 0)
        return 2;
    return syscall(SYS_openat2, folder, "../../etc/passwd", &how, sizeof how) < 0 ? 0 : 3;
}

static void the_worker_that_serves_files_sees_those_and_no_others(void **state)
{
    char dir[] = "/tmp/roomkey-walls-XXXXXX", file[sizeof dir + 8];
    int fd, status;
    pid_t pid;

    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("sanitized: not confined\n");
    skip();
#endif
    if (geteuid() != 0) {
        print_message("only root can be locked into a folder\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(file, sizeof file, "%s/token", dir);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    close(fd);
    pid = fork();
    if (pid == 0)
        _exit(look_around(dir));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(file);
    rmdir(dir);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_agent_may_not),
        cmocka_unit_test(a_worker_may_not),
        cmocka_unit_test(the_worker_that_serves_files_sees_those_and_no_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
