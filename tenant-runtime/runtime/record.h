/* The TLS record layer of a tenant: from a handover to a connection that opens
 * and seals records, in TLS 1.3 (RFC 8446) and TLS 1.2 with AEAD suites (RFC
 * 5246, 5288, 7905).  A pure state machine: no I/O, no clock, no memory of its
 * own beyond the struct (Mbed TLS takes a little when a key is set: at the start
 * and in a KeyUpdate).
 *
 * The happy path is: record_init from the handover; ciphertext that came is put
 * behind what is left in the connection's input buffer and record_read called
 * until it says RC_AGAIN; plaintext is given to record_write, which fills an
 * output buffer with whole records; record_close, one more record_write, and
 * record_dispose.
 *
 * The layer answers by itself: a requested KeyUpdate, a refused renegotiation, the
 * alert that belongs to a fault.  Such records wait inside, record_pending() tells,
 * and the next record_write (with or without data) puts them out, in front of the
 * data.  So after each round of record_read: if record_pending(), record_write.
 *
 * Possible failure modes are the peer's: a forged, malformed, oversized or
 * unexpected record, a flood of records without data, a fatal alert, an end
 * without close_notify.  Each ends the connection, and none of them any more.
 * A fault in reading ends writing too, once the alert is out.  Keys are wiped as
 * soon as their direction is over, on every path.
 *
 * Sizes are bytes, times milliseconds of any monotonic clock. */
#ifndef RUNTIME_RECORD_H
#define RUNTIME_RECORD_H

#include "common/core/handover.h"
#include "tenant-runtime/runtime/record_key.h"

/* Numbers of RFC 8446 (B.1, B.2, B.3): content types, alert levels, handshake messages. */
enum { TLS_ALERT = 21, TLS_HANDSHAKE = 22, TLS_DATA = 23 };
enum { TLS_WARNING = 1, TLS_FATAL = 2 };
enum { TLS_CLIENT_HELLO = 1, TLS_KEY_UPDATE = 24 };

#define RECORD_PLAIN_MAX 16384u

/* The longest record there can be, in and out: an input buffer of this size never
 * stalls, an output buffer of this size takes any record. */
#define RECORD_WIRE_MAX (RECORD_HEAD_SIZE + RECORD_NONCE_SIZE + RECORD_PLAIN_MAX + AEAD_TAG_SIZE)

/* Records begin small, so that a browser can use the first segment before it has
 * the second, and grow once a stream is under way. */
#define RECORD_SMALL     1300u
#define RECORD_SMALL_FOR 65536u /* plaintext bytes sent in small records */
#define RECORD_IDLE_MS   1000u  /* silence after which they are small again */

/* Room in which record_write always gets on: one small record, whatever waits in
 * front of it in a call of its own. */
#define RECORD_ROOM_MIN (RECORD_HEAD_SIZE + RECORD_NONCE_SIZE + RECORD_SMALL + 1 + AEAD_TAG_SIZE)

/* What a peer may send between two records with data; more is a flood. */
#define RECORD_EMPTY_MAX      32u
#define RECORD_KEY_UPDATE_MAX 32u
#define RECORD_WARNING_MAX    4u

/* Records under one AES-GCM key: 2^24.5 full ones are safe (RFC 8446, 5.5).  TLS
 * 1.3 takes the next key (and asks for the peer's) long before; TLS 1.2 closes:
 * 256 GiB in full records.  ChaCha20-Poly1305 in TLS 1.2 has no such end.  A test
 * may lower rekey_after and close_after, which are these, behind record_init. */
#define RECORD_REKEY_AFTER ((uint64_t)1 << 23)
#define RECORD_CLOSE_AFTER ((uint64_t)1 << 24)

#define TLS_ALERT_MAP(X)                                \
    X(TLS_CLOSE_NOTIFY, 0, "close_notify")              \
    X(TLS_UNEXPECTED_MESSAGE, 10, "unexpected_message") \
    X(TLS_BAD_RECORD_MAC, 20, "bad_record_mac")         \
    X(TLS_RECORD_OVERFLOW, 22, "record_overflow")       \
    X(TLS_ILLEGAL_PARAMETER, 47, "illegal_parameter")   \
    X(TLS_DECODE_ERROR, 50, "decode_error")             \
    X(TLS_PROTOCOL_VERSION, 70, "protocol_version")     \
    X(TLS_INTERNAL_ERROR, 80, "internal_error")         \
    X(TLS_USER_CANCELED, 90, "user_canceled")           \
    X(TLS_NO_RENEGOTIATION, 100, "no_renegotiation")

enum tls_alert {
#define X(id, number, text) id = (number),
    TLS_ALERT_MAP(X)
#undef X
};
/* The registry's name of those above, "alert" for any other.  Never NULL. */
const char *tls_alert_text(uint8_t alert);

/* All fields are record.c's own. */
struct record {
    struct record_key in, out;
    uint16_t in_limit, out_limit;      /* plaintext bytes a record */
    uint64_t rekey_after, close_after; /* records under one key */

    enum rc read_end;      /* RC_OK while reading; then what record_read says for ever */
    bool closing;          /* our close_notify is due after what waits in front of it */
    uint8_t fatal;         /* alert that is due in place of all else; 0: none */
    bool no_renegotiation; /* warning that is due (TLS 1.2) */
    bool key_update;       /* a KeyUpdate of ours is due (TLS 1.3) ... */
    bool key_update_ask;   /* ... that asks for the peer's */
    bool close_notify_seen;
    uint8_t alert; /* see record_alert() */

    uint8_t handshake[5]; /* head of the peer's handshake message, as far as it came */
    uint8_t handshake_len;
    uint32_t handshake_skip;                /* bytes of a refused ClientHello still to come */
    bool refused_hello;                     /* one has been answered */
    uint8_t empties, key_updates, warnings; /* since the last data */

    uint64_t last_write_ms;
    uint32_t small_sent; /* plaintext bytes since the last silence, up to RECORD_SMALL_FOR */
};

/* Copies what it needs: wipe the handover afterwards.  It must have come from
 * handover_decode().  RC_NOMEM, RC_CRYPTO: nothing to dispose then. */
RC_MUST_CHECK enum rc record_init(struct record *r, const struct handover *h);

/* Wipes.  A no-op on a zeroed or disposed struct. */
void record_dispose(struct record *r);

/*----- in -----*/

/* Takes records from the start of `buf`, `len` bytes of ciphertext as they came,
 * until one has data; opens in place.
 *
 *   RC_OK      *data, *data_len: at least one byte of plaintext, inside `buf`
 *   RC_AGAIN   no whole record is left; come again when there are more bytes
 *   RC_CLOSED  the peer said close_notify, and sends no more
 *   RC_CANCELED  the peer sent a fatal alert: record_alert() says which.  Drop the
 *              connection; there is nothing to send
 *   else       the peer is at fault (RC_CRYPTO, RC_MALFORMED, RC_TOO_LARGE) or
 *              memory is out (RC_NOMEM): record_alert() says which alert waits
 *              to be sent; write it, then drop the connection
 *
 * In each case *used bytes are done with: keep the rest, and give it again with
 * what comes behind it (use the plaintext before you move it).  All but RC_OK and
 * RC_AGAIN are for good: all bytes that come later are used up and ignored.
 *
 * close_notify ends this direction only: in TLS 1.3 an answer may still be
 * finished; in TLS 1.2 too, though the RFC would have us stop. */
RC_MUST_CHECK enum rc record_read(struct record *r, uint8_t *buf, size_t len, size_t *used,
                                  uint8_t **data, size_t *data_len);

/* The stream ended (FIN, MUX_CLOSE).  RC_OK when close_notify came before it, else
 * RC_MALFORMED: cut off, perhaps by an attacker; what has no length of its own
 * must not be taken for complete. */
RC_MUST_CHECK enum rc record_eof(const struct record *r);

/* The alert that ended reading: ours to send, or the peer's; TLS_CLOSE_NOTIFY
 * before that. */
uint8_t record_alert(const struct record *r);

/*----- out -----*/

/* Something waits to be sent, without any data of the caller's. */
bool record_pending(const struct record *r);

/* Fills `out` with whole records: what waits inside, then the data.  `data` may be
 * NULL when `len` is 0; it must not overlap `out`.
 *
 *   RC_OK      all is out: *used == len, and nothing waits
 *   RC_FULL    `out` has no room for the next record; call again with the rest.
 *              With RECORD_ROOM_MIN bytes of room each call gets on; with
 *              RECORD_WIRE_MAX no record is cut short for lack of room
 *   RC_CLOSED  what is in `out` are the last bytes of this direction (perhaps
 *              none): close_notify or an alert of ours is out, now or before
 *   RC_NOMEM, RC_CRYPTO  a key could not be made: as RC_CLOSED, with no alert
 *
 * In each case *written bytes of `out` are to be sent. */
RC_MUST_CHECK enum rc record_write(struct record *r, uint64_t now_ms, const void *data, size_t len,
                                   size_t *used, uint8_t *out, size_t size, size_t *written);

/* No data is taken any more; close_notify waits to be sent. */
void record_close(struct record *r);

/* Gives up for a reason of our own: no data is read or taken any more; the fatal
 * alert (TLS_INTERNAL_ERROR …) waits to be sent. */
void record_fail(struct record *r, uint8_t alert);

/* True when this connection should not carry another exchange: a TLS 1.2 key has
 * served three quarters of its records.  Answer "Connection: close". */
bool record_worn(const struct record *r);

#endif
