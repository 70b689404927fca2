/* A front worker: one process, one loop, its share of the connections.
 *
 * Happy path: worker_run() is called in the forked child: it drops privileges,
 * installs the system call filter, listens, and serves until the parent says
 * drain; then open connections have their time, and it exits 0.  It dies with
 * its parent. */
#ifndef TLS_FRONT_WORKER_H
#define TLS_FRONT_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/core/control.h"
#include "common/host/acceptor.h"
#include "common/host/packet.h"
#include "tls-front/options.h"
#include "tls-front/ticket.h"

struct orch;
struct signer;
struct routes;
struct wakes;
struct channels;
struct conns;
struct rates;
struct shares;

struct worker {
    uv_loop_t loop;
    const struct options *options; /* borrowed */
    unsigned index;
    struct ticket_secrets secrets;
    uint64_t counters[CONTROL_COUNTER_NR];
    bool draining;
    int client_files; /* descriptors from this number on are not for clients */
    /* Each module's own, owned. */
    struct orch *orch;
    struct signer *signer;
    struct routes *routes;
    struct wakes *wakes;
    struct channels *channels;
    struct conns *conns;
    struct rates *rates;
    struct shares *shares;

    struct packet parent;
    struct acceptor acceptors[OPTIONS_LISTEN_MAX];
    /* libuv opens a file with the first one: it must have been before the sandbox. */
    uv_tcp_t first;
    uv_timer_t second, deadline;
};

#define COUNT(w, name) ((w)->counters[CONTROL_COUNTER_##name])

struct worker_start {
    const struct options *options;
    unsigned index;
    int listen[OPTIONS_LISTEN_MAX]; /* bound sockets, consumed */
    int http, acme;                 /* consumed, or -1 */
    int parent;                     /* consumed */
    struct ticket_secrets secrets;
};

/* A client must not have this one: what roomkeyd sends needs some, too. */
bool worker_is_last_file(const struct worker *w, const uv_tcp_t *tcp);

__attribute__((noreturn)) void worker_run(const struct worker_start *start);

#endif
