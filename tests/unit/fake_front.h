/* A front worker, an orchestrator and a ground, in the process of the test: the
 * runtime's real rings and records, no front.  Everything happens in front_pump(),
 * at a clock that stands still until front_sleep() moves it.
 *
 * Aborts when its own calls fail; what the tenant does is for the test to judge. */
#ifndef TESTS_FAKE_FRONT_H
#define TESTS_FAKE_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/core/ring.h"
#include "tenant-runtime/runtime/record.h"

#define FRONT_CHANNELS 2
#define FRONT_SNI      "acme.example"

/* What the control channel has said, by type. */
struct front_said {
    unsigned ready, failed, health, busy, slot, lines;
    struct mux_health last_health;
    uint32_t last_slot;
    char text[65536]; /* FAILED and LOG, a line each */
};
extern struct front_said front_said;
extern unsigned front_rings[1 + FRONT_CHANNELS]; /* of the doorbell; [0]: control */
extern struct ring front_ring[FRONT_CHANNELS], front_control;

/* Starts the runtime; false when on_start failed.  Workers are not attached. */
bool front_start(void);
/* Ends it in any state, and frees everything. */
void front_end(void);

/* Worker `i` attaches and says HELLO; or says nothing yet. */
void front_attach(unsigned i);
void front_attach_silent(unsigned i);
void front_hello(unsigned i, unsigned mux, unsigned handover, uint64_t generation);
/* Whether it takes no frames. */
void front_stall(unsigned i, bool stalled);
/* The orchestrator leaves, and attaches again. */
void front_control_again(void);
/* Its side is gone, as roomkeyd would mark it. */
void front_kill_worker(unsigned i);

/* Runs tenant and clients until nothing moves. */
void front_pump(void);
/* Moves the clock; and then pumps. */
void front_tick(uint64_t ms);
void front_sleep(uint64_t ms);
/* A control frame: HEALTH or STOP. */
void front_health(uint64_t token);
void front_stop(uint32_t ms);

struct front_client {
    uint64_t id;
    unsigned channel;
    struct record record;
    /* Plaintext that came, with a NUL behind it. */
    char *got;
    size_t got_len, got_size;
    uint8_t *raw; /* ciphertext not opened yet */
    size_t raw_len;
    uint8_t *out; /* ciphertext not sent yet, for want of credit */
    size_t out_len;
    uint32_t credit, owed;
    bool no_credit; /* reads nothing: returns no credit */
    bool close_due;
    bool closed, reset; /* the tenant said so */
    bool left;          /* we have said RESET */
    bool notified;      /* close_notify came */
    enum rc read_rc;    /* what ended its records, if not close_notify */
};

/* OPEN, at once.  `edit` may change the handover first; it may be NULL. */
struct front_client *front_open(unsigned channel, uint16_t suite, void (*edit)(struct handover *));
/* One record (or more) with this plaintext. */
void front_send(struct front_client *c, const void *data, size_t len);
void front_send_text(struct front_client *c, const char *text);
/* Bytes of TLS that no record layer made. */
void front_send_raw(struct front_client *c, const void *data, size_t len);
/* close_notify (when `notify`), then CLOSE. */
void front_close(struct front_client *c, bool notify);
void front_reset(struct front_client *c);
/* What has come so far, taken: the caller frees. */
char *front_take(struct front_client *c);

/* A raw frame of the worker's, in any state. */
void front_put(unsigned channel, uint8_t type, uint64_t conn, const void *payload, uint32_t len);

#endif
