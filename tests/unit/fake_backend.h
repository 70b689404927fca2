/* A ground without processes: tenants played by the test over real ring memory, at
 * the fleet's own (virtual) time.  Aborts when its own calls fail. */
#ifndef TESTS_FAKE_BACKEND_H
#define TESTS_FAKE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/mux.h"
#include "orchestrator/alarm.h"
#include "orchestrator/backend/backend.h"

enum fake_start {
    FAKE_READY,   /* says READY after boot_ms */
    FAKE_FAILS,   /* says FAILED after boot_ms, and exits 65 */
    FAKE_CRASHES, /* dies after boot_ms */
    FAKE_HANGS,   /* never says a thing */
    FAKE_LIES,    /* says READY with another version */
    FAKE_SILENT,  /* runs, and its channels never come */
    FAKE_REFUSED, /* the host cannot start anything */
};

/* What instances of an image do; by the text in its file, "name:version". */
struct fake_image {
    char ref[128];
    enum fake_start start;
    uint32_t boot_ms;
};

/* One that was started; all still there, newest first. */
struct backend_instance {
    struct backend_instance *next;
    struct backend *backend;
    uint64_t id, generation;
    char tenant[64], ref[128];
    uint64_t memory;
    bool alive, told; /* its on_exit was called */
    bool owned;       /* by a fleet */
    bool running, started;
    bool slow; /* to start: the ground hung, or its image takes seconds */
    bool up;   /* its on_start is over: it looks at its rings */

    /* Set by the test. */
    struct mux_health health; /* its answer, but the token */
    bool mute;                /* answers no question */
    bool ill;                 /* on_health says no */
    bool stuck;               /* does not stop when asked */
    bool clogged;             /* does not clear channels */
    bool closed;              /* its channels cannot be had */
    bool unmapped;            /* … and the workers' not be mapped */
    uint32_t exit_ms;         /* how long it takes to die */

    unsigned stops; /* STOP frames seen */

    /* Private. */
    const struct backend_events *events;
    void *arg;
    struct alarm alarm;
    struct backend_exit exit;
    unsigned channels;
    int doorbell;
    struct fake_channel *channel; /* [0] is control */
};

extern const struct backend_ops fake_backend;

struct backend *fake_backend_new(void);
void fake_backend_free(struct backend *b);
/* Whose time it is; before the first start. */
void fake_backend_time(struct backend *b, struct alarms *alarms);
/* That time ends: what was to happen by itself does not. */
void fake_backend_forget_time(struct backend *b);
/* The image's instances from now on. */
void fake_behave(struct backend *b, const char *ref, enum fake_start start, uint32_t boot_ms);
/* Whether the host starts nothing, whatever the image. */
void fake_refuse(struct backend *b, bool refuses);
/* How long the ground takes from now on until what it starts runs. */
void fake_ground_takes(struct backend *b, uint32_t ms);
/* How long it takes for the next start, beyond that. */
void fake_ground_hangs_once(struct backend *b, uint32_t ms);
/* Whether it then says that it could not. */
void fake_ground_fails(struct backend *b, bool fails);
/* What is wrong with every control channel from now on. */
enum fake_control { FAKE_GOOD, FAKE_NO_BELL, FAKE_NO_RING, FAKE_NO_MEMORY };
void fake_control(struct backend *b, enum fake_control wrong);
/* Whether memory that cannot be mapped is the host's fault. */
void fake_lacks_mappings(struct backend *b, bool lacks);
/* How much memory the host has for instances; 0: enough. */
void fake_room(struct backend *b, uint64_t bytes);
/* Lets the tenants look at their rings; true when one did something. */
bool fake_backend_turn(struct backend *b);
bool fake_turn(struct backend_instance *i); /* one of them */

/* All that are still there, newest first. */
struct backend_instance *fake_all(struct backend *b);
/* The tenant's newest instance that lives, or NULL; how many live. */
struct backend_instance *fake_living(struct backend *b, const char *tenant);
unsigned fake_count(struct backend *b);
unsigned fake_starts(struct backend *b);

/* It dies of itself. */
void fake_crash(struct backend_instance *i);
/* Whether the worker's channel has a client, as the tenant sees it. */
bool fake_connected(struct backend_instance *i, unsigned worker);
/* The worker leaves its channel, as it does when it hears GONE. */
void fake_worker_leaves(struct backend_instance *i, unsigned worker);
/* It died while nobody looked. */
void fake_vanish(struct backend_instance *i);
/* A frame on its control channel. */
void fake_say(struct backend_instance *i, uint8_t type, const void *payload, uint32_t len);
/* BUSY: its leases have changed to what `health` says. */
void fake_say_busy(struct backend_instance *i);
/* An answer to a health question. */
void fake_say_health(struct backend_instance *i, uint64_t token);
void fake_say_log(struct backend_instance *i, int level, const char *text);
/* Writes a wild index into its control channel, and rings. */
void fake_break(struct backend_instance *i);

#endif
