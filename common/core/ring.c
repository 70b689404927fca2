#include "common/core/ring.h"

#include <string.h>

#include "common/core/check.h"

size_t ring_bytes(unsigned left_order, unsigned right_order)
{
    CHECK(left_order >= RING_ORDER_MIN && left_order <= RING_ORDER_MAX);
    CHECK(right_order >= RING_ORDER_MIN && right_order <= RING_ORDER_MAX);
    return RING_PAGE_SIZE + ((size_t)1 << left_order) + ((size_t)1 << right_order);
}

void ring_format(void *mem, unsigned left_order, unsigned right_order)
{
    struct ring_page *page = mem;

    CHECK(ring_bytes(left_order, right_order) != 0);
    page->left_order = (uint16_t)left_order;
    page->right_order = (uint16_t)right_order;
    atomic_store(&page->cli_live, RING_WAITING);
    atomic_store(&page->srv_live, RING_CONNECTED);
    /* Each side first hears of the other's first write. */
    atomic_store(&page->cli_notify, RING_NOTIFY_WRITE);
    atomic_store(&page->srv_notify, RING_NOTIFY_WRITE);
}

static struct ring_indices *rx_indices(const struct ring *r)
{
    return r->side == RING_SERVER ? &r->page->left : &r->page->right;
}

static struct ring_indices *tx_indices(const struct ring *r)
{
    return r->side == RING_SERVER ? &r->page->right : &r->page->left;
}

enum rc ring_attach(struct ring *r, void *mem, size_t len, enum ring_side side)
{
    struct ring_page *page = mem;
    struct ring v = {.page = page, .side = side};
    unsigned left, right;
    uint8_t *left_data, *right_data;

    if (len < RING_PAGE_SIZE)
        return RC_MALFORMED;
    left = *(volatile uint16_t *)&page->left_order;
    right = *(volatile uint16_t *)&page->right_order;
    if (left < RING_ORDER_MIN || left > RING_ORDER_MAX || right < RING_ORDER_MIN ||
        right > RING_ORDER_MAX || ring_bytes(left, right) > len)
        return RC_MALFORMED;

    left_data = (uint8_t *)mem + RING_PAGE_SIZE;
    right_data = left_data + ((size_t)1 << left);
    v.rx = side == RING_SERVER ? left_data : right_data;
    v.tx = side == RING_SERVER ? right_data : left_data;
    v.rx_size = 1u << (side == RING_SERVER ? left : right);
    v.tx_size = 1u << (side == RING_SERVER ? right : left);
    v.rx_cons = atomic_load(&rx_indices(&v)->cons);
    v.tx_prod = atomic_load(&tx_indices(&v)->prod);

    if (side == RING_CLIENT)
        atomic_store(&page->cli_live, RING_CONNECTED);
    *r = v;
    return RC_OK;
}

static struct ring_span span_at(const uint8_t *ring, uint32_t size, uint32_t index, uint32_t n)
{
    uint32_t at = index & (size - 1);
    uint32_t first = n < size - at ? n : size - at;
    uint8_t *base = (uint8_t *)(uintptr_t)ring;

    return (struct ring_span){.p = {base + at, base}, .len = {first, n - first}};
}

enum rc ring_readable(const struct ring *r, struct ring_span *span, uint32_t *n)
{
    uint32_t prod = atomic_load_explicit(&rx_indices(r)->prod, memory_order_acquire);
    uint32_t used = prod - r->rx_cons;

    if (used > r->rx_size)
        return RC_MALFORMED;
    *span = span_at(r->rx, r->rx_size, r->rx_cons, used);
    *n = used;
    return RC_OK;
}

void ring_consume(struct ring *r, uint32_t n)
{
    CHECK(n <= r->rx_size);
    r->rx_cons += n;
    atomic_store_explicit(&rx_indices(r)->cons, r->rx_cons, memory_order_release);
}

enum rc ring_writable(const struct ring *r, struct ring_span *span, uint32_t *n)
{
    uint32_t cons = atomic_load_explicit(&tx_indices(r)->cons, memory_order_acquire);
    uint32_t used = r->tx_prod - cons;

    if (used > r->tx_size)
        return RC_MALFORMED;
    *span = span_at(r->tx, r->tx_size, r->tx_prod, r->tx_size - used);
    *n = r->tx_size - used;
    return RC_OK;
}

void ring_publish(struct ring *r, uint32_t n)
{
    CHECK(n <= r->tx_size);
    r->tx_prod += n;
    atomic_store_explicit(&tx_indices(r)->prod, r->tx_prod, memory_order_release);
}

/* The bits in which we ask the peer, and those in which it asks us: named after
 * the party that rings, as in libxenvchan. */
static _Atomic uint8_t *asked_of_peer(const struct ring *r)
{
    return r->side == RING_SERVER ? &r->page->cli_notify : &r->page->srv_notify;
}

static _Atomic uint8_t *asked_of_us(const struct ring *r)
{
    return r->side == RING_SERVER ? &r->page->srv_notify : &r->page->cli_notify;
}

void ring_want(struct ring *r, uint8_t bits)
{
    atomic_fetch_or(asked_of_peer(r), bits);
    atomic_thread_fence(memory_order_seq_cst); /* before the caller looks again */
}

bool ring_must_notify(struct ring *r, uint8_t bit)
{
    atomic_thread_fence(memory_order_seq_cst); /* after the index was published */
    if (!(atomic_load_explicit(asked_of_us(r), memory_order_relaxed) & bit))
        return false;
    return atomic_fetch_and(asked_of_us(r), (uint8_t)~bit) & bit;
}

enum ring_live ring_peer(const struct ring *r)
{
    uint8_t v = atomic_load(r->side == RING_SERVER ? &r->page->cli_live : &r->page->srv_live);

    return v == RING_CONNECTED || v == RING_WAITING ? (enum ring_live)v : RING_GONE;
}

void ring_leave(struct ring *r)
{
    atomic_store(r->side == RING_SERVER ? &r->page->srv_live : &r->page->cli_live, RING_GONE);
}

void ring_reopen(struct ring *r)
{
    struct ring_page *page = r->page;

    CHECK(r->side == RING_SERVER);
    atomic_store(&page->left.cons, 0);
    atomic_store(&page->left.prod, 0);
    atomic_store(&page->right.cons, 0);
    atomic_store(&page->right.prod, 0);
    r->rx_cons = r->tx_prod = 0;
    atomic_store(&page->cli_notify, RING_NOTIFY_WRITE);
    atomic_store(&page->srv_notify, RING_NOTIFY_WRITE);
    atomic_store(&page->srv_live, RING_CONNECTED);
    atomic_store(&page->cli_live, RING_WAITING); /* last: now a client may come */
}

struct ring_span ring_span_cut(const struct ring_span *span, uint32_t from, uint32_t n)
{
    struct ring_span s = *span;

    for (int i = 0; i < 2; i++) {
        uint32_t skip = from < s.len[i] ? from : s.len[i];

        s.p[i] += skip;
        s.len[i] -= skip;
        from -= skip;
        if (s.len[i] > n)
            s.len[i] = n;
        n -= s.len[i];
    }
    return s;
}

bool ring_span_copy(const struct ring_span *span, uint32_t from, void *out, uint32_t n)
{
    struct ring_span s = ring_span_cut(span, from, n);

    if (s.len[0] + s.len[1] != n)
        return false;
    memcpy(out, s.p[0], s.len[0]);
    memcpy((uint8_t *)out + s.len[0], s.p[1], s.len[1]);
    return true;
}

bool ring_span_fill(const struct ring_span *span, uint32_t from, const void *in, uint32_t n)
{
    struct ring_span s = ring_span_cut(span, from, n);

    if (s.len[0] + s.len[1] != n)
        return false;
    memcpy(s.p[0], in, s.len[0]);
    memcpy(s.p[1], (const uint8_t *)in + s.len[0], s.len[1]);
    return true;
}
