#include "tls-front/worker.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/fiber.h"
#include "common/core/secret.h"
#include "common/host/log.h"
#include "tls-front/channel.h"
#include "tls-front/conn.h"
#include "tls-front/handshake.h"
#include "tls-front/http.h"
#include "tls-front/link.h"
#include "tls-front/orch.h"
#include "tls-front/rate.h"
#include "tls-front/route.h"
#include "tls-front/share.h"
#include "tls-front/signer.h"
#include "tls-front/wake.h"
#include "tls-front/worker_sandbox.h"

#define BACKLOG 4096

static void drain(struct worker *w);

/*----- the parent -----*/

static void on_parent(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct worker *w = p->data;
    struct link_msg m;

    CHECK(len == sizeof m);
    memcpy(&m, buf, sizeof m);
    switch (m.type) {
    case LINK_ORCH:
        CHECK(nfds == 1);
        orch_connected(w, fds[0]);
        fds[0] = -1;
        break;
    case LINK_AGENT:
        CHECK(nfds == 1);
        signer_connected(w, fds[0]);
        fds[0] = -1;
        break;
    case LINK_SECRETS:
        w->secrets = m.secrets;
        routes_tickets(w);
        break;
    case LINK_DRAIN:
        drain(w);
        break;
    default:
        CHECK(0);
    }
    secret_wipe(&m, sizeof m);
}

static void on_parent_lost(struct packet *p, enum rc why)
{
    (void)p, (void)why;
    _exit(1); /* it is about to be killed anyway */
}

static void on_parent_closed(struct packet *p)
{
    (void)p;
}

static const struct packet_ops parent_ops = {on_parent, on_parent_lost, on_parent_closed};

/*----- the end -----*/

static void finish(struct worker *w)
{
    uv_close((uv_handle_t *)&w->second, NULL);
    uv_close((uv_handle_t *)&w->deadline, NULL);
    channels_close(w);
    orch_close(w);
    signer_close(w);
    packet_close(&w->parent);
    /* Nothing is left to run for: uv_run() returns when all is closed. */
}

static void on_second(uv_timer_t *timer)
{
    struct worker *w = timer->data;

    orch_second(w);
    conns_second(w);
    if (w->draining && conns_count(w) == 0)
        finish(w);
}

static void on_drained(uv_timer_t *timer)
{
    conns_close(timer->data); /* on_second() does the rest */
}

static void drain(struct worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    for (size_t i = 0; i < w->options->listens; i++)
        acceptor_close(&w->acceptors[i]);
    http_close(w);
    uv_timer_start(&w->deadline, on_drained, w->options->drain * 1000ull, 0);
    uv_timer_start(&w->second, on_second, 0, 100);
}

/*----- the beginning -----*/

static enum rc init(struct worker *w, const struct worker_start *start)
{
    w->options = start->options;
    w->index = start->index;
    w->secrets = start->secrets;
    if (uv_loop_init(&w->loop) != 0)
        return RC_NOMEM;
    w->rates = rates_new(w->options->rate);
    if (tls_init() || !w->rates || packet_open(&w->parent, &w->loop, start->parent, &parent_ops, w))
        return RC_FAILED;
    if (routes_init(w) || wakes_init(w) || channels_init(w) || conns_init(w) || shares_init(w) ||
        signer_init(w))
        return RC_NOMEM;
    CHECK(uv_timer_init(&w->loop, &w->second) == 0);
    CHECK(uv_timer_init(&w->loop, &w->deadline) == 0);
    w->second.data = w->deadline.data = w;
    CHECK(uv_timer_start(&w->second, on_second, 1000, 1000) == 0);
    return RC_OK;
}

static enum rc listen_all(struct worker *w, const struct worker_start *start)
{
    CHECK(uv_tcp_init(&w->loop, &w->first) == 0);
    uv_close((uv_handle_t *)&w->first, NULL);
    for (size_t i = 0; i < w->options->listens; i++) {
        struct acceptor *a = &w->acceptors[i];

        *a = (struct acceptor){
            .what = w->options->listen[i].text, .data = w, .on_taken = conn_on_taken};
        if (listen(start->listen[i], BACKLOG) != 0) {
            log_error("cannot listen on %s: %s", a->what, strerror(errno));
            return RC_IO;
        }
        if (acceptor_open(a, &w->loop, start->listen[i]))
            return RC_IO;
        acceptor_begin(a);
    }
    return start->http >= 0 ? http_listen(w, start->http, start->acme) : RC_OK;
}

/* As many descriptors as connections may need, if that is allowed. */
static void raise_files(struct worker *w)
{
    struct rlimit r;

    CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    /* Connections leave an eighth to channels and to what roomkeyd sends. */
    w->client_files = r.rlim_max < INT_MAX ? (int)(r.rlim_max - r.rlim_max / 8) : INT_MAX;
    if (w->index == 0 && (uint64_t)w->client_files <
                             (uint64_t)w->options->max_connections + w->options->max_handshakes)
        log_warning(
            "at most %llu open files, seven eighths of them for connections: that is too few "
            "for --max-connections %u and --max-handshakes %u; raise the limit "
            "(LimitNOFILE=, ulimit -n)",
            (unsigned long long)r.rlim_max, w->options->max_connections,
            w->options->max_handshakes);
}

bool worker_is_last_file(const struct worker *w, const uv_tcp_t *tcp)
{
    uv_os_fd_t fd;

    return uv_fileno((const uv_handle_t *)tcp, &fd) != 0 || fd >= w->client_files;
}

static enum rc serve(struct worker *w, const struct worker_start *start)
{
    struct link_msg listening = {.type = LINK_LISTENING};
    enum rc rc = init(w, start);

    raise_files(w);
    if (!rc)
        rc = listen_all(w, start);
    /* Nothing is read before the loop runs. */
    if (!rc)
        rc = worker_sandbox_enter(w->options->user, start->http >= 0 ? start->acme : -1);
    if (!rc)
        rc = packet_send(&w->parent, &listening, sizeof listening, NULL, 0);
    if (!rc)
        rc = orch_init(w);
    return rc;
}

void worker_run(const struct worker_start *start)
{
    static struct worker w; /* one a process */
    sigset_t none;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN); /* the parent says when; a terminal's ^C is for it too */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (serve(&w, start))
        _exit(1);

    uv_run(&w.loop, UV_RUN_DEFAULT);
    routes_dispose(&w);
    wakes_dispose(&w);
    channels_dispose(&w);
    conns_dispose(&w);
    shares_dispose(&w);
    orch_dispose(&w);
    signer_dispose(&w);
    rates_free(w.rates);
    secret_wipe(&w.secrets, sizeof w.secrets);
    fiber_pool_free(); /* CHECKs that no handshake waits any more */
    CHECK(uv_loop_close(&w.loop) == 0);
    exit(0);
}
