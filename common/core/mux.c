#include "common/core/mux.h"

#include "common/core/check.h"
#include "common/core/wire.h"

enum rc mux_next(const struct ring *r, struct mux_head *head, struct ring_span *payload)
{
    uint8_t raw[MUX_HEAD_SIZE];
    struct ring_span span;
    struct mux_head h;
    uint32_t n;
    enum rc rc;

    rc = ring_readable(r, &span, &n);
    if (rc)
        return rc;
    if (n == 0)
        return RC_AGAIN;
    if (!ring_span_copy(&span, 0, raw, sizeof raw))
        return RC_MALFORMED;

    /* Reads in wire order; see schema/wire/mux.md. */
    struct wire_in in = wire_in(raw, sizeof raw);
    h.len = wire_u32(&in);
    h.type = wire_u8(&in);
    uint8_t flags = wire_u8(&in);
    uint16_t zero = wire_u16(&in);
    h.conn = wire_u64(&in);

    rc = wire_end(&in);
    if (rc)
        return rc;
    if (flags != 0 || zero != 0 || h.len > MUX_PAYLOAD_MAX || h.len > n - MUX_HEAD_SIZE)
        return RC_MALFORMED;

    *head = h;
    *payload = ring_span_cut(&span, MUX_HEAD_SIZE, h.len);
    return RC_OK;
}

void mux_consume(struct ring *r, const struct mux_head *head)
{
    ring_consume(r, MUX_HEAD_SIZE + head->len);
}

static void put_head(const struct ring_span *at, uint8_t type, uint64_t conn, uint32_t len)
{
    uint8_t raw[MUX_HEAD_SIZE];
    struct wire_out out = wire_out(raw, sizeof raw);

    wire_put_u32(&out, len);
    wire_put_u8(&out, type);
    wire_put_u8(&out, 0);
    wire_put_u16(&out, 0);
    wire_put_u64(&out, conn);
    CHECK(!out.bad);
    CHECK(ring_span_fill(at, 0, raw, sizeof raw));
}

enum rc mux_put(struct ring *r, uint8_t type, uint64_t conn, const void *payload, uint32_t len)
{
    struct ring_span span;
    uint32_t room;
    enum rc rc;

    CHECK(len <= MUX_PAYLOAD_MAX);
    rc = ring_writable(r, &span, &room);
    if (rc)
        return rc;
    if (room < MUX_HEAD_SIZE + len)
        return RC_FULL;
    put_head(&span, type, conn, len);
    if (len != 0)
        CHECK(ring_span_fill(&span, MUX_HEAD_SIZE, payload, len));
    ring_publish(r, MUX_HEAD_SIZE + len);
    return RC_OK;
}

enum rc mux_reserve(const struct ring *r, uint32_t want, struct ring_span *payload)
{
    struct ring_span span;
    uint32_t room;
    enum rc rc;

    rc = ring_writable(r, &span, &room);
    if (rc)
        return rc;
    if (room <= MUX_HEAD_SIZE)
        return RC_FULL;
    if (want > MUX_PAYLOAD_MAX)
        want = MUX_PAYLOAD_MAX;
    *payload = ring_span_cut(&span, MUX_HEAD_SIZE, want);
    return RC_OK;
}

void mux_commit(struct ring *r, uint8_t type, uint64_t conn, uint32_t len)
{
    struct ring_span span;
    uint32_t room;

    /* Room only grows between reserve and commit, unless the peer moved its index
     * back: then mux_reserve's check held and nothing of ours is overwritten but
     * what that peer reads. */
    if (ring_writable(r, &span, &room) != RC_OK || room < MUX_HEAD_SIZE + len)
        return;
    put_head(&span, type, conn, len);
    ring_publish(r, MUX_HEAD_SIZE + len);
}

void mux_u32_encode(uint32_t v, uint8_t out[MUX_U32_SIZE])
{
    struct wire_out to = wire_out(out, MUX_U32_SIZE);

    wire_put_u32(&to, v);
    CHECK(!to.bad);
}

enum rc mux_u32_decode(const struct ring_span *payload, uint32_t len, uint32_t *v)
{
    uint8_t raw[MUX_U32_SIZE];

    if (len != sizeof raw || !ring_span_copy(payload, 0, raw, sizeof raw))
        return RC_MALFORMED;

    struct wire_in in = wire_in(raw, sizeof raw);
    *v = wire_u32(&in);
    return wire_end(&in);
}

enum rc mux_hello_encode(const struct mux_hello *m, void *buf, size_t size, size_t *n)
{
    struct wire_out out = wire_out(buf, size);

    wire_put_u16(&out, m->mux_version);
    wire_put_u16(&out, m->handover_version);
    wire_put_u32(&out, 0);
    wire_put_u64(&out, m->generation);
    return wire_done(&out, n);
}

enum rc mux_hello_decode(const void *buf, size_t len, struct mux_hello *m)
{
    struct wire_in in = wire_in(buf, len);
    struct mux_hello v;

    v.mux_version = wire_u16(&in);
    v.handover_version = wire_u16(&in);
    uint32_t zero = wire_u32(&in);
    v.generation = wire_u64(&in);

    if (wire_end(&in) || zero != 0)
        return RC_MALFORMED;
    *m = v;
    return RC_OK;
}

enum rc mux_ready_encode(const struct mux_ready *m, void *buf, size_t size, size_t *n)
{
    struct wire_out out = wire_out(buf, size);

    wire_put_u32(&out, m->boot_us);
    wire_put_str(&out, m->name);
    wire_put_str(&out, m->version);
    return wire_done(&out, n);
}

enum rc mux_ready_decode(const void *buf, size_t len, struct mux_ready *m)
{
    struct wire_in in = wire_in(buf, len);
    struct mux_ready v;

    v.boot_us = wire_u32(&in);
    wire_str(&in, v.name, sizeof v.name);
    wire_str(&in, v.version, sizeof v.version);

    enum rc rc = wire_end(&in);
    if (rc)
        return rc;
    *m = v;
    return RC_OK;
}

enum rc mux_health_encode(const struct mux_health *m, void *buf, size_t size, size_t *n)
{
    struct wire_out out = wire_out(buf, size);

    wire_put_u64(&out, m->token);
    wire_put_u8(&out, m->healthy);
    wire_put_u32(&out, m->connections);
    wire_put_u32(&out, m->in_flight);
    wire_put_u32(&out, m->leases);
    wire_put_u64(&out, m->busy_ms);
    return wire_done(&out, n);
}

enum rc mux_health_decode(const void *buf, size_t len, struct mux_health *m)
{
    struct wire_in in = wire_in(buf, len);
    struct mux_health v;

    v.token = wire_u64(&in);
    v.healthy = wire_u8(&in);
    v.connections = wire_u32(&in);
    v.in_flight = wire_u32(&in);
    v.leases = wire_u32(&in);
    v.busy_ms = wire_u64(&in);

    if (wire_end(&in) || v.healthy > 1)
        return RC_MALFORMED;
    *m = v;
    return RC_OK;
}
