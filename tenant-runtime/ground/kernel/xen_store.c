/* xenstore, as a client that reads and writes a node of its own domain, and no more.
 *
 * The happy path: a request goes into the ring of its page, an answer comes out in the
 * order of the requests; a write waits for no answer, so that publishing many nodes costs
 * one round to domain 0, not one each.
 * Failure modes: no answer in time, or one that makes no sense (nothing is asked for ever
 * again: XEN_STORE_FAILED), an error of xenstored's (likewise FAILED, or ABSENT).
 * Bytes that were taken from the ring are overwritten there: one of them is the seed. */
#include "tenant-runtime/ground/kernel/xen.h"

#define RING          1024u
#define REPLY_MAX     4096u
#define REPLY_WAIT_NS 30000000000ull

/* xen/include/public/io/xs_wire.h */
enum { STORE_READ = 2, STORE_WRITE = 11, STORE_ERROR = 16 };
struct head {
    uint32_t type, request, transaction, len;
};
struct interface {
    uint8_t out[RING], in[RING];
    _Atomic uint32_t out_cons, out_prod;
    _Atomic uint32_t in_cons, in_prod;
};
_Static_assert(sizeof(struct head) == 16, "xen/io/xs_wire.h");
_Static_assert(offsetof(struct interface, in_prod) == 2060, "xen/io/xs_wire.h");

static struct interface *store;
static struct xen_ports port;
static uint32_t asked, answered; /* requests: number of the last one */
static bool broken, refused;

void xen_store_init(void *page, uint32_t p)
{
    store = page;
    xen_event_add(&port, p);
}

/*----- bytes -----*/

static bool has_bytes(void)
{
    return store->in_prod != store->in_cons;
}

/* Takes `len` bytes; those beyond `size` are thrown away. */
static bool take(void *to, size_t size, size_t len, uint64_t until)
{
    uint8_t *p = to;

    for (size_t i = 0; i < len; i++) {
        uint32_t cons = store->in_cons;
        uint8_t *from = &store->in[cons % RING];

        if (!has_bytes()) {
            xen_event_send(port.list[0]); /* xenstored may be waiting for the room we made */
            if (!xen_event_await(&port, has_bytes, until))
                return false;
        }
        if (i < size)
            p[i] = *from;
        *from = 0;
        store->in_cons = cons + 1;
    }
    return true;
}

static size_t room(void)
{
    uint32_t used = store->out_prod - store->out_cons;

    return used < RING ? RING - used : 0;
}

static void put(const void *from, size_t len)
{
    uint32_t prod = store->out_prod;
    size_t at = prod % RING, first = len < RING - at ? len : RING - at;

    memory_copy(&store->out[at], from, first);
    memory_copy(store->out, (const uint8_t *)from + first, len - first);
    store->out_prod = prod + (uint32_t)len;
}

/*----- messages -----*/

/* Takes the next answer's head and what fits of its text. */
static bool take_reply(struct head *head, char *text, size_t size, uint64_t until)
{
    if (!take(head, sizeof *head, sizeof *head, until) || head->len > REPLY_MAX ||
        head->request != answered + 1 || !take(text, size, head->len, until)) {
        broken = true;
        return false;
    }
    answered++;
    xen_event_send(port.list[0]);
    return true;
}

/* Takes the answer to a write. */
static bool take_done(uint64_t until)
{
    struct head head;
    char text[8];

    if (!take_reply(&head, text, sizeof text, until))
        return false;
    refused |= head.type != STORE_WRITE;
    return true;
}

static bool ask(uint32_t type, const char *path, const char *value, uint64_t until)
{
    size_t path_len = text_length(path) + 1, value_len = value ? text_length(value) : 0;
    struct head head = {.type = type, .request = asked + 1};

    head.len = (uint32_t)(path_len + value_len);
    /* What was answered has left the ring. */
    while (!broken && room() < sizeof head + head.len)
        if (asked == answered || !take_done(until))
            broken = true;
    if (broken)
        return false;
    put(&head, sizeof head);
    put(path, path_len);
    if (value)
        put(value, value_len);
    asked++;
    xen_event_send(port.list[0]);
    return true;
}

bool xen_store_settle(uint64_t until)
{
    while (!broken && answered != asked)
        take_done(until);
    return !broken && !refused;
}

void xen_store_write(const char *path, const char *value)
{
    ask(STORE_WRITE, path, value, xen_now() + REPLY_WAIT_NS);
}

int64_t xen_store_read(const char *path, char *out, size_t size)
{
    uint64_t until = xen_now() + REPLY_WAIT_NS;
    struct head head;

    if (!xen_store_settle(until) || !ask(STORE_READ, path, NULL, until) ||
        !take_reply(&head, out, size - 1, until))
        return XEN_STORE_FAILED;
    out[head.len < size ? head.len : size - 1] = '\0';
    if (head.type == STORE_ERROR && text_is(out, "ENOENT"))
        return XEN_STORE_ABSENT;
    return head.type == STORE_READ && head.len < size ? (int64_t)head.len : XEN_STORE_FAILED;
}
