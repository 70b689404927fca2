/* The conversation with one instance on its control channel.
 *
 * The happy path: link_open -> on_ready -> (health questions, log lines, slots)
 * -> link_stop -> the instance leaves -> link_close.
 * Failure: on_failed when the instance says that it cannot start; on_broken,
 * once and as the last word, when its ring or a frame makes no sense.
 *
 * All that comes in is a tenant's word: lengths are bounded, a frame is copied
 * before it is looked at, texts are cleaned, and a flood costs the tenant its own
 * time: what is more than can be heard in a second is heard in the next one, and a
 * doorbell that rings for nothing is an offence.  Callbacks come from the loop, never from inside a
 * call; a callback may close the link. */
#ifndef ORCHESTRATOR_LINK_H
#define ORCHESTRATOR_LINK_H

#include <stdint.h>
#include <uv.h>

#include "common/core/mux.h"
#include "orchestrator/backend/backend.h"

struct link;

struct link_events {
    void (*on_ready)(void *arg, const struct mux_ready *ready);
    void (*on_failed)(void *arg, const char *text);
    void (*on_log)(void *arg, int level, const char *text);
    /* An answer to link_health(), or unasked (token 0): a busy lease changed. */
    void (*on_health)(void *arg, const struct mux_health *health);
    void (*on_slot)(void *arg, uint32_t channel);
    void (*on_broken)(void *arg, const char *why);
};

/* Maps the channel as its client and listens.  What is in `channel` is consumed, also
 * on failure.  RC_UNMAPPED: its memory cannot be mapped; all else that can be wrong is other codes.
 */
RC_MUST_CHECK enum rc link_open(uv_loop_t *loop, struct backend_channel *channel,
                                const struct link_events *events, void *arg, struct link **out);
/* No callback comes after this.  The channel's peer is told nothing. */
void link_close(struct link *l);

/* Questions and orders; they wait for room in the ring if need be. */
void link_health(struct link *l, uint64_t token);
void link_stop(struct link *l, uint32_t deadline_ms);

/* Reads what is there now: its last words, when it is dead.  Callbacks come from
 * inside. */
void link_look(struct link *l);

/* Rings the instance, for another channel of it that has changed. */
void link_ring(struct link *l);

#endif
