/* The record layer with keys that are fixed.
 *
 * The first byte chooses the suite, the second how the stream is cut, the third the
 * mode.  Raw: the rest is ciphertext as it is, which never gets past the AEAD.
 * Sealed: the rest is a list of steps, each a kind, a length and a body: a record of
 * that content type, sealed as an honest client's would be, or something that the
 * tenant does (STEP_*).  Whatever the tenant sends must open at the client's end. */
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/runtime/record.h"
#include "tests/unit/record_fixture.h"

enum { STEP_WRITE = 128, STEP_CLOSE = 129, STEP_FAIL = 130, STEP_SILENCE = 131 };

#define MUST(cond) ((cond) ? (void)0 : abort())

static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0xc02b, 0xc030, 0xcca8};

static struct record tenant;
static struct fixture_client client;
static uint64_t now_ms;

static bool is_wiped(const struct record_key *k)
{
    static const struct record_key zeroes;

    return memcmp(k, &zeroes, sizeof zeroes) == 0;
}

/* The client takes what the tenant sent. */
static void open_all(uint8_t *out, size_t len)
{
    static const uint8_t key_update[] = {TLS_KEY_UPDATE, 0, 0, 1};

    for (size_t at = 0; at < len;) {
        uint8_t type, *text;
        size_t text_len;

        at += fixture_open(&client, out + at, len - at, &type, &text, &text_len);
        MUST(text_len > 0);
        if (type == TLS_HANDSHAKE) {
            MUST(text_len == 5 && memcmp(text, key_update, 4) == 0 && text[4] <= 1);
            MUST(record_key_update(&client.in) == RC_OK);
        } else if (type == TLS_ALERT) {
            MUST(text_len == 2);
        } else {
            MUST(type == TLS_DATA && text_len <= RECORD_PLAIN_MAX);
        }
    }
}

static void tenant_write(const uint8_t *data, size_t len, size_t room)
{
    static uint8_t out[2 * RECORD_WIRE_MAX];
    enum rc rc;

    do {
        size_t used, written;

        rc = record_write(&tenant, now_ms, data, len, &used, out, room, &written);
        MUST(used <= len && written <= room);
        MUST(rc == RC_OK || rc == RC_FULL || rc == RC_CLOSED);
        MUST(rc != RC_OK || (used == len && !record_pending(&tenant)));
        MUST(rc != RC_FULL || written > 0 || room < RECORD_ROOM_MIN);
        MUST(rc != RC_CLOSED || is_wiped(&tenant.out));
        open_all(out, written);
        data += used;
        len -= used;
    } while (rc == RC_FULL && room >= RECORD_ROOM_MIN);
}

/* Gives `len` bytes in cuts; true while the tenant reads.  `want`: what comes out. */
static bool tenant_read(const uint8_t *bytes, size_t len, size_t cut, const uint8_t *want,
                        size_t want_len)
{
    size_t have = 0, got = 0, from = 0;
    uint8_t *buf = malloc(len > 0 ? len : 1); /* exactly as long: ASan sees all */
    enum rc rc = RC_AGAIN;

    MUST(buf != NULL);
    while (from < len) {
        size_t n = cut < len - from ? cut : len - from;

        memcpy(buf + have, bytes + from, n);
        have += n;
        from += n;
        do {
            uint8_t *data;
            size_t used, data_len;

            rc = record_read(&tenant, buf, have, &used, &data, &data_len);
            MUST(used <= have);
            if (rc == RC_OK) {
                MUST(data_len > 0 && data >= buf && data + data_len <= buf + used);
                MUST(want && data_len <= want_len - got);
                MUST(memcmp(data, want + got, data_len) == 0);
                got += data_len;
            } else if (rc != RC_AGAIN) {
                MUST(used == have && is_wiped(&tenant.in));
                MUST((record_eof(&tenant) == RC_OK) == (rc == RC_CLOSED));
            }
            have -= used;
            memmove(buf, buf + used, have);
        } while (rc == RC_OK);
    }
    free(buf);
    return rc == RC_AGAIN;
}

static void steps(const uint8_t *p, size_t left, size_t cut)
{
    static uint8_t record[RECORD_WIRE_MAX + 512];

    while (left >= 2) {
        uint8_t kind = p[0];
        size_t len = p[1], padding = kind >> 5 & 3, size;

        p += 2;
        left -= 2;
        if (len > left)
            len = left;
        if (kind == STEP_WRITE) {
            tenant_write(p, len, cut);
        } else if (kind == STEP_CLOSE) {
            record_close(&tenant);
        } else if (kind == STEP_FAIL) {
            record_fail(&tenant, TLS_INTERNAL_ERROR);
        } else if (kind == STEP_SILENCE) {
            now_ms += RECORD_IDLE_MS;
        } else {
            uint8_t type = kind & 31;

            size = fixture_seal(&client, type, p, len, padding, record);
            /* Of type 0 the last byte that is not 0 becomes the type. */
            if (!tenant_read(record, size, cut, p, type == TLS_DATA || type == 0 ? len : 0))
                break;
            if (tenant.in.seq == 0) /* the tenant took a KeyUpdate */
                MUST(record_key_update(&client.out) == RC_OK);
        }
        p += len;
        left -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handover h;
    size_t cut;

    if (size < 3)
        return 0;
    fixture_handover(suites[data[0] % (sizeof suites / sizeof suites[0])], &h);
    MUST(record_init(&tenant, &h) == RC_OK);
    fixture_client_init(&client, &h);
    handover_wipe(&h);
    cut = 1 + data[1] * 128u; /* of the way in; and room on the way out */
    now_ms = 1;

    if (data[2] & 1)
        steps(data + 3, size - 3, cut);
    else
        tenant_read(data + 3, size - 3, cut, NULL, 0);

    if (record_pending(&tenant))
        tenant_write((const uint8_t *)"", 0, RECORD_WIRE_MAX);
    record_close(&tenant);
    tenant_write((const uint8_t *)"", 0, RECORD_WIRE_MAX);
    MUST(is_wiped(&tenant.out));
    record_dispose(&tenant);
    fixture_client_dispose(&client);
    return 0;
}
