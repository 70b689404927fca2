/* The ClientHello, cut in every way that TCP and TLS allow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls-front/hello.h"
#include "unit.h"

/*----- making one -----*/

struct made {
    uint8_t p[70000];
    size_t len;
};

static void put(struct made *m, const void *p, size_t n)
{
    assert_true(m->len + n <= sizeof m->p);
    memcpy(m->p + m->len, p, n);
    m->len += n;
}

static void put16(struct made *m, size_t v)
{
    uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};

    put(m, b, 2);
}

static void extension(struct made *m, unsigned type, const void *p, size_t n)
{
    put16(m, type);
    put16(m, n);
    put(m, p, n);
}

static void server_name(struct made *m, const char *name)
{
    struct made e = {.len = 0};

    put16(&e, strlen(name) + 3);
    put(&e, "\0", 1);
    put16(&e, strlen(name));
    put(&e, name, strlen(name));
    extension(m, 0, e.p, e.len);
}

#define GREASE     0x3a3a
#define VERSIONS   "\x06\x3a\x3a\x03\x04\x03\x03"
#define ALPN       "\x00\x0c\x02h2\x08http/1.1"
#define LITERAL(s) (s), (sizeof(s) - 1)

/* The message, without a record: extensions as given, or none at all. */
static void message(struct made *m, const struct made *extensions)
{
    struct made body = {.len = 0};
    uint8_t head[4] = {1};

    put(&body, "\x03\x03", 2);
    put(&body, "0123456789abcdef0123456789abcdef", 32);
    put(&body, LITERAL("\x04sess"));
    put(&body, LITERAL("\x00\x06\x3a\x3a\x13\x01\xc0\x2b"));
    put(&body, LITERAL("\x01\x00"));
    if (extensions) {
        put16(&body, extensions->len);
        put(&body, extensions->p, extensions->len);
    }
    head[1] = (uint8_t)(body.len >> 16);
    head[2] = (uint8_t)(body.len >> 8);
    head[3] = (uint8_t)body.len;
    m->len = 0;
    put(m, head, 4);
    put(m, body.p, body.len);
}

/* Cut into records of `most` bytes each. */
static void records(struct made *out, const struct made *msg, size_t most)
{
    out->len = 0;
    for (size_t at = 0; at < msg->len; at += most) {
        size_t n = msg->len - at < most ? msg->len - at : most;

        put(out, "\x16\x03\x01", 3);
        put16(out, n);
        put(out, msg->p + at, n);
    }
}

static struct made ext, msg, raw;

static void usual(void)
{
    ext.len = 0;
    extension(&ext, GREASE, "", 0);
    server_name(&ext, "Acme.Example");
    extension(&ext, 16, LITERAL(ALPN));
    extension(&ext, 43, LITERAL(VERSIONS));
    extension(&ext, GREASE + 0x1010, "\0", 1);
    message(&msg, &ext);
    records(&raw, &msg, 16384);
}

/* The alert of the last one that was refused. */
static enum tls_alert alert;

/* One call with everything, in memory that ends where the bytes end. */
static enum rc read_all(const struct made *m, struct hello *h)
{
    struct hello_scan s = {0};
    uint8_t *p = malloc(m->len ? m->len : 1);
    size_t len = m->len;
    enum rc rc;

    memcpy(p, m->p, m->len);
    rc = hello_scan(&s, p, len);
    if (!rc) {
        hello_join(&s, p, &len);
        rc = hello_read(&s, p, h);
    }
    free(p);
    alert = s.alert;
    return rc;
}

static enum rc read_extensions(struct hello *h)
{
    message(&msg, &ext);
    records(&raw, &msg, 16384);
    return read_all(&raw, h);
}

/*----- the tests -----*/

static void a_usual_hello_says_name_alpn_and_version(void **state)
{
    struct hello h;

    (void)state;
    usual();
    assert_int_equal(read_all(&raw, &h), RC_OK);
    assert_string_equal(h.name, "acme.example");
    assert_true(h.alpn);
    assert_true(h.tls13);
    assert_int_equal(h.legacy_version, 0x0303);
}

static void a_hello_may_come_in_records_and_segments_of_any_size(void **state)
{
    (void)state;
    usual();
    for (size_t most = 1; most <= msg.len; most++) {
        struct hello_scan s = {0};
        struct hello h;
        size_t len;

        records(&raw, &msg, most);
        for (size_t n = 0; n < raw.len; n++)
            assert_int_equal(hello_scan(&s, raw.p, n), RC_AGAIN);
        assert_int_equal(hello_scan(&s, raw.p, raw.len), RC_OK);
        assert_int_equal(s.at, raw.len);

        /* In one record, with what came behind it still there. */
        put(&raw, LITERAL("\x14\x03\x03\x00\x01\x01"));
        len = raw.len;
        hello_join(&s, raw.p, &len);
        assert_int_equal(s.at, 5 + msg.len);
        assert_int_equal(len, s.at + 6);
        assert_memory_equal(raw.p + 5, msg.p, msg.len);
        assert_memory_equal(raw.p + s.at, "\x14\x03\x03\x00\x01\x01", 6);
        assert_int_equal(raw.p[3] << 8 | raw.p[4], msg.len);
        assert_int_equal(hello_read(&s, raw.p, &h), RC_OK);
        assert_string_equal(h.name, "acme.example");
    }
}

static void a_message_cut_short_at_any_byte_is_malformed(void **state)
{
    struct made cut;
    struct hello h;

    (void)state;
    usual();
    for (size_t n = 4; n < msg.len; n++) {
        size_t body = n - 4;

        cut.len = 0;
        put(&cut, msg.p, n);
        cut.p[2] = (uint8_t)(body >> 8);
        cut.p[3] = (uint8_t)body;
        records(&raw, &cut, 16384);
        /* Up to the compressions it is one without extensions, which is allowed. */
        if (n == 4 + 2 + 32 + 5 + 8 + 2)
            assert_int_equal(read_all(&raw, &h), RC_OK);
        else
            assert_int_equal(read_all(&raw, &h), RC_MALFORMED);
    }
}

static void a_hello_without_a_usable_name_is_read_and_has_none(void **state)
{
    static const char *const names[] = {
        "10.0.0.1", "::1",
        "a..b",     ".a",
        "a.",       "-a.b",
        "a-.b",     "a b",
        "a/b",      "a\x80",
        "1.2.3",    "x123456789012345678901234567890123456789012345678901234567890123.example"};
    struct hello h;

    (void)state;
    message(&msg, NULL);
    records(&raw, &msg, 16384);
    assert_int_equal(read_all(&raw, &h), RC_OK);
    assert_string_equal(h.name, "");
    assert_false(h.tls13);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ext.len = 0;
        server_name(&ext, names[i]);
        assert_int_equal(read_extensions(&h), RC_OK);
        assert_string_equal(h.name, "");
    }
}

static void a_name_may_be_as_odd_as_dns_allows(void **state)
{
    static const char *const names[] = {
        "localhost",
        "acme.localhost",
        "xn--bcher-kva.example",
        "a_b.c",
        "1.2.3.x",
        "4u.example",
        "x12345678901234567890123456789012345678901234567890123456789012.example"};
    struct hello h;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ext.len = 0;
        server_name(&ext, names[i]);
        assert_int_equal(read_extensions(&h), RC_OK);
        assert_string_equal(h.name, names[i]);
    }
}

static void extensions_that_contradict_themselves_are_malformed(void **state)
{
    static const struct {
        unsigned type;
        const char *p;
        size_t n;
    } bad[] = {
        {0, LITERAL("")},                     /* no list */
        {0, LITERAL("\0\0")},                 /* an empty list */
        {0, LITERAL("\0\4\0\0\1a\0")},        /* a byte too many */
        {0, LITERAL("\0\4\0\0\2a")},          /* a name that is longer than its list */
        {0, LITERAL("\0\3\0\0\0")},           /* an empty name */
        {0, LITERAL("\0\x08\0\0\1a\0\0\1b")}, /* two names */
        {16, LITERAL("\0\0")},                /* no protocol */
        {16, LITERAL("\0\1\0")},              /* an empty one */
        {16, LITERAL("\0\3\x05h2")},          /* a cut one */
        {43, LITERAL("\0")},                  /* no version */
        {43, LITERAL("\3\3\4\3")},            /* half a version */
        {43, LITERAL("\2\3\4\3")},            /* a byte too many */
        {10, LITERAL("\0\0")},                /* no group */
        {13, LITERAL("\0\3\4\3\4")},          /* half a signature algorithm */
        {11, LITERAL("\2\0")},                /* a cut list of point formats */
        {45, LITERAL("\0")},                  /* no PSK mode */
        {51, LITERAL("\0\4\0\x1d\0\0")},      /* an empty share */
        {51, LITERAL("\0\5\0\x1d\0\2a")},     /* a cut one */
        {28, LITERAL("\1")},                  /* half a limit */
        {23, LITERAL("\0")},                  /* what must be empty */
        {42, LITERAL("\0")},                  /* likewise */
        {41, LITERAL("\0\0\0\0")},            /* no identity */
    };
    struct hello h;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ext.len = 0;
        extension(&ext, bad[i].type, bad[i].p, bad[i].n);
        assert_int_equal(read_extensions(&h), RC_MALFORMED);
        if (bad[i].type != 0) /* of two names it is another */
            assert_int_equal(alert, TLS_ALERT_DECODE_ERROR);
    }
    ext.len = 0; /* the same one twice */
    server_name(&ext, "a.example");
    server_name(&ext, "a.example");
    assert_int_equal(read_extensions(&h), RC_MALFORMED);
    assert_int_equal(alert, TLS_ALERT_ILLEGAL_PARAMETER);
    ext.len = 0; /* a length past the end */
    put(&ext,
        "\0\x10\0\x09"
        "ab",
        6);
    assert_int_equal(read_extensions(&h), RC_MALFORMED);
}

static void what_is_no_hello_is_told_at_its_first_odd_byte(void **state)
{
    static const struct {
        const char *p;
        size_t n;
        enum tls_alert alert;
    } cases[] = {
        {LITERAL("\x80\x2e\x01"), TLS_ALERT_UNEXPECTED_MESSAGE},         /* SSL 2 */
        {LITERAL("\x17"), TLS_ALERT_UNEXPECTED_MESSAGE},                 /* application data */
        {LITERAL("\x16\x02"), TLS_ALERT_DECODE_ERROR},                   /* not version 3 */
        {LITERAL("\x16\x03\x01\x00\x00"), TLS_ALERT_UNEXPECTED_MESSAGE}, /* an empty record */
        {LITERAL("\x16\x03\x01\x40\x01"), TLS_ALERT_RECORD_OVERFLOW},    /* one that is too long */
        {LITERAL("\x16\x03\x01\x00\x05\x02"), TLS_ALERT_UNEXPECTED_MESSAGE}, /* another message */
        {LITERAL("\x16\x03\x01\x00\x04\x01\x01\x00\x01"),
         TLS_ALERT_ILLEGAL_PARAMETER}, /* too long */
    };
    static const char *again[] = {"", "\x16\x03\x01"}, *http[] = {"G", "POST / HTTP/1.1\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hello_scan s = {0};

        assert_int_equal(hello_scan(&s, (const uint8_t *)cases[i].p, cases[i].n), RC_MALFORMED);
        assert_int_equal(s.alert, cases[i].alert);
    }
    for (size_t i = 0; i < 2; i++) {
        struct hello_scan s = {0}, t = {0};

        assert_int_equal(hello_scan(&s, (const uint8_t *)again[i], strlen(again[i])), RC_AGAIN);
        assert_int_equal(hello_scan(&t, (const uint8_t *)http[i], strlen(http[i])), RC_UNSUPPORTED);
    }
}

static void what_follows_the_hello_is_refused(void **state)
{
    struct hello h;

    (void)state;
    usual();
    put(&msg, "x", 1);
    records(&raw, &msg, 16384);
    assert_int_equal(read_all(&raw, &h), RC_MALFORMED);
}

static void a_large_hello_is_read_and_a_larger_one_refused(void **state)
{
    static uint8_t padding[65535];
    struct hello h;

    (void)state;
    for (unsigned more = 0; more < 2; more++) {
        ext.len = 0;
        server_name(&ext, "acme.example");
        message(&msg, &ext);
        extension(&ext, 21, padding, HELLO_MESSAGE_MAX - msg.len - 4 + more);
        message(&msg, &ext);
        assert_int_equal(msg.len, HELLO_MESSAGE_MAX + more);
        records(&raw, &msg, 16384);
        assert_int_equal(read_all(&raw, &h), more ? RC_MALFORMED : RC_OK);
    }
    assert_int_equal(alert, TLS_ALERT_ILLEGAL_PARAMETER);

    ext.len = 0;
    server_name(&ext, "acme.example");
    extension(&ext, 21, padding, 11000);
    message(&msg, &ext);
    records(&raw, &msg, 1); /* the heads make it too long */
    assert_true(raw.len > HELLO_RAW_MAX);
    assert_int_equal(read_all(&raw, &h), RC_MALFORMED);
}

/* What changes with the print of a hello is what may not change in a second one. */
static void the_print_is_of_all_that_a_second_hello_must_have_again(void **state)
{
    static const unsigned may[] = {21, 42, 44, 51}, must_not[] = {0x3a3a, 16};
    struct hello h, other;

    (void)state;
    usual();
    assert_int_equal(read_all(&raw, &h), RC_OK);
    for (size_t i = 0; i < sizeof may / sizeof may[0]; i++) {
        usual();
        extension(&ext, may[i], may[i] == 51 ? "\0\0" : "", may[i] == 51 ? 2 : 0);
        assert_int_equal(read_extensions(&other), RC_OK);
        assert_memory_equal(h.print, other.print, sizeof h.print);
    }
    for (size_t i = 0; i < sizeof must_not / sizeof must_not[0]; i++) {
        ext.len = 0;
        server_name(&ext, "Acme.Example");
        extension(&ext, must_not[i], LITERAL("\0\3\2h2"));
        assert_int_equal(read_extensions(&other), RC_OK);
        assert_memory_not_equal(h.print, other.print, sizeof h.print);
    }
    usual();
    raw.p[5 + 4 + 2]++; /* the random */
    assert_int_equal(read_all(&raw, &other), RC_OK);
    assert_memory_not_equal(h.print, other.print, sizeof h.print);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_usual_hello_says_name_alpn_and_version),
        cmocka_unit_test(a_hello_may_come_in_records_and_segments_of_any_size),
        cmocka_unit_test(a_message_cut_short_at_any_byte_is_malformed),
        cmocka_unit_test(a_hello_without_a_usable_name_is_read_and_has_none),
        cmocka_unit_test(a_name_may_be_as_odd_as_dns_allows),
        cmocka_unit_test(extensions_that_contradict_themselves_are_malformed),
        cmocka_unit_test(what_is_no_hello_is_told_at_its_first_odd_byte),
        cmocka_unit_test(what_follows_the_hello_is_refused),
        cmocka_unit_test(a_large_hello_is_read_and_a_larger_one_refused),
        cmocka_unit_test(the_print_is_of_all_that_a_second_hello_must_have_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
