#include "tests/unit/record_pair.h"

struct record tenant;
struct fixture_client client;

void pair_begin_with(const struct handover *h)
{
    assert_int_equal(record_init(&tenant, h), RC_OK);
    fixture_client_init(&client, h);
}

void pair_begin(uint16_t suite)
{
    struct handover h;

    fixture_handover(suite, &h);
    pair_begin_with(&h);
}

void pair_end(void)
{
    record_dispose(&tenant);
    fixture_client_dispose(&client);
}

enum rc pair_give(uint8_t *p, size_t len, size_t *used)
{
    uint8_t *data;
    size_t data_len;

    return record_read(&tenant, p, len, used, &data, &data_len);
}

enum rc pair_send_padded(uint8_t type, const void *text, size_t len, size_t padding)
{
    static uint8_t buf[4 * RECORD_WIRE_MAX];
    size_t used, size = fixture_seal(&client, type, text, len, padding, buf);
    enum rc rc = pair_give(buf, size, &used);

    assert_int_equal(used, size);
    return rc;
}

enum rc pair_send(uint8_t type, const void *text, size_t len)
{
    return pair_send_padded(type, text, len, 0);
}

void assert_wiped(const void *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(((const uint8_t *)p)[i], 0);
}

void pair_expect_last_alert(uint8_t level, uint8_t alert)
{
    uint8_t out[256], type, *text;
    size_t used, written, len;

    assert_true(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, "late", 4, &used, out, sizeof out, &written),
                     RC_CLOSED);
    assert_int_equal(used, 0);
    assert_int_equal(fixture_open(&client, out, written, &type, &text, &len), written);
    assert_int_equal(type, TLS_ALERT);
    assert_int_equal(len, 2);
    assert_int_equal(text[0], level);
    assert_string_equal(tls_alert_text(text[1]), tls_alert_text(alert));
    assert_int_equal(text[1], alert);
    assert_wiped(&tenant.out, sizeof tenant.out);
    assert_false(record_pending(&tenant));
    assert_int_equal(record_write(&tenant, 0, "late", 4, &used, out, sizeof out, &written),
                     RC_CLOSED);
    assert_int_equal(written, 0);
}

void pair_expect_refusal(enum rc rc, uint8_t alert)
{
    uint8_t more[] = "anything";
    size_t used;

    assert_int_equal(record_alert(&tenant), alert);
    assert_wiped(&tenant.in, sizeof tenant.in);
    assert_int_equal(pair_give(more, sizeof more, &used), rc);
    assert_int_equal(used, sizeof more);
    pair_expect_last_alert(TLS_FATAL, alert);
}
