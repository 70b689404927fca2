#include "common/core/control.h"

#include "common/core/wire.h"

static void put_instance(struct wire_out *out, const struct control_instance *id)
{
    wire_put_u64(out, id->instance);
    wire_put_u64(out, id->generation);
}

static void get_instance(struct wire_in *in, struct control_instance *id)
{
    id->instance = wire_u64(in);
    id->generation = wire_u64(in);
}

enum rc control_encode(const struct control_msg *m, void *buf, size_t size, size_t *len)
{
    struct wire_out out = wire_out(buf, size < CONTROL_SIZE_MAX ? size : CONTROL_SIZE_MAX);

    wire_put_u8(&out, (uint8_t)m->type);
    switch (m->type) {
    case CONTROL_HELLO:
        wire_put_u16(&out, m->hello.control_version);
        wire_put_u16(&out, m->hello.mux_version);
        wire_put_u16(&out, m->hello.handover_version);
        wire_put_u16(&out, m->hello.worker);
        wire_put_u32(&out, m->hello.pid);
        break;
    case CONTROL_WELCOME:
        wire_put_u16(&out, m->welcome.control_version);
        wire_put_u16(&out, m->welcome.mux_version);
        wire_put_u16(&out, m->welcome.handover_version);
        wire_put_u16(&out, m->welcome.channels);
        break;
    case CONTROL_HOLDING:
        put_instance(&out, &m->holding.id);
        wire_put_u64(&out, m->holding.tenant);
        wire_put_u16(&out, m->holding.channel);
        wire_put_u32(&out, m->holding.connections);
        break;
    case CONTROL_SYNCED:
        break;
    case CONTROL_WAKE:
        wire_put_u64(&out, m->wake.request);
        wire_put_u64(&out, m->wake.route_revision);
        wire_put_str(&out, m->wake.hostname);
        break;
    case CONTROL_ROUTE:
        wire_put_u64(&out, m->route.request);
        wire_put_u64(&out, m->route.tenant);
        wire_put_u64(&out, m->route.revision);
        wire_put_u32(&out, m->route.wake_timeout_ms);
        wire_put_u32(&out, m->route.max_connections);
        wire_put_u8(&out, m->route.certs);
        wire_put_str(&out, m->route.name);
        wire_put_str(&out, m->route.alpn);
        for (size_t i = 0; i < m->route.certs && i < CONTROL_CERTS_MAX; i++)
            wire_put_str(&out, m->route.key[i]);
        break;
    case CONTROL_READY:
        wire_put_u64(&out, m->ready.request);
        wire_put_u64(&out, m->ready.tenant);
        put_instance(&out, &m->ready.id);
        wire_put_u16(&out, m->ready.channel);
        wire_put_u32(&out, m->ready.bytes);
        wire_put_u32(&out, m->ready.port);
        wire_put_u8(&out, m->ready.woken);
        wire_put_u32(&out, m->ready.asked_us);
        wire_put_u32(&out, m->ready.ready_us);
        break;
    case CONTROL_REFUSED:
        wire_put_u64(&out, m->refused.request);
        wire_put_u16(&out, m->refused.why);
        wire_put_str(&out, m->refused.text);
        break;
    case CONTROL_ACTIVITY:
        put_instance(&out, &m->activity.id);
        wire_put_u32(&out, m->activity.connections);
        wire_put_u64(&out, m->activity.bytes);
        break;
    case CONTROL_RELEASE:
        put_instance(&out, &m->release.id);
        wire_put_u8(&out, m->release.force);
        break;
    case CONTROL_RELEASED:
    case CONTROL_BUSY:
    case CONTROL_GONE:
        put_instance(&out, &m->instance);
        break;
    case CONTROL_INVALIDATE:
        wire_put_u64(&out, m->tenant);
        break;
    case CONTROL_COMPLAINT:
        put_instance(&out, &m->complaint.id);
        wire_put_u16(&out, m->complaint.why);
        wire_put_str(&out, m->complaint.text);
        break;
    case CONTROL_STATS:
        for (size_t i = 0; i < CONTROL_COUNTER_NR; i++)
            wire_put_u64(&out, m->counters[i]);
        break;
    case CONTROL_KEY:
    case CONTROL_FORGET:
        wire_put_u64(&out, m->key.request);
        wire_put_str(&out, m->key.key);
        break;
    case CONTROL_KEY_FILE:
        wire_put_u64(&out, m->request);
        break;
    default:
        return RC_INVAL;
    }
    return wire_done(&out, len);
}

enum rc control_decode(const void *buf, size_t len, struct control_msg *out)
{
    struct wire_in in = wire_in(buf, len);
    struct control_msg m = {0};
    enum rc rc;

    m.type = wire_u8(&in);
    switch (m.type) {
    case CONTROL_HELLO:
        m.hello.control_version = wire_u16(&in);
        m.hello.mux_version = wire_u16(&in);
        m.hello.handover_version = wire_u16(&in);
        m.hello.worker = wire_u16(&in);
        m.hello.pid = wire_u32(&in);
        break;
    case CONTROL_WELCOME:
        m.welcome.control_version = wire_u16(&in);
        m.welcome.mux_version = wire_u16(&in);
        m.welcome.handover_version = wire_u16(&in);
        m.welcome.channels = wire_u16(&in);
        break;
    case CONTROL_HOLDING:
        get_instance(&in, &m.holding.id);
        m.holding.tenant = wire_u64(&in);
        m.holding.channel = wire_u16(&in);
        m.holding.connections = wire_u32(&in);
        break;
    case CONTROL_SYNCED:
        break;
    case CONTROL_WAKE:
        m.wake.request = wire_u64(&in);
        m.wake.route_revision = wire_u64(&in);
        wire_str(&in, m.wake.hostname, sizeof m.wake.hostname);
        break;
    case CONTROL_ROUTE:
        m.route.request = wire_u64(&in);
        m.route.tenant = wire_u64(&in);
        m.route.revision = wire_u64(&in);
        m.route.wake_timeout_ms = wire_u32(&in);
        m.route.max_connections = wire_u32(&in);
        m.route.certs = wire_u8(&in);
        wire_str(&in, m.route.name, sizeof m.route.name);
        wire_str(&in, m.route.alpn, sizeof m.route.alpn);
        if (m.route.certs > CONTROL_CERTS_MAX)
            return RC_MALFORMED;
        for (size_t i = 0; i < m.route.certs; i++)
            wire_str(&in, m.route.key[i], sizeof m.route.key[i]);
        break;
    case CONTROL_READY:
        m.ready.request = wire_u64(&in);
        m.ready.tenant = wire_u64(&in);
        get_instance(&in, &m.ready.id);
        m.ready.channel = wire_u16(&in);
        m.ready.bytes = wire_u32(&in);
        m.ready.port = wire_u32(&in);
        m.ready.woken = wire_u8(&in);
        m.ready.asked_us = wire_u32(&in);
        m.ready.ready_us = wire_u32(&in);
        break;
    case CONTROL_REFUSED:
        m.refused.request = wire_u64(&in);
        m.refused.why = wire_u16(&in);
        wire_str(&in, m.refused.text, sizeof m.refused.text);
        break;
    case CONTROL_ACTIVITY:
        get_instance(&in, &m.activity.id);
        m.activity.connections = wire_u32(&in);
        m.activity.bytes = wire_u64(&in);
        break;
    case CONTROL_RELEASE:
        get_instance(&in, &m.release.id);
        m.release.force = wire_u8(&in);
        break;
    case CONTROL_RELEASED:
    case CONTROL_BUSY:
    case CONTROL_GONE:
        get_instance(&in, &m.instance);
        break;
    case CONTROL_INVALIDATE:
        m.tenant = wire_u64(&in);
        break;
    case CONTROL_COMPLAINT:
        get_instance(&in, &m.complaint.id);
        m.complaint.why = wire_u16(&in);
        wire_str(&in, m.complaint.text, sizeof m.complaint.text);
        break;
    case CONTROL_STATS:
        for (size_t i = 0; i < CONTROL_COUNTER_NR; i++)
            m.counters[i] = wire_u64(&in);
        break;
    case CONTROL_KEY:
    case CONTROL_FORGET:
        m.key.request = wire_u64(&in);
        wire_str(&in, m.key.key, sizeof m.key.key);
        break;
    case CONTROL_KEY_FILE:
        m.request = wire_u64(&in);
        break;
    default:
        return RC_MALFORMED;
    }

    rc = wire_end(&in);
    if (rc)
        return rc;
    *out = m;
    return RC_OK;
}

size_t control_fds(const struct control_msg *m)
{
    switch (m->type) {
    case CONTROL_ROUTE:
        return m->route.certs;
    case CONTROL_READY:
        return m->ready.bytes ? 3 : 0;
    case CONTROL_KEY_FILE:
        return 1;
    default:
        return 0;
    }
}
