/* A tenant that lies: what it writes into the memory that it shares with the house is wrong, and it
 * dies when it is least convenient.
 *
 *   GET /version               its version: so far it is honest
 *   GET /lie/CHANNEL/WHAT      one lie, told by the doorbell; then it says nothing more
 *   GET /half                  half of an answer, then it dies
 *
 * CHANNEL: `worker`, the first front worker's; `control`, the orchestrator's.
 * WHAT: those of lies[].  What it does at its start and its end its tenant's name says: lives[].
 * It goes round its own runtime, straight to the descriptors of common/core/launch.h. */
#include <poll.h>
#include <roomkey/app.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/core/launch.h"
#include "common/core/mux.h"
#include "common/core/ring.h"
#include "common/core/wire.h"

#define DIED 3

struct victim {
    struct ring_page *page;
    uint8_t *left;  /* the ring that we read */
    uint8_t *right; /* the ring that we write */
    uint32_t left_size, right_size;
    int bell;
};

static void ring(const struct victim *v)
{
    uint64_t one = 1;

    if (write(v->bell, &one, sizeof one) < 0)
        return; /* rung already */
}

static bool find(const char *name, struct victim *v)
{
    bool control = strcmp(name, "control") == 0;
    int fd = control ? LAUNCH_FD_CONTROL_MEMORY : LAUNCH_FD_CHANNEL_MEMORY(0);
    void *p;

    if (!control && strcmp(name, "worker") != 0)
        return false;
    p = mmap(NULL, RING_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    v->page = p;
    v->left_size = 1u << v->page->left_order;
    v->right_size = 1u << v->page->right_order;
    p = mmap(NULL, RING_PAGE_SIZE + (size_t)v->left_size + v->right_size, PROT_READ | PROT_WRITE,
             MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    v->page = p;
    v->left = (uint8_t *)p + RING_PAGE_SIZE;
    v->right = v->left + v->left_size;
    v->bell = control ? LAUNCH_FD_CONTROL_DOORBELL : LAUNCH_FD_CHANNEL_DOORBELL(0);
    return true;
}

/*----- its words -----*/

static uint32_t room(const struct victim *v)
{
    return v->right_size - (atomic_load(&v->page->right.prod) - atomic_load(&v->page->right.cons));
}

static void put(const struct victim *v, const uint8_t *bytes, uint32_t n)
{
    uint32_t prod = atomic_load(&v->page->right.prod);

    for (uint32_t i = 0; i < n; i++)
        v->right[(prod + i) & (v->right_size - 1)] = bytes[i];
    atomic_fetch_add(&v->page->right.prod, n);
}

/* Rings until there is room for it; for ever, if nobody makes some. */
static void put_frame(const struct victim *v, uint8_t type, uint64_t conn, const void *payload,
                      uint32_t len)
{
    static uint8_t bytes[MUX_HEAD_SIZE + MUX_PAYLOAD_MAX];
    struct wire_out out = wire_out(bytes, sizeof bytes);

    wire_put_u32(&out, len);
    wire_put_u8(&out, type);
    wire_put_u8(&out, 0);
    wire_put_u16(&out, 0);
    wire_put_u64(&out, conn);
    if (len > 0)
        memcpy(bytes + MUX_HEAD_SIZE, payload, len);
    while (room(v) < MUX_HEAD_SIZE + len)
        ring(v);
    put(v, bytes, MUX_HEAD_SIZE + len);
}

static void put_ready(const struct victim *v)
{
    struct mux_ready ready = {0};
    uint8_t buf[256];
    size_t n;

    snprintf(ready.name, sizeof ready.name, "%s", rk_name());
    snprintf(ready.version, sizeof ready.version, "%s", rk_version());
    if (mux_ready_encode(&ready, buf, sizeof buf, &n))
        _exit(1);
    put_frame(v, MUX_READY, 0, buf, (uint32_t)n);
}

static void put_health(const struct victim *v, uint8_t type, uint64_t token)
{
    struct mux_health health = {.token = token, .healthy = 1};
    uint8_t buf[64];
    size_t n;

    if (mux_health_encode(&health, buf, sizeof buf, &n))
        _exit(1);
    put_frame(v, type, 0, buf, (uint32_t)n);
}

/* The connection that came last: its OPEN's head is still in the ring that we read. */
static uint64_t last_conn(const struct victim *v)
{
    uint64_t last = 0;

    for (uint32_t at = 0; at + MUX_HEAD_SIZE <= v->left_size; at++) {
        struct wire_in in = wire_in(v->left + at, MUX_HEAD_SIZE);
        uint32_t len = wire_u32(&in);
        uint8_t type = wire_u8(&in), flags = wire_u8(&in);
        uint16_t zero = wire_u16(&in);
        uint64_t conn = wire_u64(&in);

        if (type == MUX_OPEN && len <= 2048 && len > 64 && flags == 0 && zero == 0 &&
            (uint32_t)conn < 0x10000 && conn >> 32 < 0x1000000 && conn >> 32 > last >> 32)
            last = conn;
    }
    return last;
}

/*----- lies: of indices and bytes -----*/

/* More was written than the ring holds. */
static void wild_prod(const struct victim *v)
{
    atomic_fetch_add(&v->page->right.prod, 2 * v->right_size);
}

/* More was read than the peer wrote. */
static void wild_cons(const struct victim *v)
{
    atomic_fetch_add(&v->page->left.cons, 0x40000000);
}

/* Both, and not, in turn, as fast as it can be done. */
static void flip(const struct victim *v)
{
    uint32_t prod = atomic_load(&v->page->right.prod), cons = atomic_load(&v->page->left.cons);

    for (uint32_t n = 0;; n++) {
        atomic_store(&v->page->right.prod, n & 1 ? prod : n * 2654435761u);
        atomic_store(&v->page->left.cons, n & 2 ? cons : n * 2246822519u);
        if (n % 16 == 0)
            ring(v);
    }
}

static void garbage(const struct victim *v)
{
    uint8_t bytes[512];

    memset(bytes, 0xa5, sizeof bytes);
    put(v, bytes, sizeof bytes);
}

/* A frame that is whole, of a type that is due here, and wrong: a second HELLO, a READY of four
 * bytes. */
static void nonsense(const struct victim *v)
{
    put_frame(v, v->bell == LAUNCH_FD_CONTROL_DOORBELL ? MUX_READY : MUX_HELLO, 0, "\0\0\0", 4);
}

static void leave(const struct victim *v)
{
    atomic_store(&v->page->srv_live, RING_GONE);
}

static void storm(const struct victim *v)
{
    for (;;)
        ring(v);
}

static void silence(const struct victim *v)
{
    for (volatile bool on = true; on;)
        (void)v;
}

/*----- … to a worker -----*/

/* Ends everybody's connections but its own, which is the last; so far as these may be frames that
 * crossed. */
static void foreign(const struct victim *v)
{
    uint64_t serial = last_conn(v) >> 32;

    for (uint64_t s = serial > 16 ? serial - 16 : 1; s < serial; s++)
        for (uint64_t index = 0; index < 64; index++)
            put_frame(v, MUX_RESET, s << 32 | index, NULL, 0);
    for (;;) /* and that is no crossing any more */
        put_frame(v, MUX_DATA, UINT64_MAX, "x", 1);
}

static void flood(const struct victim *v)
{
    for (;;)
        put_frame(v, MUX_RESET, UINT64_MAX, NULL, 0);
}

static void empty(const struct victim *v)
{
    uint64_t conn = last_conn(v);

    for (;;)
        put_frame(v, MUX_DATA, conn, NULL, 0);
}

static void credit(const struct victim *v)
{
    put_frame(v, MUX_CREDIT, last_conn(v), "\xff\xff\xff\xff", 4);
}

/* Its client reads nothing. */
static void overrun(const struct victim *v)
{
    static uint8_t data[MUX_PAYLOAD_MAX];
    uint64_t conn = last_conn(v);

    for (;;)
        put_frame(v, MUX_DATA, conn, data, sizeof data);
}

static void twice(const struct victim *v)
{
    uint64_t conn = last_conn(v);

    put_frame(v, MUX_CLOSE, conn, NULL, 0);
    put_frame(v, MUX_CLOSE, conn, NULL, 0);
}

static void after(const struct victim *v)
{
    uint64_t conn = last_conn(v);

    put_frame(v, MUX_CLOSE, conn, NULL, 0);
    put_frame(v, MUX_DATA, conn, "more", 4);
}

/*----- … to the orchestrator -----*/

static void slot(const struct victim *v)
{
    put_frame(v, MUX_SLOT, 0, "\xff\xff\0", 4);
}

static void flood_log(const struct victim *v)
{
    static uint8_t line[1 + MUX_TEXT_MAX];

    memset(line, 'x', sizeof line);
    line[0] = MUX_LOG_ERROR;
    for (;;)
        put_frame(v, MUX_LOG, 0, line, sizeof line);
}

static void flood_health(const struct victim *v)
{
    for (uint64_t token = 1;; token++)
        put_health(v, MUX_HEALTH, token << 32);
}

static void flood_busy(const struct victim *v)
{
    for (;;)
        put_health(v, MUX_BUSY, 0);
}

static void flood_slot(const struct victim *v)
{
    for (;;)
        put_frame(v, MUX_SLOT, 0, "\0\0\0", 4);
}

static void flood_unknown(const struct victim *v)
{
    for (;;)
        put_frame(v, 200, UINT64_MAX, NULL, 0);
}

static const struct {
    const char *name;
    void (*tell)(const struct victim *v);
} lies[] = {
    {"prod", wild_prod},        {"cons", wild_cons},    {"flip", flip},
    {"garbage", garbage},       {"nonsense", nonsense}, {"leave", leave},
    {"storm", storm},           {"silence", silence},   {"foreign", foreign},
    {"flood", flood},           {"empty", empty},       {"credit", credit},
    {"overrun", overrun},       {"twice", twice},       {"after", after},
    {"ready", put_ready},       {"slot", slot},         {"lines", flood_log},
    {"health", flood_health},   {"busy", flood_busy},   {"slots", flood_slot},
    {"unknown", flood_unknown},
};

static void lie(struct rk_request *req, const char *path)
{
    char channel[16], what[16];
    struct victim v;

    if (sscanf(path, "/lie/%15[a-z]/%15[a-z]", channel, what) != 2 || !find(channel, &v)) {
        rk_reply(req, 400, "text/plain", "", 0);
        return;
    }
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        if (strcmp(lies[i].name, what) != 0)
            continue;
        lies[i].tell(&v);
        ring(&v);
        for (;;) /* or the runtime would put it right */
            ppoll(NULL, 0, &(struct timespec){1, 0}, NULL);
    }
    rk_reply(req, 400, "text/plain", "", 0);
}

static void half(struct rk_request *req)
{
    char text[1000] = "";

    if (rk_begin(req, 200, "text/plain", 2 * sizeof text) || rk_write(req, text, sizeof text))
        return;
    rk_sleep(req, 1); /* what was written is out */
    _exit(DIED);
}

static void serve(struct rk_request *req)
{
    if (strncmp(rk_path(req), "/lie/", 5) == 0)
        lie(req, rk_path(req));
    else if (strcmp(rk_path(req), "/half") == 0)
        half(req);
    else
        rk_replyf(req, 200, "text/plain", "%s\n", rk_version());
}

/*----- lives -----*/

static void die(void)
{
    _exit(DIED);
}

static void hang(void)
{
    silence(NULL);
}

/* Says READY before it is. */
static void say_ready(void)
{
    struct victim v;

    if (!find("control", &v))
        _exit(1);
    put_ready(&v);
    ring(&v);
}

static void say_ready_and_die(void)
{
    say_ready();
    die();
}

static void say_ready_twice(void)
{
    say_ready();
    say_ready();
    hang();
}

/* Answers the question that is the last frame we read. */
static void answer(void)
{
    uint8_t token[8] = {0};
    struct wire_in in = wire_in(token, sizeof token);
    struct victim v;
    uint32_t cons;

    if (!find("control", &v))
        _exit(1);
    cons = atomic_load(&v.page->left.cons);
    for (uint32_t i = 0; i < sizeof token; i++)
        token[i] = v.left[(cons - sizeof token + i) & (v.left_size - 1)];
    put_health(&v, MUX_HEALTH, wire_u64(&in));
    ring(&v);
}

static void answer_and_hang(void)
{
    answer();
    hang();
}

/* The next that a worker says to one that is idle is DRAIN. */
static void answer_and_die_when_drained(void)
{
    struct victim v;
    uint32_t heard;

    if (!find("worker", &v))
        _exit(1);
    heard = atomic_load(&v.page->left.prod);
    answer();
    while (atomic_load(&v.page->left.prod) == heard)
        ;
    die();
}

enum when { AT_START, AT_HEALTH, AT_STOP };

static const struct {
    const char *tenant;
    enum when when;
    void (*act)(void);
} lives[] = {
    {"dies-at-start", AT_START, die},
    {"dies-when-ready", AT_START, say_ready_and_die},
    {"is-ready-twice", AT_START, say_ready_twice},
    {"dies-when-asked", AT_HEALTH, die},
    {"dies-when-drained", AT_HEALTH, answer_and_die_when_drained},
    {"hangs-when-drained", AT_HEALTH, answer_and_hang},
    {"dies-when-stopped", AT_STOP, die},
    {"hangs-when-stopped", AT_STOP, hang},
};

static void live(enum when when)
{
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++)
        if (lives[i].when == when && strcmp(lives[i].tenant, rk_tenant()) == 0)
            lives[i].act();
}

static int start(void)
{
    live(AT_START);
    return 0;
}

static bool health(void)
{
    live(AT_HEALTH);
    return true;
}

static void stop(void)
{
    live(AT_STOP);
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_start = start, .on_request = serve,
            .on_health = health, .on_stop = stop);
