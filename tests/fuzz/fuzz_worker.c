/* A front worker among those it does not trust: a roomkeyd that says anything (ROUTE with any
 * certificate, READY with any memory, any message at all), a tenant that puts anything into its
 * ring, a key agent that answers anything, clients that send anything.  All of the worker is the
 * real one; connections are socket pairs, and one may be given to the tenant without its
 * handshake, which takes too long to be made a thousand times a second.
 *
 * The worker never fails a CHECK, says only what a worker says, and keeps nothing at the end.
 * While the tenant has only put whole frames: what it sent on a connection comes out at that
 * client and nowhere else, what a client sent reaches it on that connection only, and no more of
 * it than there is credit.
 *
 * Input: steps, each a byte for what (enum what) and for whom, and what that takes.
 *
 * Seen to find: take_data() that does not look at the window (e2ff998c… of the corpus). */
#include <fcntl.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>
#include <psa/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/fiber.h"
#include "common/core/wire.h"
#include "common/host/fd.h"
#include "common/host/log.h"
#include "tests/fuzz/liar.h"
#include "tests/unit/starve.h"
#include "tls-front/handshake.h"
#include "tls-front/link.h"
#include "tls-front/orch.h"
#include "tls-front/relay.h"
#include "tls-front/route.h"
#include "tls-front/share.h"
#include "tls-front/signer.h"
#include "tls-front/wake.h"

/* With add() and the table. */
#include "tls-front/conn.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum what {
    SAY_RAW,     /* roomkeyd: u8 descriptors, u16 bytes */
    SAY_WELCOME, /* u8 channels */
    SAY_ROUTE,   /* u8 how, to the last WAKE; odd: u16 bytes are the certificate */
    SAY_READY,   /* u8 how, u8 left order, u8 right order */
    SAY_REFUSED, /* u8 why */
    SAY_END,     /* u8 which: RELEASE, GONE, INVALIDATE, the socket's end */
    COME,        /* a client */
    HELLO,       /* its ClientHello, of TLS 1.3 or 1.2 */
    SEND,        /* u8 bytes */
    TAKE,        /* what there is for it */
    LEAVE,       /* u8 how */
    HAND_OVER,   /* to the tenant */
    FRAME,       /* u8 type, u16 bytes: a whole one of the connection's */
    DATA,        /* HELLO, then DATA: u16 bytes, all the same */
    FLOOD,       /* u8 frames of DATA, whatever there is of credit */
    STALE,       /* DATA of the connection that the client had before */
    SCRIBBLE,    /* u8 bytes into the ring */
    INDEX,       /* u8 which, u32 */
    CONSUME,     /* what the worker put */
    AGENT,       /* u8 bytes */
    SIGNED,      /* u8 bytes: an answer to the last question */
    TURN,
    SECOND,
    WHAT_NR
};

#define HOST "a.example"
#define KEY  "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char chain[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBljCCATugAwIBAgIUDMJlHUZiToM66JvbuHBNdHnUdpwwCgYIKoZIzj0EAwIw\n"
                            "FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyOTE0MzgyNVoYDzIxMjYxMTA1\n"
                            "MTQzODI1WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO\n"
                            "PQMBBwNCAARhrAIsAwd3VneUiE8uZzXCg3l23NSikxRTAvqxIEZIPUtUvORHKP3K\n"
                            "XwfVBrgx8KXPTC3qfB/eCO9S1qCmVRlKo2kwZzAdBgNVHQ4EFgQUr7jKFI4vTNeT\n"
                            "SWBF4jM+Axnw5IUwHwYDVR0jBBgwFoAUr7jKFI4vTNeTSWBF4jM+Axnw5IUwDwYD\n"
                            "VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglhLmV4YW1wbGUwCgYIKoZIzj0EAwID\n"
                            "SQAwRgIhAKMk4byF2w30uamnIgLgOPj6a/D8aO7LiQFysx+N5YlCAiEAz9CAdB/G\n"
                            "0frI2RaU5wlV//v8GlzyEmWUOmCia9RftjI=\n"
                            "-----END CERTIFICATE-----\n";

static struct worker w;
static struct options options = {.listens = 1,
#define X(name, flag, value, text) .name = (value),
                                 OPTIONS_LIMITS(X)
#undef X
};
static int parent, orch, agent; /* the others' ends */
static uint64_t wake, question; /* the last of each */
static unsigned complaints;
static bool in_step; /* the worker with roomkeyd: it can complain */

/*----- ClientHellos, as Mbed TLS makes them -----*/

static uint8_t hellos[2][1024];
static size_t hello_len[2];

static int note(void *arg, const unsigned char *p, size_t n)
{
    size_t *len = arg;
    uint8_t *hello = hellos[len - hello_len];

    CHECK(n <= sizeof hellos[0] - *len);
    memcpy(hello + *len, p, n);
    *len += n;
    return (int)n;
}

static int nothing(void *arg, unsigned char *p, size_t n)
{
    (void)arg, (void)p, (void)n;
    return MBEDTLS_ERR_SSL_WANT_READ;
}

static void make_hello(unsigned i)
{
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;

    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    CHECK(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                      MBEDTLS_SSL_PRESET_DEFAULT) == 0);
    mbedtls_ssl_conf_rng(&config, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
    if (i)
        mbedtls_ssl_conf_max_tls_version(&config, MBEDTLS_SSL_VERSION_TLS1_2);
    CHECK(mbedtls_ssl_setup(&ssl, &config) == 0 && mbedtls_ssl_set_hostname(&ssl, HOST) == 0);
    mbedtls_ssl_set_bio(&ssl, &hello_len[i], note, nothing, NULL);
    CHECK(mbedtls_ssl_handshake(&ssl) == MBEDTLS_ERR_SSL_WANT_READ && hello_len[i] > 0);
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&config);
}

/*----- what the worker says -----*/

static void hear(void)
{
    uint8_t buf[PACKET_SIZE_MAX];
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;

    while (orch >= 0 && packet_read(orch, buf, sizeof buf, &len, fds, &nfds) == RC_OK) {
        struct control_msg m;

        CHECK(control_decode(buf, len, &m) == RC_OK && nfds == 0);
        CHECK(m.type == CONTROL_HOLDING || m.type == CONTROL_SYNCED || m.type == CONTROL_WAKE ||
              m.type == CONTROL_ACTIVITY || m.type == CONTROL_RELEASED || m.type == CONTROL_BUSY ||
              m.type == CONTROL_COMPLAINT || m.type == CONTROL_STATS);
        if (m.type == CONTROL_WAKE)
            wake = m.wake.request;
        /* Or this roomkeyd has given it something that is no channel, or a frame was of a
         * connection that this channel never had. */
        CHECK(m.type != CONTROL_COMPLAINT || liar.lied ||
              strstr(m.complaint.text, "it makes no sense") ||
              strstr(m.complaint.text, "connections that it does not have"));
        complaints += m.type == CONTROL_COMPLAINT;
        in_step |= m.type == CONTROL_SYNCED;
    }
    while (packet_read(parent, buf, sizeof buf, &len, fds, &nfds) == RC_OK) {
        struct link_msg m;

        CHECK(len == sizeof m);
        memcpy(&m, buf, sizeof m);
        CHECK(m.type == LINK_WANT_ORCH);
        in_step = false;
    }
    while (packet_read(agent, buf, sizeof buf, &len, fds, &nfds) == RC_OK) {
        struct agent_msg m;

        CHECK(agent_msg_decode(buf, len, &m) == RC_OK && nfds == 0 && m.type != AGENT_SIGNED);
        if (m.type == AGENT_SIGN)
            question = m.request;
    }
}

static void turn(void)
{
    starve_in(true);
    for (unsigned n = 0; n < 3; n++)
        uv_run(&w.loop, UV_RUN_NOWAIT);
    starve_in(false);
    hear();
}

/*----- roomkeyd -----*/

static void connect_orch(void)
{
    int ends[2];

    in_step = false;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    fd_close(&orch);
    orch = ends[0];
    orch_connected(&w, ends[1]);
}

static void say(const void *bytes, size_t len, const int *fds, size_t nfds)
{
    if (orch >= 0 && len > 0 && len <= PACKET_SIZE_MAX)
        (void)!packet_write(orch, bytes, len, fds, nfds);
}

static void say_message(const struct control_msg *m, const int *fds)
{
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    if (control_encode(m, buf, sizeof buf, &len) == RC_OK)
        say(buf, len, fds, control_fds(m));
}

static int file_of(const void *bytes, size_t len)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    return fd;
}

static void say_route(struct wire_in *in)
{
    struct control_msg m = {.type = CONTROL_ROUTE};
    uint8_t how = wire_u8(in);
    uint16_t len = how & 1 ? wire_u16(in) : 0;
    const uint8_t *bytes = wire_bytes(in, len);
    int fds[CONTROL_FDS_MAX], fd;

    if (how & 1 && !bytes)
        return;
    fd = how & 1 ? file_of(bytes, len) : file_of(chain, sizeof chain - 1);
    m.route.request = wake;
    m.route.tenant = 1 + (how >> 6);
    m.route.revision = how >> 1 & 3;
    m.route.wake_timeout_ms = 10000;
    m.route.max_connections = how >> 3 & 1;
    m.route.certs = how & 16 ? 0 : how & 32 ? 2 : 1;
    strcpy(m.route.name, "acme");
    strcpy(m.route.alpn, "http/1.1");
    for (size_t i = 0; i < m.route.certs; i++) {
        fds[i] = fd;
        strcpy(m.route.key[i], KEY);
    }
    say_message(&m, fds);
    close(fd);
}

/* Honest, unless `how` says otherwise. */
static void say_ready(struct wire_in *in)
{
    struct control_msg m = {.type = CONTROL_READY};
    uint8_t how = wire_u8(in), left = wire_u8(in), right = wire_u8(in);
    unsigned orders[2] = {RING_ORDER_MIN + left % 3, RING_ORDER_MIN + right % 3};
    struct ring_page *page;
    int fds[3];

    m.ready.request = wake;
    m.ready.tenant = 1 + (how >> 6);
    m.ready.id = (struct control_instance){1, 1};
    /* The one that it holds, if it does. */
    if (how & 1 || (liar.at.memory && ring_peer(&liar.at.ring) == RING_CONNECTED)) {
        say_message(&m, NULL);
        return;
    }
    liar_forget();
    house_tenant_make(&liar.at, orders, fds);
    if (!(how & 2))
        CHECK(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    page = liar.at.memory;
    if (how & 4) {
        page->left_order = left;
        page->right_order = right;
        liar.lied = true;
    }
    m.ready.bytes = (uint32_t)liar.at.len - (how & 8 ? 4096u : 0);
    m.ready.port = how >> 4 & 1;
    m.ready.woken = how >> 5 & 1;
    liar.lied |= how & 24;
    say_message(&m, fds);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void say_end(uint8_t which)
{
    struct control_msg m = {.type = CONTROL_RELEASE};

    m.release.id = (struct control_instance){1, 1};
    m.release.force = which >> 2 & 1;
    switch (which & 3) {
    case 1:
        m = (struct control_msg){.type = CONTROL_GONE, .instance = {1, 1}};
        break;
    case 2:
        m = (struct control_msg){.type = CONTROL_INVALIDATE, .tenant = which >> 2};
        break;
    case 3:
        fd_close(&orch);
        turn();
        connect_orch();
        return;
    }
    say_message(&m, NULL);
}

static void say_raw(struct wire_in *in)
{
    static const struct ring_page page;
    uint8_t nfds = wire_u8(in) % (PACKET_FDS_MAX + 1);
    uint16_t len = wire_u16(in);
    const uint8_t *bytes = wire_bytes(in, len);
    int fds[PACKET_FDS_MAX], all[2] = {-1, -1};

    if (!bytes)
        return;
    if (nfds) {
        all[0] = file_of(&page, sizeof page);
        all[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    for (size_t i = 0; i < nfds; i++)
        fds[i] = all[i % 2];
    liar.lied = true; /* it may be a READY of that memory */
    say(bytes, len, fds, nfds);
    fd_close(&all[0]);
    fd_close(&all[1]);
}

/*----- clients -----*/

/* conn_on_taken(), of a socket that is there. */
static void come(struct client *k, uint8_t seed)
{
    const int little = 4096;
    uint64_t before = k->id;
    struct conn *c;
    int ends[2];

    if (k->fd >= 0)
        return;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof little) == 0);
    c = add(&w);
    CHECK(uv_tcp_open(&c->tcp, ends[1]) == 0);
    *k = (struct client){.fd = ends[0],
                         .id = c->id,
                         .before = before,
                         .seed = seed,
                         .credit = MUX_CREDIT_INITIAL,
                         .window = MUX_CREDIT_INITIAL};
    opening_begin(c);
}

static struct conn *conn_of(const struct client *k)
{
    uint32_t index = (uint32_t)k->id;
    struct conn *c = k->id && index < w.conns->size ? w.conns->at[index] : NULL;

    return c && c->id == k->id ? c : NULL;
}

/* As if its handshake were over and its keys the tenant's. */
static void hand_over(struct client *k)
{
    struct tenant *t = tenant_find(&w, 1);
    struct conn *c = conn_of(k);

    if (!c || c->sm.state != CONN_HELLO || !c->opening || c->opening->len || !t || !t->channel)
        return;
    c->tenant = tenant_ref(t);
    t->connections++;
    if (!c->opening->in)
        CHECK((c->opening->in = malloc(1)));
    conn_stop(c);
    conn_no_deadline(c);
    sm_move(&c->sm, CONN_ROUTE);
    sm_move(&c->sm, CONN_HANDSHAKE);
    sm_move(&c->sm, CONN_WAKING);
    if (share_take(c))
        relay_begin(c, t->channel);
    else
        conn_close(c, CONN_RST);
}

static bool is_relayed(const struct client *k)
{
    const struct conn *c = conn_of(k);

    return c && c->sm.state == CONN_RELAY;
}

static void client_send(struct client *k, const uint8_t *p, size_t n)
{
    uint8_t buf[256];
    ssize_t sent;

    if (k->fd < 0)
        return;
    for (size_t i = 0; i < n; i++)
        buf[i] = is_relayed(k) ? client_byte(k, true, k->sent + (uint32_t)i) : p[i];
    sent = send(k->fd, buf, n, MSG_NOSIGNAL);
    if (sent > 0 && is_relayed(k))
        k->sent += (uint32_t)sent;
}

static void client_take(struct client *k)
{
    uint8_t buf[4096];
    ssize_t n;

    while (k->fd >= 0 && (n = recv(k->fd, buf, sizeof buf, 0)) > 0)
        for (ssize_t i = 0; i < n && k->said && !liar.lied; i++, k->taken++)
            CHECK(k->taken < k->said && buf[i] == client_byte(k, false, k->taken));
}

static void leave(struct client *k, uint8_t how)
{
    if (k->fd < 0)
        return;
    if (how & 1)
        shutdown(k->fd, how & 2 ? SHUT_RD : SHUT_WR);
    else
        fd_close(&k->fd);
}

/*----- the tenant -----*/

/* Whatever there is of credit: when it was too much, the worker must have complained. */
static void flood(struct client *k, uint8_t n)
{
    bool honest = !liar.lied && in_step;

    liar_greet();
    for (; n > 0; n--) {
        liar_overdraw(k);
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    if (honest)
        liar_consume(); /* CREDIT */
    liar.lied = true;
    turn();
    if (honest && k->window < 0 && is_relayed(k))
        CHECK(complaints > 0);
}

static void frame(struct client *k, uint8_t type, const uint8_t *p, uint16_t len)
{
    struct wire_in in = wire_in(p, len);
    bool too_much = type == MUX_CREDIT && len == MUX_U32_SIZE &&
                    wire_u32(&in) > MUX_CREDIT_INITIAL && is_relayed(k) && !liar.lied &&
                    liar.greeted && in_step;

    if (!liar_frame(k->id, type, p, len))
        return;
    turn();
    CHECK(!too_much || complaints > 0);
}

static void consume(bool credit)
{
    liar_consume();
    if (!credit)
        return;
    liar_greet();
    for (unsigned i = 0; i < CLIENTS; i++)
        if (is_relayed(&clients[i]) && !liar.lied)
            liar_return_credit(&clients[i]);
}

static void in_tenant(enum what what, struct client *k, struct wire_in *in)
{
    const uint8_t *p;
    uint8_t type;
    uint16_t n;

    if (!liar.at.memory)
        return;
    switch (what) {
    case FRAME:
        type = wire_u8(in);
        n = wire_u16(in);
        p = wire_bytes(in, n);
        if (p)
            frame(k, type, p, n);
        return;
    case DATA:
        n = wire_u16(in);
        liar_greet();
        if (is_relayed(k))
            liar_say(k, 1 + n % 8192); /* an empty one is a lie */
        return;
    case FLOOD:
        flood(k, wire_u8(in) % 100);
        return;
    case STALE:
        liar_greet();
        liar_say_stale(k);
        return;
    case SCRIBBLE:
        n = wire_u8(in);
        p = wire_bytes(in, n);
        if (p)
            liar_scribble(p, n);
        return;
    case INDEX:
        type = wire_u8(in);
        liar_scribble_page(type, wire_u32(in));
        return;
    default:
        consume(wire_u8(in) & 1);
    }
}

/*----- the key agent -----*/

static void agent_says(enum what what, const uint8_t *p, uint8_t len)
{
    struct agent_msg m = {.type = AGENT_SIGNED, .request = question};
    uint8_t buf[AGENT_MSG_MAX];
    size_t n = len;

    if (!p || len == 0)
        return;
    memcpy(buf, p, len);
    if (what == SIGNED) {
        m.done.rc = p[0] & 1 ? RC_OK : RC_FAILED;
        m.done.len = m.done.rc ? 0 : len;
        memcpy(m.done.signature, p, m.done.len);
        if (agent_msg_encode(&m, buf, sizeof buf, &n))
            return;
    }
    (void)!packet_write(agent, buf, n, NULL, 0);
}

/*----- steps -----*/

static void step(struct wire_in *in)
{
    uint8_t byte = wire_u8(in), n;
    enum what what = byte % 32 % WHAT_NR;
    struct client *k = &clients[byte >> 5 & 3];
    struct control_msg m = {.type = CONTROL_WELCOME};
    const uint8_t *p;

    switch (what) {
    case SAY_RAW:
        say_raw(in);
        break;
    case SAY_WELCOME:
        m.welcome =
            (struct control_welcome){CONTROL_VERSION, MUX_VERSION, HANDOVER_VERSION, wire_u8(in)};
        say_message(&m, NULL);
        break;
    case SAY_ROUTE:
        say_route(in);
        break;
    case SAY_READY:
        say_ready(in);
        break;
    case SAY_REFUSED:
        m.type = CONTROL_REFUSED;
        m.refused.request = byte & 128 ? 0 : wake;
        m.refused.why = wire_u8(in);
        say_message(&m, NULL);
        break;
    case SAY_END:
        say_end(wire_u8(in));
        break;
    case COME:
        come(k, byte);
        break;
    case HELLO:
        if (k->fd >= 0 && !is_relayed(k))
            (void)!send(k->fd, hellos[byte >> 7], hello_len[byte >> 7], MSG_NOSIGNAL);
        break;
    case SEND:
        n = wire_u8(in);
        p = wire_bytes(in, n);
        if (p)
            client_send(k, p, n);
        break;
    case TAKE:
        client_take(k);
        break;
    case LEAVE:
        leave(k, wire_u8(in));
        break;
    case HAND_OVER:
        hand_over(k);
        break;
    case AGENT:
    case SIGNED:
        n = wire_u8(in);
        agent_says(what, wire_bytes(in, n), n);
        break;
    case TURN:
        break;
    case SECOND:
        orch_second(&w);
        break;
    default:
        in_tenant(what, k, in);
    }
    turn();
}

/*----- the worker -----*/

static void begin(void)
{
    int ends[2];

    parent = house_worker(&w, &options);
    liar = (struct liar){0};
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i] = (struct client){.fd = -1};
    wake = question = 0;
    complaints = 0;
    orch = -1;
    CHECK(!routes_init(&w) && !wakes_init(&w) && !channels_init(&w) && !conns_init(&w) &&
          !shares_init(&w) && !signer_init(&w) && !orch_init(&w));
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    agent = ends[0];
    signer_connected(&w, ends[1]);
    connect_orch();
}

/* What worker.c does when it is drained. */
static void end(void)
{
    conns_close(&w);
    turn();
    channels_close(&w);
    orch_close(&w);
    signer_close(&w);
    packet_close(&w.parent);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    CHECK(conns_count(&w) == 0 && fiber_count() == 0);
    CHECK(COUNT(&w, connections) == 0 && COUNT(&w, handshakes) == 0);
    routes_dispose(&w);
    wakes_dispose(&w);
    channels_dispose(&w);
    conns_dispose(&w);
    shares_dispose(&w);
    orch_dispose(&w);
    signer_dispose(&w);
    CHECK(uv_loop_close(&w.loop) == 0);
    liar_forget();
    for (unsigned i = 0; i < CLIENTS; i++)
        fd_close(&clients[i].fd);
    fd_close(&orch);
    fd_close(&parent);
    fd_close(&agent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct wire_in in = wire_in(data, size);

    if (!ready) {
        log_open("fuzz", (enum log_level)0); /* nothing: a liar is worth a line, a thousand not */
        signal(SIGPIPE, SIG_IGN);
        CHECK(tls_init() == RC_OK);
        make_hello(0);
        make_hello(1);
        ready = true;
    }
    begin();
    for (unsigned n = 0; n < 200 && in.left && !in.bad; n++)
        step(&in);
    end();
    return 0;
}
