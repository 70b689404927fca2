/* roomkeyd: options and configuration; the rest is daemon.h's.
 *
 * Happy path: options -> roomkey.toml -> daemon_run() until a signal -> 0.
 * Failure modes: what cannot be had is one line on stderr, exit 1; wrong usage:
 * exit 2. */
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/log.h"
#include "common/host/version.h"
#include "orchestrator/admin/doctor.h"
#include "orchestrator/config.h"
#include "orchestrator/daemon.h"

#define CONFIG_PATH "/etc/roomkey/roomkey.toml"

static void help(void)
{
    puts("Usage: roomkeyd [option]...\n"
         "\n"
         "Keeps the registry of tenants and images, starts an instance when a connection for its\n"
         "tenant arrives, and stops it when it is idle.  Stays in the foreground.\n"
         "\n"
         "  --state DIR        registry, images, certificates, keys, logs\n"
         "                     (default: /var/lib/roomkey)\n"
         "  --run DIR          sockets: front, agent, admin (default: /run/roomkey)\n"
         "  --ground GROUND    what instances run on: xen, sandbox, or auto: the best that this\n"
         "                     host can do (default)\n"
         "  --config FILE      deadlines and limits (default: " CONFIG_PATH ",\n"
         "                     if it is there; see docs/CONFIG.md)\n"
         "  --leave-instances  at SIGTERM, leave instances running for the next roomkeyd, as for\n"
         "                     its own upgrade; else they are drained and stopped\n"
         "  --doctor           check this host, print JSON, exit: 0 all is well, 1 it is not\n"
         "  --version, --help\n"
         "\n"
         "Ready: one line on stderr, and systemd is told.  SIGTERM: a clean, draining stop.");
}

__attribute__((noreturn)) static void usage(const char *what, const char *which)
{
    fprintf(stderr, "roomkeyd: %s %s; see roomkeyd --help\n", what, which);
    exit(2);
}

__attribute__((noreturn)) static void refused(const struct refusal *no)
{
    char line[REFUSAL_TEXT_MAX * 3 + 8];

    fprintf(stderr, "roomkeyd: %s\n", refusal_line(no, line, sizeof line));
    exit(1);
}

struct options {
    const char *state, *run, *ground, *config;
    bool leave, doctor;
};

static void parse(struct options *o, int argc, char **argv)
{
    enum { STATE = 256, RUN, GROUND, CONFIG, LEAVE, DOCTOR, VERSION, HELP };
    static const struct option longs[] = {
        {"state", 1, NULL, STATE},
        {"run", 1, NULL, RUN},
        {"ground", 1, NULL, GROUND},
        {"config", 1, NULL, CONFIG},
        {"doctor", 0, NULL, DOCTOR},
        {"leave-instances", 0, NULL, LEAVE},
        {"help", 0, NULL, HELP},
        {"version", 0, NULL, VERSION},
        {0},
    };
    int c;

    *o = (struct options){0};
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        switch (c) {
        case STATE:
            o->state = optarg;
            break;
        case RUN:
            o->run = optarg;
            break;
        case GROUND:
            o->ground = optarg;
            break;
        case CONFIG:
            o->config = optarg;
            break;
        case LEAVE:
            o->leave = true;
            break;
        case DOCTOR:
            o->doctor = true;
            break;
        case VERSION:
            puts("roomkeyd " ROOMKEY_VERSION);
            exit(0);
        case HELP:
            help();
            exit(0);
        case ':':
            usage("an argument is missing:", argv[optind - 1]);
        default:
            usage("unknown option", argv[optind - 1]);
        }
    }
    if (optind < argc)
        usage("unknown argument", argv[optind]);
}

static void override(char *into, size_t size, const char *option, const char *value)
{
    if (!value)
        return;
    if (strlen(value) >= size || value[0] == '\0')
        usage("the value cannot be used of", option);
    strcpy(into, value);
}

static void configure(struct config *c, const struct options *o)
{
    struct refusal no;

    config_init(c);
    if (o->config || access(CONFIG_PATH, F_OK) == 0)
        if (config_load(c, o->config ? o->config : CONFIG_PATH, &no))
            refused(&no);
    override(c->state, sizeof c->state, "--state", o->state);
    override(c->run, sizeof c->run, "--run", o->run);
    override(c->ground, sizeof c->ground, "--ground", o->ground);
    c->leave_instances = c->leave_instances || o->leave;
}

static int doctor(const struct config *c)
{
    struct doctor_host host = {
        .state_dir = c->state,
        .run_dir = c->run,
        .grounds = daemon_grounds,
        .wish = c->ground,
        .workers = DOCTOR_NO_DAEMON,
    };
    json_t *found = doctor_look(&host), *one;
    bool well = found != NULL;
    size_t n;

    json_array_foreach(found, n, one)
    {
        const char *level = json_string_value(json_object_get(one, "level"));

        well = well && level && strcmp(level, "fault") != 0;
    }
    if (found)
        json_dumpf(found, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(found);
    return well ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options options;
    struct config config;
    struct refusal no;

    log_open("roomkeyd", LOG_INFO);
    parse(&options, argc, argv);
    configure(&config, &options);
    xen_configure(&config.xen);
    if (options.doctor)
        return doctor(&config);
    log_open("roomkeyd", config.log_level);
    signal(SIGPIPE, SIG_IGN);
    if (daemon_run(&config, &no))
        refused(&no);
    return 0;
}
