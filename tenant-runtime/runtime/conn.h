/* One client's connection: the TLS stream between a channel and HTTP.
 *
 * The happy path is: conn_open with a handover; conn_data puts ciphertext into the
 * input buffer, and http_input (or a request's fiber) takes plaintext from it with
 * conn_plain and conn_take, which returns credit; conn_send seals records into the
 * ring, as far as the peer's credit and the ring's room go; conn_shut sends
 * close_notify and CLOSE; the client's CLOSE ends it.
 *
 * Possible failure modes are the client's: a bad record (its alert, then CLOSE), a
 * stream cut off, a RESET, silence past a deadline.  And ours: no memory (RESET).
 * After conn_gone nothing is read or written; the request's fiber sees RK_GONE and
 * the connection is freed when it has ended. */
#ifndef RUNTIME_CONN_H
#define RUNTIME_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/fiber.h"
#include "common/core/handover.h"
#include "common/core/mux.h"
#include "tenant-runtime/runtime/http.h"
#include "tenant-runtime/runtime/record.h"
#include "tenant-runtime/runtime/timer.h"

struct channel;

enum conn_wait { CONN_WAIT_NONE, CONN_WAIT_READ, CONN_WAIT_WRITE, CONN_WAIT_SLEEP };

struct conn {
    struct channel *ch; /* borrowed; NULL once gone */
    uint64_t id;
    struct conn *next;         /* in its bucket of the channel */
    struct conn *next_waiting; /* for room in the ring */
    bool waiting;

    struct record record;
    struct handover info; /* without the secrets */
    uint64_t opened_ns;
    uint32_t first_byte_us; /* 0: none yet */

    /* Input: [in_at, in_end) is ciphertext; `plain` lies before in_at. */
    uint8_t *in; /* owned; NULL while there is none */
    uint32_t in_at, in_end, in_size;
    uint8_t *plain; /* opened and not taken */
    size_t plain_len;
    uint32_t held;   /* credit to return when `plain` has been taken */
    uint32_t owed;   /* credit to return */
    uint32_t window; /* bytes the worker may still send */

    uint32_t credit; /* bytes we may still send */

    bool in_over;   /* no more plaintext will come */
    bool truncated; /* … and it did not end with close_notify */
    bool fin_in;    /* the worker's CLOSE came */
    bool shut;      /* we send no more data; what is owed goes out, then CLOSE */
    bool out_over;  /* close_notify or an alert is out */
    bool fin_out;   /* our CLOSE is out */
    bool lingering; /* LIMIT_WRITE_MS for our end, then LIMIT_LINGER_MS for its, are running */
    bool broken;    /* to be reset at the next conn_settle */
    bool gone;      /* over at once */

    struct timer timer; /* of whatever it waits for */
    enum conn_wait wait;
    struct fiber *fiber; /* that waits */
    bool timed_out;      /* the last wait ended by its deadline */

    struct http http;
};

/*----- for channel.c -----*/

/* A new connection.  Copies what it needs: wipe the handover afterwards.  NULL: no
 * memory, or as many as there may be. */
struct conn *conn_open(struct channel *ch, uint64_t id, const struct handover *h);
/* RC_MALFORMED where only a liar sends this: the caller leaves the channel. */
RC_MUST_CHECK enum rc conn_data(struct conn *c, const struct ring_span *payload, uint32_t len);
RC_MUST_CHECK enum rc conn_credit(struct conn *c, uint32_t more);
RC_MUST_CHECK enum rc conn_close(struct conn *c);
/* RESET came, or the channel is gone: c may be freed by this.  Must be last. */
void conn_gone(struct conn *c);
/* There is room in the ring again. */
void conn_room(struct conn *c);
/* Ends it when it has no request in hand; one that has not asked yet may still do so. */
void conn_drain(struct conn *c);

/*----- for http.c and app.c -----*/

/* Plaintext that is there now: RC_OK with at least one byte; RC_AGAIN when none
 * is; RC_CLOSED when none will come. */
RC_MUST_CHECK enum rc conn_plain(struct conn *c, const uint8_t **data, size_t *len);
/* Is done with `n` bytes of what conn_plain showed. */
void conn_take(struct conn *c, size_t n);

/* In a fiber: sends all of it.  RC_CLOSED: gone. */
RC_MUST_CHECK enum rc conn_send(struct conn *c, const void *data, size_t len);

/* In a fiber: waits, at most `ms`.  RC_CLOSED: gone, or nothing can be sent any more.
 * RC_TIMEDOUT. */
RC_MUST_CHECK enum rc conn_wait(struct conn *c, enum conn_wait what, uint64_t ms);

/* No more data from us: close_notify, then CLOSE. */
void conn_shut(struct conn *c);
/* Sends RESET and is gone.  c may be freed by this.  Must be last. */
void conn_reset(struct conn *c);
/* (Re)arms the deadline of the state that http is in. */
void conn_deadline(struct conn *c, uint64_t ms);
/* Time since the ClientHello, as far as this side can tell. */
uint32_t conn_age_us(const struct conn *c);
/* Frees what nobody needs any more: after a request, and when http has gone idle.
 * c may be freed by this.  Must be last. */
void conn_settle(struct conn *c);

#endif
