/* A tenant that lies: what it writes into the memory that it shares with the house is wrong.
 *
 *   GET /version               its version: so far it is honest
 *   GET /lie/CHANNEL/WHAT      one lie, told by the doorbell; then it says nothing more
 *
 * CHANNEL: `worker`, the first front worker's; `control`, the orchestrator's.
 * WHAT: those of lies[]; `storm` rings for ever, `silence` does nothing for ever.
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
#include "common/core/ring.h"

struct victim {
    struct ring_page *page;
    uint8_t *right; /* the ring that we write */
    uint32_t right_size;
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
    size_t left, right;
    void *p;

    if (!control && strcmp(name, "worker") != 0)
        return false;
    p = mmap(NULL, RING_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    v->page = p;
    left = (size_t)1 << v->page->left_order;
    right = (size_t)1 << v->page->right_order;
    p = mmap(NULL, RING_PAGE_SIZE + left + right, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    v->page = p;
    v->right = (uint8_t *)p + RING_PAGE_SIZE + left;
    v->right_size = (uint32_t)right;
    v->bell = control ? LAUNCH_FD_CONTROL_DOORBELL : LAUNCH_FD_CHANNEL_DOORBELL(0);
    return true;
}

/*----- lies -----*/

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

static void put(const struct victim *v, const uint8_t *bytes, uint32_t n)
{
    uint32_t prod = atomic_load(&v->page->right.prod);

    for (uint32_t i = 0; i < n; i++)
        v->right[(prod + i) & (v->right_size - 1)] = bytes[i];
    atomic_fetch_add(&v->page->right.prod, n);
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
    uint8_t bytes[16 + 4] = {4, 0, 0, 0, v->bell == LAUNCH_FD_CONTROL_DOORBELL ? 16 : 1, 0};

    put(v, bytes, sizeof bytes);
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

static const struct {
    const char *name;
    void (*tell)(const struct victim *v);
} lies[] = {
    {"prod", wild_prod},    {"cons", wild_cons}, {"garbage", garbage},
    {"nonsense", nonsense}, {"storm", storm},    {"silence", silence},
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

static void serve(struct rk_request *req)
{
    if (strncmp(rk_path(req), "/lie/", 5) == 0)
        lie(req, rk_path(req));
    else
        rk_replyf(req, 200, "text/plain", "%s\n", rk_version());
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_request = serve);
