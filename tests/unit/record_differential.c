#include "tests/unit/record_differential.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/record_reference.h"

#define NEED(cond) \
    ((cond) ? (void)0 : (fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #cond), abort()))

static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c,
                                  0xcca9, 0xc02f, 0xc030, 0xcca8};

#define STEPS_MAX 100 /* of a script: a fuzzer likes them long */

/* How many bytes follow a step's first. */
static const uint8_t operands[STEPS] = {2, 4, 2, 1, 3, 0, 0, 1, 3, 2, 2, 1};

/* What one side has made of the stream so far. */
struct side {
    const char *name;
    uint8_t text[1 << 17]; /* plaintext that came in */
    size_t text_len;
    enum reference_end end;
    uint8_t alert; /* of REFUSED: its own; of CANCELED: the peer's */

    struct fixture_client opener; /* of what it sends */
    uint8_t said[1 << 16];        /* plaintext that it has sent */
    size_t said_len;
    unsigned warnings, key_updates; /* that it has sent */
    bool fatal;                     /* it has sent such an alert */
    bool malformed;                 /* what it has sent */
};

static struct side ours = {.name = "ours"}, theirs = {.name = "OpenSSL"};
static struct record tenant;
static struct reference reference;
static struct fixture_client client; /* seals what both are given */
static uint8_t inbox[1 << 17], wire[1 << 17];
static size_t inbox_len, cut;
static uint8_t last_record[RECORD_WIRE_MAX + 512];
static size_t last_len;
static bool tls13;
static bool wrote; /* both have, in this step */
static bool bad_version;
static bool bad_head;   /* one that no honest peer sends has come */
static bool empty_head; /* in TLS 1.2: of an empty record that is not data */

/*----- what is sent -----*/

static void open_sent(struct side *s, uint8_t *out, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint8_t type, *text;
        size_t n;

        at += fixture_open(&s->opener, out + at, len - at, &type, &text, &n);
        if (type == TLS_DATA && n <= sizeof s->said - s->said_len) {
            memcpy(s->said + s->said_len, text, n);
            s->said_len += n;
        } else if (type == TLS_ALERT && n == 2 && text[0] == TLS_FATAL) {
            s->alert = text[1];
            s->fatal = true;
        } else if (type == TLS_ALERT && n == 2 && text[0] == TLS_WARNING) {
            s->warnings++;
        } else if (type == TLS_HANDSHAKE && n == 5 && text[0] == TLS_KEY_UPDATE) {
            s->key_updates++;
            NEED(record_key_update(&s->opener.in) == RC_OK);
        } else {
            s->malformed = true;
        }
    }
}

static void our_output(const void *data, size_t len)
{
    static uint8_t out[4096];
    size_t used, written;
    enum rc rc;

    rc = record_write(&tenant, 1, data, len, &used, out, sizeof out, &written);
    NEED(rc == RC_OK || rc == RC_CLOSED);
    open_sent(&ours, out, written);
}

static void their_output(void)
{
    static uint8_t out[65536];
    size_t n = reference_sent(&reference, out, sizeof out);

    open_sent(&theirs, out, n);
}

/*----- what comes in -----*/

/* See is_excused(). */
static void look_at_heads(void)
{
    size_t overhead = record_key_overhead(&client.out), len, longest = tenant.in_limit + overhead;

    if (ours.end != REFERENCE_WAITS)
        return;
    for (size_t at = 0; inbox_len - at >= RECORD_HEAD_SIZE; at += RECORD_HEAD_SIZE + len) {
        const uint8_t *p = inbox + at;

        len = (size_t)p[3] << 8 | p[4];
        bad_version |= p[1] != 3 || p[2] != 3;
        bad_head |= bad_version || (tls13 ? p[0] != TLS_DATA : p[0] < TLS_ALERT);
        bad_head |= p[0] > TLS_DATA || len > longest + tls13 || len < overhead + tls13;
        empty_head |= !tls13 && p[0] != TLS_DATA && len == overhead;
        if (len > inbox_len - at - RECORD_HEAD_SIZE)
            break;
    }
}

static void our_input(const uint8_t *bytes, size_t len)
{
    uint8_t *data;
    size_t used, n;
    enum rc rc;

    NEED(len <= sizeof inbox - inbox_len);
    memcpy(inbox + inbox_len, bytes, len);
    inbox_len += len;
    look_at_heads();
    for (;;) {
        rc = record_read(&tenant, inbox, inbox_len, &used, &data, &n);
        if (rc == RC_OK) {
            memcpy(ours.text + ours.text_len, data, n);
            ours.text_len += n;
        }
        inbox_len -= used;
        memmove(inbox, inbox + used, inbox_len);
        if (rc != RC_OK)
            break;
    }
    if (rc == RC_AGAIN)
        ours.end = REFERENCE_WAITS;
    else if (rc == RC_CLOSED)
        ours.end = REFERENCE_CLOSED;
    else if (rc == RC_CANCELED)
        ours.end = REFERENCE_CANCELED;
    else
        ours.end = REFERENCE_REFUSED;
    ours.alert = record_alert(&tenant);
    if (record_pending(&tenant))
        our_output(NULL, 0);
}

/* The stream comes in pieces of at most `cut` bytes.  Who has had enough gets no more. */
static void give(const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += cut) {
        size_t n = len - at < cut ? len - at : cut;

        if (ours.end == REFERENCE_WAITS)
            our_input(bytes + at, n);
        if (theirs.end == REFERENCE_WAITS) {
            theirs.end = reference_read(&reference, bytes + at, n, theirs.text, &theirs.text_len,
                                        &theirs.alert);
            their_output();
        }
    }
}

static size_t seal(uint8_t type, const void *text, size_t len, size_t padding)
{
    last_len = fixture_seal(&client, type, text, len, padding, last_record);
    memcpy(wire, last_record, last_len);
    return last_len;
}

/*----- steps -----*/

static size_t u16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static void send_key_update(uint8_t how)
{
    const uint8_t text[] = {TLS_KEY_UPDATE, 0, 0, 1, how & 1};
    size_t first = how & 128 ? 1 + (how >> 1 & 3) : 0;

    if (first)
        give(wire, seal(TLS_HANDSHAKE, text, first, 0));
    give(wire, seal(TLS_HANDSHAKE, text + first, sizeof text - first, 0));
    if (tls13)
        NEED(record_key_update(&client.out) == RC_OK);
}

/* OpenSSL sends nothing while it waits for the rest of a handshake message. */
static bool can_send(void)
{
    return ours.end == REFERENCE_WAITS && tenant.handshake_len == 0;
}

static void both_write(size_t len)
{
    static const uint8_t text[1300] = "what both send";
    size_t n;

    if (!can_send() || len == 0)
        return;
    wrote = true;
    our_output(text, len);
    NEED(SSL_write_ex(reference.server, text, len, &n) == 1 && n == len);
    their_output();
}

static void update_ours(uint8_t ask)
{
    if (!tls13 || !can_send())
        return;
    tenant.key_update = true;
    tenant.key_update_ask = ask;
    our_output(NULL, 0);
    NEED(SSL_key_update(reference.server,
                        ask ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
    NEED(SSL_do_handshake(reference.server) == 1);
    their_output();
}

static void take_step(enum step step, const uint8_t *op, const uint8_t *body, size_t len)
{
    static uint8_t pattern[RECORD_PLAIN_MAX + 512];

    if (!pattern[0])
        for (size_t i = 0; i < sizeof pattern; i++)
            pattern[i] = (uint8_t)(1 + i % 251);
    switch (step) {
    case STEP_DATA:
        give(wire, seal(TLS_DATA, pattern, u16(op) % (RECORD_PLAIN_MAX + 3), 0));
        break;
    case STEP_PADDED:
        give(wire, seal(TLS_DATA, pattern, u16(op) % 8200, u16(op + 2) % 8200));
        break;
    case STEP_RECORD:
        give(wire, seal(op[0], body, len, 0));
        break;
    case STEP_KEY_UPDATE:
        send_key_update(op[0]);
        break;
    case STEP_FLIP:
        seal(TLS_DATA, pattern, 40, 0);
        wire[u16(op) % last_len] ^= (uint8_t)(1u << op[2] % 8);
        give(wire, last_len);
        break;
    case STEP_DROP:
        seal(TLS_DATA, pattern, 10, 0);
        break;
    case STEP_REPLAY:
        give(last_record, last_len);
        break;
    case STEP_RAW:
        give(body, len);
        break;
    case STEP_HEAD:
        memset(wire, 0, sizeof wire);
        wire[0] = op[0];
        wire[1] = wire[2] = 3;
        wire[3] = op[1];
        wire[4] = op[2];
        give(wire, RECORD_HEAD_SIZE + u16(op + 1));
        break;
    case STEP_ALERT:
        give(wire, seal(TLS_ALERT, op, 2, 0));
        break;
    case STEP_WRITE:
        both_write(u16(op) % 1300);
        break;
    case STEP_OUR_UPDATE:
        update_ours(op[0] & 1);
        break;
    case STEPS:
        break;
    }
}

/*----- judging -----*/

/* Where the two may differ, and why.  What is taken as data is never one of these, but
 * for the last. */
static bool is_excused(void)
{
    bool both_refuse = ours.end == REFERENCE_REFUSED && theirs.end == REFERENCE_REFUSED;
    uint8_t our_alert = both_refuse ? ours.alert : 0, their_alert = both_refuse ? theirs.alert : 0;

    /* A head with more than one fault has more than one alert; OpenSSL also minds the
     * version in TLS 1.3, which "MUST be ignored for all purposes" (RFC 8446, 5.1); and
     * waits for the body of a record that is too long for any plaintext. */
    if (bad_head && ours.end == REFERENCE_REFUSED && theirs.end != REFERENCE_CLOSED)
        return true;
    if (bad_version && tls13 && theirs.end == REFERENCE_REFUSED)
        return true;
    /* An alert of the wrong length: decode_error (RFC 8446, 6.2), not unexpected_message. */
    if (our_alert == TLS_DECODE_ERROR && their_alert == TLS_UNEXPECTED_MESSAGE)
        return true;
    /* Nor illegal_parameter for a handshake message that is too long. */
    if (our_alert == TLS_DECODE_ERROR && their_alert == TLS_ILLEGAL_PARAMETER &&
        memcmp(tenant.handshake, "\x18\0\0\x01", 4) != 0)
        return true;
    /* A client that warns of no_renegotiation unasked: ignored; there to OpenSSL's
     * mind the handshake has failed (40).  Nor does it look at the level first. */
    if (!tls13 && theirs.end == REFERENCE_REFUSED && theirs.alert == 40 &&
        ours.end != REFERENCE_CLOSED)
        return true;
    /* OpenSSL counts a fifth alert of level warning before it looks at what it says, which in
     * TLS 1.3 is all that matters (RFC 8446, 6): there it is the client's end. */
    if (tls13 && ours.end == REFERENCE_CANCELED && theirs.end == REFERENCE_REFUSED &&
        theirs.alert == TLS_UNEXPECTED_MESSAGE && tenant.warnings == RECORD_WARNING_MAX)
        return true;
    if (ours.end != REFERENCE_REFUSED)
        return false;
    /* Our bounds for floods: OpenSSL has none for KeyUpdates, others for the rest. */
    if (tenant.empties > RECORD_EMPTY_MAX || tenant.key_updates > RECORD_KEY_UPDATE_MAX ||
        tenant.warnings > RECORD_WARNING_MAX)
        return true;
    /* Empty records other than data are forbidden (RFC 5246, 6.2.1); OpenSSL counts them. */
    if (empty_head)
        return true;
    /* We refuse a handshake message by its first byte and by its head, OpenSSL when it is
     * whole; a second ClientHello, or an empty one; and, as RFC 8446, 5.1 will have it but
     * RFC 5246 leaves open, other records between its pieces. */
    return tenant.handshake_len > 0 &&
           (!both_refuse || (!tls13 && our_alert == TLS_UNEXPECTED_MESSAGE)) &&
           (!tls13 || (ours.text_len == theirs.text_len && theirs.end != REFERENCE_CLOSED));
}

static bool same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* NULL: they agree, or are excused. */
static const char *judge(void)
{
    bool excused = is_excused();

    if (wrote) {
        if ((ours.key_updates > 0) != (theirs.key_updates > 0))
            return "whether a KeyUpdate was answered before data";
        ours.key_updates = theirs.key_updates = 0;
        wrote = false;
    }

    if (ours.malformed || theirs.malformed)
        return ours.malformed ? "we sent what is malformed" : "OpenSSL sent what is malformed";
    if (ours.fatal != (ours.end == REFERENCE_REFUSED))
        return ours.fatal ? "we sent an alert for no reason" : "we sent no alert";
    if (!same(ours.said, ours.said_len, theirs.said, theirs.said_len))
        return "the plaintext that was sent";
    if (memcmp(ours.text, theirs.text,
               ours.text_len < theirs.text_len ? ours.text_len : theirs.text_len) != 0)
        return "the plaintext that came in";
    if (excused)
        return NULL;
    if (ours.text_len != theirs.text_len)
        return "how much plaintext came in";
    if (ours.end != theirs.end)
        return "the end";
    if (ours.end >= REFERENCE_CANCELED && ours.alert != theirs.alert)
        return "the alert";
    /* A warning that is due goes with the fatal alert that comes to be due behind it. */
    if (ours.end != REFERENCE_REFUSED && ours.warnings != theirs.warnings)
        return "warnings that were sent";
    return NULL;
}

static void side_begin(struct side *s, const struct handover *h)
{
    s->text_len = s->said_len = 0;
    s->end = REFERENCE_WAITS;
    s->alert = 0;
    s->warnings = s->key_updates = 0;
    s->fatal = s->malformed = false;
    fixture_client_init(&s->opener, h);
}

static void print_side(const struct side *s)
{
    static const char *const ends[] = {"waits", "closed", "canceled by the peer", "refuses"};

    printf("  %-8s %zu bytes in, %zu out, %u KeyUpdates, %u warnings; %s, alert %u (%s)\n", s->name,
           s->text_len, s->said_len, s->key_updates, s->warnings, ends[s->end], s->alert,
           tls_alert_text(s->alert));
}

const char *differential_run(const uint8_t *script, size_t len, bool trace,
                             struct differential_outcome *out)
{
    const char *difference = NULL;
    struct handover h;
    uint16_t suite;
    size_t at = 3;
    uint8_t mfl;

    memset(out, 0, sizeof *out);
    if (len < 3)
        return NULL;
    suite = suites[script[0] % (sizeof suites / sizeof suites[0])];
    /* The front agrees to no max_fragment_length in TLS 1.3, Mbed TLS knowing none. */
    mfl = suite < 0xc000 || script[2] >= 8 ? 0 : script[2] % 5;
    reference_begin(&reference, suite, mfl, &h);
    tls13 = h.tls_version == TLS_1_3;
    cut = script[1] < 8 ? 1u + script[1] : 1u << script[1] % 16;
    inbox_len = last_len = 0;
    wrote = bad_version = bad_head = empty_head = false;
    NEED(record_init(&tenant, &h) == RC_OK);
    fixture_client_init(&client, &h);
    side_begin(&ours, &h);
    side_begin(&theirs, &h);

    for (unsigned n = 0; n < STEPS_MAX && !difference && at < len && ours.end == REFERENCE_WAITS &&
                         theirs.end == REFERENCE_WAITS;
         n++) {
        enum step step = script[at++] % STEPS;
        const uint8_t *op = script + at, *body = op + operands[step];
        size_t body_len = 0;

        if (operands[step] > len - at || ours.text_len > sizeof ours.text - RECORD_PLAIN_MAX)
            break;
        at += operands[step];
        if (step == STEP_RECORD || step == STEP_RAW) {
            body_len = (step == STEP_RECORD ? op[1] : op[0]) % 32;
            if (body_len > len - at)
                break;
            at += body_len;
        }
        take_step(step, op, body, body_len);
        difference = judge();
        if (trace) {
            printf("step %d, operands %02x %02x %02x %02x\n", step, op[0], op[1], op[2], op[3]);
            print_side(&ours);
            print_side(&theirs);
        }
    }
    *out = (struct differential_outcome){suite, ours.end, ours.alert, ours.text_len, ours.said_len};
    reference_end(&reference);
    record_dispose(&tenant);
    fixture_client_dispose(&client);
    fixture_client_dispose(&ours.opener);
    fixture_client_dispose(&theirs.opener);
    return difference;
}
