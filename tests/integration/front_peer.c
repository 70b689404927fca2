#include "front_peer.h"

#include <string.h>

#include "common/core/wire.h"

void peer_answer_wake(struct rig *r, struct rig_tenant *t)
{
    struct control_msg m;

    rig_expect(r, CONTROL_WAKE, &m);
    assert_string_equal(m.wake.hostname, RIG_NAME);
    rig_route(r, m.wake.request, 10000, m.wake.route_revision != 3);
    if (t)
        rig_ready(r, m.wake.request, t);
}

void peer_take(struct rig_tenant *t, struct peer *p)
{
    memset(p, 0, sizeof *p);
    p->id = rig_take_open(t, &p->info);
    assert_int_equal(record_init(&p->record, &p->info), RC_OK);
}

static void give_credit(struct rig_tenant *t, uint64_t id, uint32_t n)
{
    uint8_t buf[4];
    struct wire_out out = wire_out(buf, sizeof buf);

    wire_put_u32(&out, n);
    rig_put(t, MUX_CREDIT, id, buf, sizeof buf);
}

void peer_read(struct rig_tenant *t, struct peer *p, void *out, size_t n)
{
    static struct rig_frame f;
    size_t at = 0;

    while (at < n) {
        uint8_t *data;
        size_t used, len;
        enum rc rc = record_read(&p->record, p->raw, p->len, &used, &data, &len);

        if (rc == RC_OK) {
            assert_true(len <= n - at);
            memcpy((char *)out + at, data, len);
            at += len;
        }
        p->len -= used;
        memmove(p->raw, p->raw + used, p->len);
        if (rc == RC_OK)
            continue;
        assert_int_equal(rc, RC_AGAIN);
        rig_take(t, MUX_DATA, &f);
        assert_int_equal(f.head.conn, p->id);
        assert_true(f.head.len <= sizeof p->raw - p->len);
        memcpy(p->raw + p->len, f.payload, f.head.len);
        p->len += f.head.len;
        give_credit(t, p->id, f.head.len);
    }
}

static void put_records(struct rig_tenant *t, struct peer *p, const void *in, size_t n,
                        enum rc until)
{
    uint8_t out[RECORD_WIRE_MAX];
    size_t used, written;
    enum rc rc;

    do {
        rc = record_write(&p->record, 0, in, n, &used, out, sizeof out, &written);
        assert_true(rc == until || rc == RC_FULL);
        in = (const char *)in + used;
        n -= used;
        if (written)
            rig_put(t, MUX_DATA, p->id, out, written);
    } while (rc != until);
}

void peer_write(struct rig_tenant *t, struct peer *p, const void *in, size_t n)
{
    put_records(t, p, in, n, RC_OK);
}

void peer_close(struct rig_tenant *t, struct peer *p)
{
    record_close(&p->record);
    put_records(t, p, "", 0, RC_CLOSED);
    rig_put(t, MUX_CLOSE, p->id, NULL, 0);
}

void peer_dispose(struct peer *p)
{
    record_dispose(&p->record);
    handover_wipe(&p->info);
}

void peer_exchange(struct rig_tenant *t, struct peer *p, struct rig_client *c)
{
    char got[5] = "";

    rig_write(c, "ping", 4);
    peer_read(t, p, got, 4);
    assert_string_equal(got, "ping");
    peer_write(t, p, "pong", 4);
    rig_read(c, got, 4);
    assert_string_equal(got, "pong");
}

/* Somebody comes after it, is read after it, and is answered after that. */
void peer_worker_has_read(struct rig *r)
{
    struct rig_tls how = {.name = "nobody.example"};
    struct rig_client c;
    struct control_msg m;

    rig_hello(r, &c, &how);
    rig_expect(r, CONTROL_WAKE, &m);
    assert_string_equal(m.wake.hostname, how.name);
    rig_refuse(r, m.wake.request, RC_NOT_FOUND);
    assert_false(rig_shake(&c));
    rig_hang_up(&c, false);
}
