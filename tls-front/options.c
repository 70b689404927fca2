#include "tls-front/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/host/version.h"

enum {
    OPT_RUN = 256,
    OPT_LISTEN,
    OPT_WORKERS,
    OPT_HTTP,
    OPT_ACME,
    OPT_USER,
    OPT_TICKETS,
    OPT_HELP,
    OPT_VERSION,
    OPT_LIMITS
};

static void help(void)
{
    printf(
        "Usage: roomkey-front --run DIR --listen ADDR:PORT [option]...\n"
        "\n"
        "Takes TLS connections, finishes the handshake with the tenant's certificate, and hands\n"
        "the session keys and the connection to the tenant's own instance.\n"
        "\n"
        "  --run DIR              where roomkeyd has its sockets (front.sock, agent.sock)\n"
        "  --listen ADDR:PORT     take TLS here: 0.0.0.0:443, [::]:443; port 0: any free one;\n"
        "                         up to %d times\n"
        "  --workers N            worker processes (default: one a core)\n"
        "  --listen-http ADDR:PORT  answer plain HTTP here with a redirect to https\n"
        "  --acme-dir DIR         serve DIR/TOKEN there as /.well-known/acme-challenge/TOKEN\n"
        "  --user NAME            what workers run as when started by root (default:\n"
        "                         roomkey-front if there is such a user, else user id 64321;\n"
        "                         the key agent likewise: roomkey-keys, or 64322)\n"
        "  --ticket-file FILE     keep the secret of session tickets there, so that they outlive "
        "a\n"
        "                         restart; in memory (/run), root's alone (default: nowhere)\n"
        "\n"
        "Limits:\n",
        OPTIONS_LISTEN_MAX);
#define X(name, flag, value, text) printf("  --%-20s %s (default: %d)\n", flag " N", text, value);
    OPTIONS_LIMITS(X)
#undef X
    printf("\n  --version, --help\n\nSIGTERM: no new connections; open ones have --drain seconds; "
           "then exit 0.\n");
}

__attribute__((noreturn, format(printf, 1, 2))) static void usage(const char *fmt, ...)
{
    va_list args;

    fputs("roomkey-front: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputs("; see roomkey-front --help\n", stderr);
    exit(2);
}

static uint32_t number(const char *flag, const char *text, uint32_t least, uint32_t most)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || v < least || v > most)
        usage("--%s %s is not a number from %u to %u", flag, text, least, most);
    return (uint32_t)v;
}

static void address(const char *flag, const char *text, struct options_listen *out)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t n = colon ? (size_t)(colon - text) : sizeof host;
    int port, r;

    if (n >= sizeof host || n == 0)
        usage("--%s %s is not ADDR:PORT", flag, text);
    memcpy(host, text, n);
    host[n] = '\0';
    port = (int)number(flag, colon + 1, 0, 65535);
    out->text = text;
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        r = uv_ip6_addr(host + 1, port, (struct sockaddr_in6 *)&out->addr);
    } else {
        r = uv_ip4_addr(host, port, (struct sockaddr_in *)&out->addr);
    }
    if (r)
        usage("--%s %s: the address is not a numeric IPv4 or [IPv6] one", flag, text);
}

static void set_limit(struct options *o, int index, const char *text)
{
    int i = 0;

#define X(name, flag, value, about) \
    if (i++ == index)               \
        o->name = number(flag, text, 0, 10000000);
    OPTIONS_LIMITS(X)
#undef X
}

/* What only all of them together show. */
static void check(const struct options *o)
{
    if (!o->run)
        usage("--run DIR is missing: the folder given to roomkeyd --run");
    if (o->listens == 0)
        usage("--listen ADDR:PORT is missing");
    if (o->ticket_period < 1 || o->ticket_period > OPTIONS_TICKET_PERIOD_MAX)
        usage("--ticket-period %u is not from 1 to %d", o->ticket_period,
              OPTIONS_TICKET_PERIOD_MAX);
    if (o->acme_dir && !o->has_http)
        usage("--acme-dir is served on --listen-http, which is missing");
}

void options_parse(struct options *o, int argc, char **argv)
{
    enum {
        LIMITS = 0
#define X(name, flag, value, text) +1
        OPTIONS_LIMITS(X)
#undef X
    };
    struct option longs[OPT_LIMITS - OPT_RUN + LIMITS + 1] = {
        {"run", 1, NULL, OPT_RUN},
        {"listen", 1, NULL, OPT_LISTEN},
        {"workers", 1, NULL, OPT_WORKERS},
        {"listen-http", 1, NULL, OPT_HTTP},
        {"acme-dir", 1, NULL, OPT_ACME},
        {"user", 1, NULL, OPT_USER},
        {"ticket-file", 1, NULL, OPT_TICKETS},
        {"help", 0, NULL, OPT_HELP},
        {"version", 0, NULL, OPT_VERSION},
    };
    int n = OPT_LIMITS - OPT_RUN, c;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *o = (struct options){0};
    o->workers = cores < 1                     ? 1
                 : cores > OPTIONS_WORKERS_MAX ? OPTIONS_WORKERS_MAX
                                               : (unsigned)cores;
#define X(name, flag, value, text)                          \
    o->name = value;                                        \
    longs[n] = (struct option){flag, 1, NULL, OPT_RUN + n}; \
    n++;
    OPTIONS_LIMITS(X)
#undef X

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        switch (c) {
        case OPT_RUN:
            o->run = optarg;
            break;
        case OPT_LISTEN:
            if (o->listens == OPTIONS_LISTEN_MAX)
                usage("more than %d --listen", OPTIONS_LISTEN_MAX);
            address("listen", optarg, &o->listen[o->listens++]);
            break;
        case OPT_WORKERS:
            o->workers = number("workers", optarg, 1, OPTIONS_WORKERS_MAX);
            break;
        case OPT_HTTP:
            address("listen-http", optarg, &o->http);
            o->has_http = true;
            break;
        case OPT_ACME:
            o->acme_dir = optarg;
            break;
        case OPT_USER:
            o->user = optarg;
            break;
        case OPT_TICKETS:
            o->tickets = optarg;
            break;
        case OPT_HELP:
            help();
            exit(0);
        case OPT_VERSION:
            puts("roomkey-front " ROOMKEY_VERSION);
            exit(0);
        case ':':
            usage("%s needs a value", argv[optind - 1]);
        case '?':
            usage("%s is not an option of roomkey-front", argv[optind - 1]);
        default:
            set_limit(o, c - OPT_LIMITS, optarg);
        }
    }
    if (optind < argc)
        usage("%s is not an option", argv[optind]);
    check(o);
}
