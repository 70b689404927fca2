/* The channels of the front's workers: frames in and out, and the connections on
 * them.  See schema/wire/mux.md.
 *
 * The happy path is: channels_open; HELLO goes out at once; the worker attaches and
 * says HELLO; OPEN makes a connection, which DATA, CREDIT and CLOSE go to until it
 * is over; the worker's death drops its connections and opens the channel anew.
 *
 * Possible failure modes are a worker of another version (refused with a LOG), a
 * bad index or a frame that no race explains (the channel is left, its connections
 * are dropped, until the worker is gone), and a full ring (what is owed waits). */
#ifndef RUNTIME_CHANNEL_H
#define RUNTIME_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/mux.h"
#include "common/core/ring.h"

#define CHANNEL_BUCKETS 256u
#define CHANNEL_RESETS  64u

struct conn;

enum channel_state {
    CHANNEL_HELLO, /* waiting for the worker's HELLO */
    CHANNEL_OPEN,  /* in use */
    CHANNEL_LEFT,  /* we left it; waiting for the worker to go */
};

struct channel {
    struct ring ring;
    int index;
    enum channel_state state;
    bool draining;                       /* DRAIN came, and no OPEN after it */
    bool flooded;                        /* more was owed than there is a place for */
    bool wrote, read;                    /* since the doorbell was last thought of */
    struct conn *conns[CHANNEL_BUCKETS]; /* owned, by id */
    struct conn *waiting, **waiting_end; /* in want of room in the ring */
    uint64_t resets[CHANNEL_RESETS];     /* ids to refuse, of no connection of ours */
    unsigned reset_count;
};

/* Channels 0 … count-1 of the ground, each with our HELLO on it. */
RC_MUST_CHECK enum rc channels_open(unsigned count);
/* Takes what came, at most a batch from each.  True when there was something. */
bool channels_poll(void);
/* Rings the workers that asked for what was done since. */
void channels_notify(void);
/* Asks to be rung for what we wait for; true when it is there already. */
bool channels_want(void);
/* Ends idle connections and refuses new ones, for good. */
void channels_stop(void);
/* Drops every connection: their requests see RK_GONE. */
void channels_drop(void);
/* After channels_drop: nobody is served any more. */
void channels_close(void);

/*----- for conn.c -----*/

/* RC_FULL: the connection now waits, and conn_room() will be called. */
RC_MUST_CHECK enum rc channel_put(struct channel *ch, struct conn *c, uint8_t type,
                                  const void *payload, uint32_t len);
/* Payload bytes that would fit in a frame now. */
uint32_t channel_room(const struct channel *ch);
/* conn_room() is to be called when there is more. */
void channel_wait_room(struct channel *ch, struct conn *c);
/* RESET for this id, as soon as there is room. */
void channel_refuse(struct channel *ch, uint64_t id);
/* Forgets the connection: frames for it are dropped from now on. */
void channel_forget(struct channel *ch, struct conn *c);

#endif
