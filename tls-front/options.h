/* The command line of roomkey-front. */
#ifndef TLS_FRONT_OPTIONS_H
#define TLS_FRONT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/core/launch.h"

#define OPTIONS_LISTEN_MAX  8
#define OPTIONS_WORKERS_MAX LAUNCH_CHANNELS_MAX /* each has a channel of its own */

/* A ticket is good for two periods at most, and RFC 8446, 4.6.1 gives it a week. */
#define OPTIONS_TICKET_PERIOD_MAX (7 * 24 * 3600 / 2)

struct options_listen {
    struct sockaddr_storage addr;
    const char *text; /* borrowed from argv */
};

/* Each limit: X(field, flag, default, help). */
#define OPTIONS_LIMITS(X)                                                                    \
    X(max_connections, "max-connections", 10000, "open connections handed over, a worker")   \
    X(max_handshakes, "max-handshakes", 1000, "handshakes in progress a worker")             \
    X(hello_timeout, "hello-timeout", 10, "seconds for the whole ClientHello")               \
    X(route_timeout, "route-timeout", 10, "seconds for roomkeyd's word on a host name")      \
    X(handshake_timeout, "handshake-timeout", 10, "seconds for the handshake after it")      \
    X(rate, "rate", 2000,                                                                    \
      "new connections a second from one source (IPv6: a /64), a worker; 0: any")            \
    X(linger, "linger", 10, "seconds for the client's end after ours")                       \
    X(stall, "stall", 60,                                                                    \
      "seconds for a client to take any more of an ended answer, a tenant of its full ring") \
    X(drain, "drain", 30, "seconds for open connections at SIGTERM")                         \
    X(max_routes, "max-routes", 4096, "host names kept with their certificates, a worker")   \
    X(ticket_period, "ticket-period", 43200,                                                 \
      "seconds until session tickets get another key; each is good for one more")

struct options {
    const char *run; /* borrowed from argv, as are all texts */
    struct options_listen listen[OPTIONS_LISTEN_MAX];
    size_t listens;
    struct options_listen http;
    bool has_http;
    const char *acme_dir; /* or NULL */
    const char *user;     /* or NULL: the default */
    const char *tickets;  /* a file, or NULL */
    unsigned workers;
#define X(name, flag, value, text) uint32_t name;
    OPTIONS_LIMITS(X)
#undef X
};

/* Fills *o; prints what is wrong and ends the program with 2, or prints the help
 * and ends it with 0. */
void options_parse(struct options *o, int argc, char **argv);

#endif
