/* A fleet with a registry in a temporary folder, a fake ground, workers that the
 * test plays, and a time that only the test moves. */
#ifndef TESTS_FLEET_HOUSE_H
#define TESTS_FLEET_HOUSE_H

#include "fake_backend.h"
#include "orchestrator/fleet.h"
#include "scratch.h"

#define HOUSE_WORKERS  2
#define HOUSE_MESSAGES 4096

struct house {
    struct scratch scratch;
    uv_loop_t loop;
    struct registry *registry;
    struct backend *backend;
    struct fleet_limits limits; /* change before house_restart() */
    struct fleet *fleet;
    uint64_t now_us; /* of a fleet that is gone; the next one's time begins there */
    uint64_t requests;

    /* Hears what workers are told, in place of house_told(). */
    void (*hear)(void *arg, unsigned worker, const struct control_msg *m, const int *fds);
    void *hear_arg;

    /* What the workers were told, oldest first; house_told() looks. */
    struct house_message {
        unsigned worker;
        struct control_msg m;
        bool seen;
    } told[HOUSE_MESSAGES];
    unsigned told_nr;
    bool events_changed;

    /* RELEASE of a generation 0 (see slots.c): answered when all is settled. */
    struct house_fence {
        unsigned worker;
        struct control_instance id;
    } fences[16];
    unsigned fences_nr;
    bool hold_fences; /* not yet */

    /* Answers to admins. */
    unsigned upgrades; /* callbacks that came */
    enum fleet_upgraded upgraded;
    char upgrade_text[1024];
    unsigned gone; /* fleet_cb calls */
    enum rc gone_rc;
};

int house_set_up(void **state);
/* … with an image "web:1", ready after 20 ms, and its tenant "acme". */
int house_set_up_acme(void **state);
int house_tear_down(void **state);

/* A new fleet on the same registry and ground, as after a restart of roomkeyd;
 * workers are not connected. */
void house_restart(struct house *h);
/* The old one is dropped as if roomkeyd had died. */
void house_crash(struct house *h);

/* Runs everything that happens without time passing. */
void house_settle(struct house *h);
/* Lets time pass, alarm by alarm. */
void house_pass(struct house *h, uint64_t ms);

void house_image(struct house *h, const char *ref, enum fake_start start, uint32_t boot_ms);
/* Its file goes, the row stays. */
void house_lose_file(struct house *h, const char *ref);
/* What is known of its content: RC_AGAIN while it is looked at; else the look is over. */
void house_look(struct house *h, const char *ref, enum rc rc);
/* A machine needs so many bytes for it. */
void house_fills(struct house *h, const char *ref, uint64_t room);
/* Reachable as NAME.example, idle time 60 s. */
uint64_t house_tenant(struct house *h, const char *name, const char *ref);
struct registry_tenant house_row(struct house *h, const char *name);
unsigned house_rows_alive(struct house *h);
/* Whether an event of that kind has these words. */
bool house_event(struct house *h, const char *kind, const char *words);

void house_worker(struct house *h, unsigned worker); /* HELLO, SYNCED */
uint64_t house_wake(struct house *h, unsigned worker, const char *host);
void house_say(struct house *h, unsigned worker, const struct control_msg *m);
/* ACTIVITY, RELEASED, BUSY, HOLDING about the instance. */
void house_activity(struct house *h, unsigned worker, const struct control_instance *id,
                    uint32_t connections, uint64_t bytes);
void house_instance(struct house *h, unsigned worker, enum control_type type,
                    const struct control_instance *id);

/* The oldest message of that type to the worker that was not taken yet; NULL. */
const struct control_msg *house_told(struct house *h, unsigned worker, enum control_type type);
/* The READY of that request, which must be there; the worker opens the channel. */
struct control_instance house_ready(struct house *h, unsigned worker, uint64_t request);
/* Wakes and gets it, whatever time that takes. */
struct control_instance house_awake(struct house *h, unsigned worker, const char *host);
/* Answers each RELEASE with RELEASED, as a worker without connections does. */
void house_release_all(struct house *h);

void house_upgrade(struct house *h, const char *tenant, const char *ref, uint64_t max_wait_ms);
/* For fleet_instance_stop() and the like. */
void house_on_gone(void *arg, enum rc rc);

#endif
