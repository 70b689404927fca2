/* Every alert that a tenant owes after the handover: one row for what a client may do
 * wrong, which is also a row of docs/TLS.md, "After the handover".
 *
 * Seen to fail: a row with each of the checks of record_read.c taken out, one at a time
 * (what is taken then is not refused, or with another alert); and with a row of the
 * document changed, or one more there.  --table prints the rows for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/record_pair.h"

#define CCS    20
#define FORGED 255 /* a piece of this type: data, with a byte changed on the way */

/* What comes of it. */
enum outcome {
    REFUSED, /* by a fatal alert of ours */
    WARNED,  /* by a warning of ours; the connection goes on */
    IGNORED, /* the connection goes on */
    CLOSED,  /* an end in order: no more is read, the rest is sent */
    DROPPED, /* the connection ends, and nothing is sent */
};

struct piece { /* one record */
    uint8_t type;
    uint8_t len;
    const char *text;
};

struct row {
    const char *what;
    uint16_t suite;
    enum outcome outcome;
    uint8_t alert; /* ours; of DROPPED: the client's */
    const char *rfc;
    unsigned times;         /* that pieces[0] comes before the others; at least once */
    struct piece pieces[3]; /* all but the last are taken */
};

#define PIECE(type, text)            \
    {                                \
        type, sizeof(text) - 1, text \
    }
#define HELLO  PIECE(TLS_HANDSHAKE, "\x01\0\0\x02xx")
#define UPDATE PIECE(TLS_HANDSHAKE, "\x18\0\0\x01\0")

/* clang-format off */
static const struct row rows[] = {
    /* TLS 1.3 */
    {"a record that was changed, repeated, left out or moved", AES_13, REFUSED, TLS_BAD_RECORD_MAC, "8446, 5.2", 1,
     {PIECE(FORGED, "x")}},
    {"a KeyUpdate of another length than 1", AES_13, REFUSED, TLS_DECODE_ERROR, "8446, 6.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x02\0\0")}},
    {"a KeyUpdate without a body", AES_13, REFUSED, TLS_DECODE_ERROR, "8446, 6.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\0")}},
    {"a KeyUpdate of 65,537 bytes", AES_13, REFUSED, TLS_DECODE_ERROR, "8446, 6.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\x01\0\x01\0")}},
    {"a KeyUpdate with a value above 1", AES_13, REFUSED, TLS_ILLEGAL_PARAMETER, "8446, 4.6.3", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01\x02")}},
    {"bytes behind a KeyUpdate in its record", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.1", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01\0\x18")}},
    {"data between the pieces of a KeyUpdate", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.1", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\0"), PIECE(TLS_DATA, "x")}},
    {"an alert between the pieces of a KeyUpdate", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.1", 1,
     {PIECE(TLS_HANDSHAKE, "\x18\0\0\x01"), PIECE(TLS_ALERT, "\x01\0")}},
    {"33 KeyUpdates without data between them", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "ours",
     RECORD_KEY_UPDATE_MAX, {UPDATE, UPDATE}},
    {"a ClientHello", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4.1.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x01\0")}},
    {"a HelloRequest", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4", 1,
     {PIECE(TLS_HANDSHAKE, "\0\0\0\0")}},
    {"a NewSessionTicket", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4", 1,
     {PIECE(TLS_HANDSHAKE, "\x04\0\0\x01\0")}},
    {"an EndOfEarlyData", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4", 1,
     {PIECE(TLS_HANDSHAKE, "\x05\0\0\0")}},
    {"a Certificate that nobody asked for", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4", 1,
     {PIECE(TLS_HANDSHAKE, "\x0b\0\0\x04\0\0\0\0")}},
    {"a Finished, or its first byte", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4", 1,
     {PIECE(TLS_HANDSHAKE, "\x14")}},
    {"a handshake message of no known type", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 4", 1,
     {PIECE(TLS_HANDSHAKE, "\x63\0\0\0")}},
    {"an encrypted ChangeCipherSpec", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5", 1,
     {PIECE(CCS, "\x01")}},
    {"a content type that is not known, encrypted", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5", 1,
     {PIECE(24, "\x01")}},
    {"a record of zeroes only, or of nothing", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.4", 1,
     {PIECE(0, "\0\0\0\0\0\0\0")}}, /* so many that what is in front of them, the length, is 23 as well */
    {"a record with no content type", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.4", 1,
     {PIECE(0, "")}},
    {"an empty handshake record", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.4", 1,
     {PIECE(TLS_HANDSHAKE, "")}},
    {"an empty alert record", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "8446, 5.4", 1,
     {PIECE(TLS_ALERT, "")}},
    {"half an alert", AES_13, REFUSED, TLS_DECODE_ERROR, "8446, 5.1, 6.2", 1,
     {PIECE(TLS_ALERT, "\x01")}},
    {"two alerts in one record", AES_13, REFUSED, TLS_DECODE_ERROR, "8446, 5.1, 6.2", 1,
     {PIECE(TLS_ALERT, "\x01\x5a\x01\0")}},
    {"33 empty records of data in a row", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "ours",
     RECORD_EMPTY_MAX, {PIECE(TLS_DATA, ""), PIECE(TLS_DATA, "")}},
    {"32 empty records of data in a row", AES_13, IGNORED, 0, "8446, 5.4", RECORD_EMPTY_MAX - 1,
     {PIECE(TLS_DATA, ""), PIECE(TLS_DATA, "")}},
    {"user_canceled", AES_13, IGNORED, 0, "8446, 6.1", 1, {PIECE(TLS_ALERT, "\x01\x5a")}},
    {"user_canceled five times without data between", AES_13, REFUSED, TLS_UNEXPECTED_MESSAGE, "ours",
     RECORD_WARNING_MAX, {PIECE(TLS_ALERT, "\x01\x5a"), PIECE(TLS_ALERT, "\x01\x5a")}},
    {"close_notify, of any level", AES_13, CLOSED, TLS_CLOSE_NOTIFY, "8446, 6.1", 1,
     {PIECE(TLS_ALERT, "\x02\0")}},
    {"an error alert, of any level", AES_13, DROPPED, 40, "8446, 6.2", 1,
     {PIECE(TLS_ALERT, "\x01\x28")}},
    {"an alert of no known number, of any level", AES_13, DROPPED, 200, "8446, 6", 1,
     {PIECE(TLS_ALERT, "\x01\xc8")}},

    /* TLS 1.2 */
    {"a record that was changed, repeated, left out or moved", AES_12, REFUSED, TLS_BAD_RECORD_MAC, "5246, 7.2.2", 1,
     {PIECE(FORGED, "x")}},
    {"a ClientHello: renegotiation", AES_12, WARNED, TLS_NO_RENEGOTIATION, "5246, 7.2.2", 1, {HELLO}},
    {"a second ClientHello", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1, {HELLO, HELLO}},
    {"two ClientHellos in one record", CHACHA_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x02xx\x01")}},
    {"a ClientHello without a body", AES_12, REFUSED, TLS_DECODE_ERROR, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\0")}},
    {"a ClientHello longer than 65,536 bytes", AES_12, REFUSED, TLS_DECODE_ERROR, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x01\x01\0\x01")}},
    {"data between the pieces of a ClientHello", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x01\0\0\x02x"), PIECE(TLS_DATA, "x")}},
    {"a HelloRequest", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\0\0\0\0")}},
    {"a KeyUpdate", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1, {UPDATE}},
    {"a Finished, or its first byte", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x14")}},
    {"a handshake message of no known type", CHACHA_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1,
     {PIECE(TLS_HANDSHAKE, "\x63\0\0\0")}},
    {"an empty handshake record", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 6.2.1", 1,
     {PIECE(TLS_HANDSHAKE, "")}},
    {"an empty alert record", CHACHA_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 6.2.1", 1,
     {PIECE(TLS_ALERT, "")}},
    {"half an alert", CHACHA_12, REFUSED, TLS_DECODE_ERROR, "5246, 7.2.2", 1,
     {PIECE(TLS_ALERT, "\x02")}},
    {"two alerts in one record", AES_12, REFUSED, TLS_DECODE_ERROR, "5246, 7.2.2", 1,
     {PIECE(TLS_ALERT, "\x01\x5a\x01\0")}},
    {"an alert of a level that is none", AES_12, REFUSED, TLS_ILLEGAL_PARAMETER, "5246, 7.2.2", 1,
     {PIECE(TLS_ALERT, "\x03\0")}},
    {"33 empty records of data in a row", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "ours",
     RECORD_EMPTY_MAX, {PIECE(TLS_DATA, ""), PIECE(TLS_DATA, "")}},
    {"32 empty records of data in a row", CHACHA_12, IGNORED, 0, "5246, 6.2.1", RECORD_EMPTY_MAX - 1,
     {PIECE(TLS_DATA, ""), PIECE(TLS_DATA, "")}},
    {"an alert of level warning, known or not", AES_12, IGNORED, 0, "5246, 7.2.2", 1,
     {PIECE(TLS_ALERT, "\x01\xc8")}},
    {"five alerts of level warning without data between", CHACHA_12, REFUSED, TLS_UNEXPECTED_MESSAGE,
     "ours", RECORD_WARNING_MAX, {PIECE(TLS_ALERT, "\x01\x64"), PIECE(TLS_ALERT, "\x01\x64")}},
    {"close_notify", AES_12, CLOSED, TLS_CLOSE_NOTIFY, "5246, 7.2.1", 1, {PIECE(TLS_ALERT, "\x01\0")}},
    {"an alert of level fatal, known or not", AES_12, DROPPED, 200, "5246, 7.2.2", 1,
     {PIECE(TLS_ALERT, "\x02\xc8")}},
    {"a ChangeCipherSpec, sealed", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 7.2.2", 1,
     {PIECE(CCS, "\x01")}},
    {"a content type that is not known, sealed", AES_12, REFUSED, TLS_UNEXPECTED_MESSAGE, "5246, 6", 1,
     {PIECE(24, "\x01")}},
};

/* Heads, refused before their bodies come. */
struct head {
    const char *what;
    uint16_t suite;
    uint16_t limit; /* record_size_limit, max_fragment_length; 0: none */
    uint8_t head[5];
    enum rc rc;
    uint8_t alert;
    const char *rfc;
};

static const struct head heads[] = {
    {"a ChangeCipherSpec", AES_13, 0, {20, 3, 3, 0, 1}, RC_MALFORMED, 10, "8446, 5"},
    {"an alert that is not encrypted", AES_13, 0, {21, 3, 3, 0, 2}, RC_MALFORMED, 10, "8446, 5"},
    {"a handshake record that is not encrypted", AES_13, 0, {22, 3, 3, 0, 100}, RC_MALFORMED, 10, "8446, 5"},
    {"what is no TLS", AES_13, 0, {'G', 'E', 'T', ' ', '/'}, RC_MALFORMED, 10, "8446, 5"},
    {"a record with one byte more than any can have", AES_13, 0, {23, 3, 3, 0x40, 18}, RC_TOO_LARGE, 22,
     "8446, 5.1, 5.2"},
    {"a record of 65,535 bytes", AES_13, 0, {23, 3, 3, 255, 255}, RC_TOO_LARGE, 22, "8446, 5.2"},
    {"a record past a record_size_limit of ours", AES_13, 511, {23, 3, 3, 2, 17}, RC_TOO_LARGE, 22, "8449, 4"},
    {"a record with no room for a tag", AES_13, 0, {23, 3, 3, 0, 15}, RC_CRYPTO, 20, "8446, 5.2"},
    {"an empty record", AES_13, 0, {23, 3, 3, 0, 0}, RC_CRYPTO, 20, "8446, 5.2"},
    {"a ChangeCipherSpec", AES_12, 0, {20, 3, 3, 0, 1}, RC_MALFORMED, 10, "5246, 7.2.2"},
    {"what is no TLS", AES_12, 0, {'G', 'E', 'T', ' ', '/'}, RC_MALFORMED, 10, "5246, 6"},
    {"a record of TLS 1.0", AES_12, 0, {23, 3, 1, 0, 100}, RC_MALFORMED, 70, "5246, 7.2.2"},
    {"a record of a version that is none", CHACHA_12, 0, {23, 4, 3, 0, 100}, RC_MALFORMED, 70, "5246, 7.2.2"},
    {"a record with one byte more than any can have, AES-GCM", AES_12, 0, {23, 3, 3, 0x40, 25}, RC_TOO_LARGE, 22,
     "5246, 7.2.2"},
    {"a record with one byte more than any can have, ChaCha20", CHACHA_12, 0, {23, 3, 3, 0x40, 17}, RC_TOO_LARGE, 22,
     "5246, 7.2.2"},
    {"a record past max_fragment_length", AES_12, 512, {23, 3, 3, 2, 25}, RC_TOO_LARGE, 22, "6066, 4"},
    {"a record with no room for nonce and tag", AES_12, 0, {23, 3, 3, 0, 23}, RC_CRYPTO, 20, "5246, 7.2.2"},
    {"a record with no room for a tag, ChaCha20", CHACHA_12, 0, {23, 3, 3, 0, 15}, RC_CRYPTO, 20, "5246, 7.2.2"},
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static enum rc send_piece(const struct piece *p)
{
    enum rc rc;

    if (p->type == FORGED) {
        uint8_t buf[64];
        size_t used, size = fixture_seal(&client, TLS_DATA, p->text, p->len, 0, buf);

        buf[size - 1] ^= 1;
        return pair_give(buf, size, &used);
    }
    rc = pair_send(p->type, p->text, p->len);
    if (p->len == 5 && memcmp(p->text, "\x18\0\0\x01", 4) == 0 && rc == RC_AGAIN)
        assert_int_equal(record_key_update(&client.out), RC_OK);
    return rc;
}

static void expect_warning(uint8_t alert)
{
    uint8_t out[256], type, *text;
    size_t used, written, len;

    assert_true(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, NULL, 0, &used, out, sizeof out, &written), RC_OK);
    assert_int_equal(fixture_open(&client, out, written, &type, &text, &len), written);
    assert_int_equal(type, TLS_ALERT);
    assert_int_equal(len, 2);
    assert_int_equal(text[0], TLS_WARNING);
    assert_int_equal(text[1], alert);
}

static void expect_to_go_on(void)
{
    uint8_t out[256], type, *text;
    size_t used, written, len;

    assert_false(record_pending(&tenant));
    assert_int_equal(pair_send(TLS_DATA, "on", 2), RC_OK);
    assert_int_equal(record_write(&tenant, 0, "on", 2, &used, out, sizeof out, &written), RC_OK);
    assert_int_equal(fixture_open(&client, out, written, &type, &text, &len), written);
    assert_int_equal(type, TLS_DATA);
}

static enum rc refusal(const struct row *row)
{
    return row->alert == TLS_BAD_RECORD_MAC ? RC_CRYPTO : RC_MALFORMED;
}

static void expect_outcome(const struct row *row)
{
    uint8_t out[256];
    size_t used, written;

    switch (row->outcome) {
    case REFUSED:
        tenant.no_renegotiation = false; /* of a first ClientHello; the fault outweighs it */
        pair_expect_refusal(refusal(row), row->alert);
        break;
    case WARNED:
        expect_warning(row->alert);
        expect_to_go_on();
        break;
    case IGNORED:
        expect_to_go_on();
        break;
    case CLOSED:
        assert_int_equal(record_eof(&tenant), RC_OK);
        assert_wiped(&tenant.in, sizeof tenant.in);
        assert_false(record_pending(&tenant));
        record_close(&tenant);
        pair_expect_last_alert(TLS_WARNING, TLS_CLOSE_NOTIFY);
        break;
    case DROPPED:
        assert_int_equal(record_alert(&tenant), row->alert);
        assert_int_equal(record_eof(&tenant), RC_MALFORMED);
        assert_wiped(&tenant.in, sizeof tenant.in);
        assert_wiped(&tenant.out, sizeof tenant.out);
        assert_int_equal(record_write(&tenant, 0, "x", 1, &used, out, sizeof out, &written),
                         RC_CLOSED);
        assert_int_equal(written, 0);
        break;
    }
}

static void each_message_gets_what_it_is_owed(void **state)
{
    static const enum rc rcs[] = {RC_OK, RC_AGAIN, RC_AGAIN, RC_CLOSED, RC_CANCELED};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct row *row = &rows[i];
        bool more = true;
        enum rc rc;

        printf("%04x: %s\n", row->suite, row->what);
        pair_begin(row->suite);
        for (unsigned n = 1; n < row->times; n++)
            assert_int_equal(send_piece(&row->pieces[0]), RC_AGAIN);
        for (size_t j = 0; more; j++) {
            more = j + 1 < COUNT(row->pieces) && row->pieces[j + 1].text;
            rc = row->outcome == REFUSED ? refusal(row) : rcs[row->outcome];
            assert_int_equal(send_piece(&row->pieces[j]), more ? RC_AGAIN : rc);
        }
        expect_outcome(row);
        pair_end();
    }
}

static void each_bad_head_is_refused_before_its_body_comes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(heads); i++) {
        const struct head *row = &heads[i];
        struct handover h;
        uint8_t buf[sizeof row->head];
        size_t used;

        printf("%04x: %s\n", row->suite, row->what);
        fixture_handover(row->suite, &h);
        if (row->limit)
            h.in.record_limit = row->limit;
        pair_begin_with(&h);
        memcpy(buf, row->head, sizeof buf);
        assert_int_equal(pair_give(buf, 4, &used), RC_AGAIN);
        assert_int_equal(used, 0);
        assert_int_equal(pair_give(buf, sizeof buf, &used), row->rc);
        assert_int_equal(used, sizeof buf);
        pair_expect_refusal(row->rc, row->alert);
        pair_end();
    }
}

/*----- the document -----*/

static char *document(void)
{
    FILE *f = fopen(ROOMKEY_SOURCE "/docs/TLS.md", "re");
    char *text = calloc(1, 1 << 20), *from, *to;

    assert_non_null(f);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    from = strstr(text, "\n## After the handover\n");
    assert_non_null(from);
    to = strstr(from + 4, "\n## ");
    if (to)
        *to = '\0';
    memmove(text, from, strlen(from) + 1);
    return text;
}

static const char *answer_to(const struct row *row, char *to, size_t size)
{
    switch (row->outcome) {
    case REFUSED:
        snprintf(to, size, "`%s`", tls_alert_text(row->alert));
        return to;
    case WARNED:
        snprintf(to, size, "`%s`, a warning; goes on", tls_alert_text(row->alert));
        return to;
    case IGNORED:
        return "none; goes on";
    case CLOSED:
        return "`close_notify`, when our data is out";
    default:
        return "none; the connection ends";
    }
}

/* Row `i` of both tables, as in the document; false when there is none. */
static bool line_of(size_t i, char *to, size_t size)
{
    char text[64];
    const char *what, *answer = text, *rfc;
    uint16_t suite;

    if (i < COUNT(rows)) {
        what = rows[i].what;
        suite = rows[i].suite;
        answer = answer_to(&rows[i], text, sizeof text);
        rfc = rows[i].rfc;
    } else if (i - COUNT(rows) < COUNT(heads)) {
        const struct head *row = &heads[i - COUNT(rows)];

        what = row->what;
        suite = row->suite;
        snprintf(text, sizeof text, "`%s`", tls_alert_text(row->alert));
        rfc = row->rfc;
    } else {
        return false;
    }
    snprintf(to, size, "| %s | 1.%d | %s | %s |\n", what, suite < 0xc000 ? 3 : 2, answer, rfc);
    return true;
}

static void the_document_has_each_row_and_no_other(void **state)
{
    char *text = document(), line[512];
    size_t lines = 0;

    (void)state;
    for (size_t i = 0; line_of(i, line, sizeof line); i++)
        if (!strstr(text, line))
            fail_msg("docs/TLS.md, After the handover, has no line: %s", line);
    for (const char *p = text; (p = strstr(p, " | 1.")) != NULL; p++)
        lines++;
    assert_int_equal(lines, COUNT(rows) + COUNT(heads));
    free(text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_gets_what_it_is_owed),
        cmocka_unit_test(each_bad_head_is_refused_before_its_body_comes),
        cmocka_unit_test(the_document_has_each_row_and_no_other),
    };

    if (argc > 1 && strcmp(argv[1], "--table") == 0) { /* for the document */
        char line[512];

        for (size_t i = 0; line_of(i, line, sizeof line); i++)
            printf("%s", line);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
