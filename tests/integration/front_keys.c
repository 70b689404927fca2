#include "front_keys.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/control.h"
#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/host/packet.h"
#include "tests/unit/unit.h"

#define PEERS 4

/*----- certificates -----*/

static char made[64]; /* where certificates for all tests of this program are */

static void remove_certificates(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", made);
    if (system(command) != 0)
        fprintf(stderr, "%s was not removed\n", made);
}

void keys_make(const char *dir)
{
    static const char script[] =
        "cd %s && for k in ec p384 rsa; do"
        " case $k in ec) o='ec -pkeyopt ec_paramgen_curve:P-256';;"
        " p384) o='ec -pkeyopt ec_paramgen_curve:P-384';; rsa) o=rsa:2048;; esac;"
        " openssl req -x509 -newkey $o -nodes -subj /CN=acme.example"
        " -addext subjectAltName=DNS:acme.example,DNS:other.example -days 2"
        " -keyout $k.key -out $k.crt 2>/dev/null || exit 1;"
        " openssl pkey -in $k.key -pubout -outform DER | sha256sum | head -c64 >$k.id;"
        " cp $k.key $(cat $k.id).pem; done";
    char command[1024];

    if (!made[0]) {
        strcpy(made, "/tmp/roomkey-certs-XXXXXX");
        assert_non_null(mkdtemp(made));
        atexit(remove_certificates);
        snprintf(command, sizeof command, script, made);
        assert_int_equal(system(command), 0);
    }
    snprintf(command, sizeof command, "cp %s/* %s", made, dir);
    assert_int_equal(system(command), 0);
}

/*----- roomkeyd -----*/

static void say(int fd, const struct control_msg *m, int with)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    if (control_encode(m, buf, sizeof buf, &len) ||
        packet_write(fd, buf, len, &with, control_fds(m)))
        fprintf(stderr, "the key agent could not be answered\n");
}

static void answer(int fd, const char *dir, const struct control_msg *m)
{
    struct control_msg out = {.type = CONTROL_WELCOME};
    char path[256];
    int key = -1;

    if (m->type == CONTROL_HELLO) {
        out.welcome.control_version = CONTROL_VERSION;
        out.welcome.mux_version = MUX_VERSION;
        out.welcome.handover_version = HANDOVER_VERSION;
    } else {
        out = (struct control_msg){.type = CONTROL_KEY_FILE, .request = m->key.request};
        snprintf(path, sizeof path, "%s/%s.pem", dir, m->key.key);
        key = open(path, O_RDONLY | O_CLOEXEC);
        if (key < 0) {
            out = (struct control_msg){.type = CONTROL_REFUSED};
            out.refused.request = m->key.request;
            out.refused.why = RC_NOT_FOUND;
            strcpy(out.refused.text, "not found");
        }
    }
    say(fd, &out, key);
    if (key >= 0)
        close(key);
}

/* False when the peer is gone. */
static int read_one(int fd, const char *dir)
{
    uint8_t buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    struct control_msg m;
    size_t len, nfds;

    if (packet_read(fd, buf, sizeof buf, &len, fds, &nfds) || control_decode(buf, len, &m))
        return 0;
    if (m.type != CONTROL_HELLO && m.type != CONTROL_KEY)
        return 0;
    answer(fd, dir, &m);
    return 1;
}

__attribute__((noreturn)) static void serve(int listener, const char *dir)
{
    struct pollfd p[1 + PEERS];

    for (int i = 0; i <= PEERS; i++)
        p[i] = (struct pollfd){.fd = i ? -1 : listener, .events = POLLIN};
    for (;;) {
        if (poll(p, 1 + PEERS, -1) < 0)
            _exit(1);
        for (int i = 1; i <= PEERS; i++)
            if (p[i].fd >= 0 && p[i].revents && !read_one(p[i].fd, dir)) {
                close(p[i].fd);
                p[i].fd = -1;
            }
        for (int i = 1; i <= PEERS && p[0].revents; i++)
            if (p[i].fd < 0) {
                p[i].fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                p[i].revents = p[0].revents = 0;
            }
    }
}

pid_t keys_start(const char *dir)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    pid_t pid;

    snprintf(at.sun_path, sizeof at.sun_path, "%s/agent.sock", dir);
    unlink(at.sun_path);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 8), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Of the test's own sockets none may live on in here. */
        dup2(listener, STDERR_FILENO + 1);
        close_range(STDERR_FILENO + 2, ~0u, 0);
        serve(STDERR_FILENO + 1, dir);
    }
    close(listener);
    return pid;
}

void keys_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
