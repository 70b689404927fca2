#include "front_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/secret.h"
#include "common/host/packet.h"
#include "front_keys.h"

extern char **environ;

static void wait_for(int fd, short events, const char *what)
{
    struct pollfd p = {.fd = fd, .events = events};

    if (poll(&p, 1, RIG_WAIT_MS) != 1)
        fail_msg("%s did not come in time", what);
}

/*----- the front -----*/

static void listen_orch(struct rig *r)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof at.sun_path, "%s/front.sock", r->dir);
    unlink(at.sun_path);
    r->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(r->listener, 8), 0);
    r->keys = keys_start(r->dir);
}

/* Reads the log up to and with the line that says "ready". */
static void read_ready(struct rig *r)
{
    char line[1024];
    size_t n = 0;

    for (;;) {
        wait_for(r->log, POLLIN, "the front's ready line");
        if (read(r->log, line + n, 1) != 1)
            fail_msg("the front ended before it was ready");
        if (line[n] != '\n' && n < sizeof line - 2) {
            n++;
            continue;
        }
        line[n] = '\0';
        n = 0;
        print_message("%s\n", line);
        if (strstr(line, ": ready on ")) {
            char *http = strstr(line, "plain HTTP on ");

            assert_int_equal(sscanf(strstr(line, "127.0.0.1:"), "127.0.0.1:%d", &r->port), 1);
            if (http)
                sscanf(strrchr(http, ':'), ":%d", &r->http_port);
            return;
        }
    }
}

unsigned rig_files;

void rig_start(struct rig *r, const char *const *extra)
{
    char files[32];
    const char *argv[32] = {
        "/usr/bin/prlimit", files,         "--",        ROOMKEY_FRONT, "--run",   r->dir,
        "--listen",         "127.0.0.1:0", "--workers", "1",           "--drain", "1"};
    const char **program = rig_files ? argv : argv + 3;
    size_t n = 12;
    posix_spawn_file_actions_t actions;
    int pipes[2];

    memset(r, 0, sizeof *r);
    snprintf(files, sizeof files, "--nofile=%u:%u", rig_files, rig_files);
    strcpy(r->dir, "/tmp/roomkey-rig-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    keys_make(r->dir);
    listen_orch(r);
    while (extra && *extra)
        argv[n++] = *extra++;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
    assert_int_equal(
        posix_spawn(&r->front, program[0], &actions, NULL, (char **)(uintptr_t)program, environ),
        0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    r->log = pipes[0];
    read_ready(r);
    assert_int_equal(rig_greet(r), 0);
}

void rig_stop(struct rig *r)
{
    char command[128], text[4096];
    ssize_t n;
    int status;

    if (r->orch >= 0)
        close(r->orch);
    kill(r->front, SIGTERM);
    /* Its stderr ends when the last of its processes does. */
    for (;;) {
        wait_for(r->log, POLLIN | POLLHUP, "the front's end");
        n = read(r->log, text, sizeof text - 1);
        if (n <= 0)
            break;
        text[n] = '\0';
        print_message("%s", text);
        if (strstr(text, "CHECK failed")) /* by a worker, at its end */
            fail_msg("the front did not close clean");
    }
    assert_int_equal(waitpid(r->front, &status, 0), r->front);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(r->log);
    close(r->listener);
    keys_stop(r->keys);
    snprintf(command, sizeof command, "rm -rf %s", r->dir);
    assert_int_equal(system(command), 0);
}

pid_t rig_agent(struct rig *r, pid_t before)
{
    char command[128];
    int pid = 0;

    snprintf(command, sizeof command, "pgrep -P %d -x roomkey-keys", (int)r->front);
    for (int n = 0; n < RIG_WAIT_MS / 10; n++) {
        FILE *p = popen(command, "re");

        assert_non_null(p);
        if (fscanf(p, "%d", &pid) != 1)
            pid = 0;
        pclose(p);
        if (pid != 0 && pid != before)
            return pid;
    }
    fail_msg("there is no key agent");
    return 0;
}

/*----- the fake roomkeyd -----*/

static void receive(struct rig *r, struct control_msg *m)
{
    uint8_t buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;

    wait_for(r->orch, POLLIN, "a control message");
    assert_int_equal(packet_read(r->orch, buf, sizeof buf, &len, fds, &nfds), RC_OK);
    assert_int_equal(nfds, 0);
    assert_int_equal(control_decode(buf, len, m), RC_OK);
}

void rig_expect(struct rig *r, enum control_type type, struct control_msg *m)
{
    do {
        receive(r, m);
    } while (m->type != type && (m->type == CONTROL_STATS || m->type == CONTROL_ACTIVITY));
    assert_int_equal(m->type, type);
}

void rig_send(struct rig *r, const struct control_msg *m, const int *fds, size_t nfds)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    assert_int_equal(control_fds(m), nfds);
    assert_int_equal(control_encode(m, buf, sizeof buf, &len), RC_OK);
    assert_int_equal(packet_write(r->orch, buf, len, fds, nfds), RC_OK);
}

unsigned rig_greet(struct rig *r)
{
    struct control_msg m, welcome = {.type = CONTROL_WELCOME};
    unsigned holding = 0;

    wait_for(r->listener, POLLIN, "the worker");
    r->orch = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(r->orch >= 0);
    rig_expect(r, CONTROL_HELLO, &m);
    assert_int_equal(m.hello.control_version, CONTROL_VERSION);
    assert_int_equal(m.hello.worker, 0);
    r->worker = (pid_t)m.hello.pid;
    welcome.welcome.control_version = CONTROL_VERSION;
    welcome.welcome.mux_version = MUX_VERSION;
    welcome.welcome.handover_version = HANDOVER_VERSION;
    welcome.welcome.channels = 8;
    rig_send(r, &welcome, NULL, 0);
    for (;;) {
        receive(r, &m);
        if (m.type == CONTROL_SYNCED)
            return holding;
        assert_int_equal(m.type, CONTROL_HOLDING);
        holding++;
    }
}

int rig_taken(struct rig *r, enum rig_socket which)
{
    int pidfd = (int)syscall(SYS_pidfd_open, r->worker, 0), found = -1;

    assert_true(pidfd >= 0);
    for (int n = 0; n < 64 && (found < 0 || which == RIG_TO_AGENT); n++) {
        int got = (int)syscall(SYS_pidfd_getfd, pidfd, n, 0), type = 0;
        struct sockaddr_un peer = {0};
        socklen_t len = sizeof type, peer_len = sizeof peer;

        if (got < 0)
            continue;
        if (getsockopt(got, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET &&
            getpeername(got, (struct sockaddr *)&peer, &peer_len) == 0 && !peer.sun_path[0]) {
            if (found >= 0)
                close(found);
            found = got;
        } else {
            close(got);
        }
    }
    close(pidfd);
    assert_true(found >= 0);
    return found;
}

void rig_orch_dies(struct rig *r)
{
    close(r->orch);
    close(r->listener);
    keys_stop(r->keys);
    r->orch = -1;
    listen_orch(r);
}

const char *const *rig_certs;

/* The text of RUN/`name`.`suffix`. */
static void read_text(struct rig *r, const char *name, const char *suffix, char *out, size_t size)
{
    char path[128];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%s/%s.%s", r->dir, name, suffix);
    f = fopen(path, "r");
    assert_non_null(f);
    n = fread(out, 1, size - 1, f);
    out[n] = '\0';
    fclose(f);
}

void rig_route(struct rig *r, uint64_t request, uint32_t wake_timeout_ms, bool certs)
{
    static const char *const standard[] = {"ec", "rsa", NULL};
    const char *const *names = rig_certs ? rig_certs : standard;
    struct control_msg m = {.type = CONTROL_ROUTE};
    int fds[CONTROL_CERTS_MAX] = {-1};
    char path[128];
    size_t n = 0;

    m.route.request = request;
    m.route.tenant = RIG_TENANT;
    m.route.revision = 3;
    m.route.wake_timeout_ms = wake_timeout_ms;
    strcpy(m.route.name, "acme");
    strcpy(m.route.alpn, "http/1.1");
    for (; certs && names[n]; n++) {
        snprintf(path, sizeof path, "%s/%s.crt", r->dir, names[n]);
        fds[n] = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fds[n] >= 0);
        read_text(r, names[n], "id", m.route.key[n], sizeof m.route.key[n]);
    }
    m.route.certs = (uint8_t)n;
    rig_send(r, &m, fds, n);
    while (n > 0)
        close(fds[--n]);
}

void rig_refuse(struct rig *r, uint64_t request, enum rc why)
{
    struct control_msg m = {.type = CONTROL_REFUSED};

    m.refused.request = request;
    m.refused.why = (uint16_t)why;
    strcpy(m.refused.text, rc_text(why));
    rig_send(r, &m, NULL, 0);
}

void rig_ready(struct rig *r, uint64_t request, struct rig_tenant *t)
{
    struct control_msg m = {.type = CONTROL_READY};
    int fds[3] = {t->memory, t->bell, t->worker_bell};

    m.ready.request = request;
    m.ready.tenant = RIG_TENANT;
    m.ready.id.instance = RIG_INSTANCE + t->generation;
    m.ready.id.generation = t->generation;
    m.ready.woken = 1;
    m.ready.bytes = (uint32_t)t->len;
    m.ready.asked_us = 10;
    m.ready.ready_us = 20;
    rig_send(r, &m, fds, 3);
}

/*----- the fake tenant -----*/

void rig_tenant_make(struct rig_tenant *t, uint64_t generation)
{
    struct mux_hello hello = {MUX_VERSION, HANDOVER_VERSION, generation};
    uint8_t buf[MUX_HELLO_SIZE];
    size_t n;

    memset(t, 0, sizeof *t);
    t->generation = generation;
    t->len = ring_bytes(16, 16);
    t->memory = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(t->memory, (off_t)t->len), 0);
    assert_int_equal(fcntl(t->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    t->mem = mmap(NULL, t->len, PROT_READ | PROT_WRITE, MAP_SHARED, t->memory, 0);
    assert_ptr_not_equal(t->mem, MAP_FAILED);
    ring_format(t->mem, 16, 16);
    assert_int_equal(ring_attach(&t->ring, t->mem, t->len, RING_SERVER), RC_OK);
    t->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->worker_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(mux_hello_encode(&hello, buf, sizeof buf, &n), RC_OK);
    assert_int_equal(mux_put(&t->ring, MUX_HELLO, 0, buf, (uint32_t)n), RC_OK);
}

void rig_tenant_free(struct rig_tenant *t)
{
    munmap(t->mem, t->len);
    close(t->memory);
    close(t->bell);
    close(t->worker_bell);
}

void rig_ring_worker(struct rig_tenant *t)
{
    assert_int_equal(eventfd_write(t->worker_bell, 1), 0);
}

void rig_wait_bell(struct rig_tenant *t)
{
    eventfd_t count;

    wait_for(t->bell, POLLIN, "the worker's doorbell");
    assert_int_equal(eventfd_read(t->bell, &count), 0);
}

static void next_frame(struct rig_tenant *t, struct rig_frame *f)
{
    struct ring_span span;
    enum rc rc;

    while ((rc = mux_next(&t->ring, &f->head, &span)) == RC_AGAIN) {
        ring_want(&t->ring, RING_NOTIFY_WRITE);
        if (mux_next(&t->ring, &f->head, &span) == RC_AGAIN)
            rig_wait_bell(t);
    }
    assert_int_equal(rc, RC_OK);
    assert_true(ring_span_copy(&span, 0, f->payload, f->head.len));
    if (f->head.type == MUX_OPEN) /* as every tenant does */
        for (int i = 0; i < 2; i++)
            secret_wipe(span.p[i], span.len[i]);
    mux_consume(&t->ring, &f->head);
    if (ring_must_notify(&t->ring, RING_NOTIFY_READ))
        rig_ring_worker(t);
}

void rig_take(struct rig_tenant *t, enum mux_type type, struct rig_frame *f)
{
    do {
        next_frame(t, f);
    } while (f->head.type == MUX_CREDIT && type != MUX_CREDIT);
    assert_int_equal(f->head.type, type);
}

uint64_t rig_take_open(struct rig_tenant *t, struct handover *h)
{
    static struct rig_frame f;

    if (!t->greeted)
        rig_take(t, MUX_HELLO, &f);
    t->greeted = true;
    rig_take(t, MUX_OPEN, &f);
    assert_int_equal(handover_decode(f.payload, f.head.len, h), RC_OK);
    secret_wipe(f.payload, sizeof f.payload);
    return f.head.conn;
}

void rig_put(struct rig_tenant *t, enum mux_type type, uint64_t conn, const void *p, size_t n)
{
    assert_int_equal(mux_put(&t->ring, (uint8_t)type, conn, p, (uint32_t)n), RC_OK);
    if (ring_must_notify(&t->ring, RING_NOTIFY_WRITE))
        rig_ring_worker(t);
}

void rig_wait_taken(struct rig_tenant *t)
{
    struct ring_span span;
    uint32_t n;

    for (;;) {
        ring_want(&t->ring, RING_NOTIFY_READ);
        assert_int_equal(ring_writable(&t->ring, &span, &n), RC_OK);
        if (n == t->ring.tx_size)
            return;
        rig_wait_bell(t);
    }
}

/*----- clients -----*/

static void dial(struct rig *r, struct rig_client *c, int receive)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->port)};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->ssl = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
}

void rig_connect(struct rig *r, struct rig_client *c)
{
    dial(r, c, 0);
}

void rig_hello(struct rig *r, struct rig_client *c, const struct rig_tls *how)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    dial(r, c, how->receive);
    if (how->version) {
        SSL_CTX_set_min_proto_version(ctx, how->version);
        SSL_CTX_set_max_proto_version(ctx, how->version);
    }
    if (how->suite && how->version == TLS1_3_VERSION)
        assert_int_equal(SSL_CTX_set_ciphersuites(ctx, how->suite), 1);
    else if (how->suite)
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, how->suite), 1);
    if (how->sigalgs)
        assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, how->sigalgs), 1);
    c->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, (char *)(uintptr_t)(how->name ? how->name : RIG_NAME));
    SSL_set_alpn_protos(c->ssl, alpn, sizeof alpn - 1);
    if (how->resume)
        SSL_set_session(c->ssl, how->resume);
    ERR_clear_error();
    SSL_connect(c->ssl); /* how far that came, rig_shake() finds out */
}

static bool pending(struct rig_client *c, int r)
{
    int why = SSL_get_error(c->ssl, r);

    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        return false;
    wait_for(c->fd, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, "the client's turn");
    return true;
}

bool rig_shake(struct rig_client *c)
{
    int r;

    while ((r = SSL_connect(c->ssl)) <= 0)
        if (!pending(c, r))
            return false;
    return true;
}

void rig_write(struct rig_client *c, const void *p, size_t n)
{
    int r;

    while ((r = SSL_write(c->ssl, p, (int)n)) <= 0)
        assert_true(pending(c, r));
}

void rig_read(struct rig_client *c, void *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        int r = SSL_read(c->ssl, (char *)p + at, (int)(n - at));

        if (r > 0)
            at += (size_t)r;
        else
            assert_true(pending(c, r));
    }
}

size_t rig_read_all(struct rig_client *c, char *p, size_t size, bool *clean)
{
    size_t at = 0;
    int r;

    for (;;) {
        assert_true(at < size);
        r = SSL_read(c->ssl, p + at, (int)(size - at));
        if (r > 0)
            at += (size_t)r;
        else if (!pending(c, r))
            break;
    }
    *clean = SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN;
    return at;
}

ssize_t rig_raw(struct rig_client *c, void *p, size_t size)
{
    wait_for(c->fd, POLLIN, "something on the client's socket");
    return recv(c->fd, p, size, 0);
}

void rig_hang_up(struct rig_client *c, bool reset)
{
    struct linger now = {.l_onoff = 1};

    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    if (c->ssl)
        SSL_set_quiet_shutdown(c->ssl, 1); /* an abrupt end would spoil its session */
    if (c->ssl)
        SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    c->ssl = NULL;
    ERR_clear_error(); /* what ended it is not the next one's error */
}
