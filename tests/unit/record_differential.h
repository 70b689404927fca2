/* One script, two servers: the tenant's record layer and OpenSSL's, with the same keys,
 * are given the same records, whole and spoilt, and must agree on what they take, on
 * the plaintext, on the alert, and on what they send.  Where they may differ, and why,
 * is in is_excused().
 *
 * A script is bytes, any bytes: the suite, the size of the pieces in which the stream
 * comes, max_fragment_length (TLS 1.2); then steps, a byte each with operands behind. */
#ifndef TESTS_RECORD_DIFFERENTIAL_H
#define TESTS_RECORD_DIFFERENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/record_reference.h"

enum step {
    STEP_DATA,       /* u16: data of that length, up to a record's most and a little more */
    STEP_PADDED,     /* u16, u16: length and padding (TLS 1.3) */
    STEP_RECORD,     /* type, length (mod 32), so many bytes: anything, sealed */
    STEP_KEY_UPDATE, /* bit 0: requested; bit 7: in pieces of 1 to 4 bytes and the rest */
    STEP_FLIP,       /* u16, bit: a record of 40 bytes with a bit of it changed */
    STEP_DROP,       /* a record that is lost on the way */
    STEP_REPLAY,     /* the last record once more */
    STEP_RAW,        /* length (mod 32), so many bytes: not sealed */
    STEP_HEAD,       /* type, u16: a head alone, of that length; then as many zeroes */
    STEP_ALERT,      /* level, alert */
    STEP_WRITE,      /* u16: both send that much (mod 1300) */
    STEP_OUR_UPDATE, /* bit 0: both update their own keys, and ask for the client's */
    STEPS
};

struct differential_outcome {
    uint16_t suite;
    enum reference_end end; /* ours; all of the script was taken when it still waits */
    uint8_t alert;
    size_t text_len, said_len; /* plaintext that came in, and went out */
};

/* What the two do not agree on, or NULL.  Static.  `trace`: print each step. */
const char *differential_run(const uint8_t *script, size_t len, bool trace,
                             struct differential_outcome *out);

#endif
