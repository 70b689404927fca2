#include "tests/fuzz/liar.h"

#include <string.h>

#include "common/core/check.h"
#include "common/core/mux.h"

struct client clients[CLIENTS];
struct liar liar;

uint8_t client_byte(const struct client *k, bool to_tenant, uint32_t at)
{
    return (uint8_t)(k->seed + (to_tenant ? 1u : 101u) + at * 7);
}

void liar_forget(void)
{
    house_tenant_free(&liar.at);
    liar.greeted = false;
}

/*----- the truth -----*/

static void took(const struct mux_head *head, const struct ring_span *payload)
{
    static uint8_t buf[MUX_PAYLOAD_MAX];
    struct client *k = NULL;
    uint32_t n;

    CHECK(ring_span_copy(payload, 0, buf, head->len));
    for (unsigned i = 0; i < CLIENTS; i++)
        if (clients[i].id == head->conn)
            k = &clients[i];
    if (head->type == MUX_CREDIT && k) {
        CHECK(mux_u32_decode(payload, head->len, &n) == RC_OK);
        k->window += n;
        CHECK(k->window <= MUX_CREDIT_INITIAL);
    }
    if (head->type != MUX_DATA || !k)
        return;
    CHECK(head->len <= k->credit);
    k->credit -= head->len;
    for (uint32_t i = 0; i < head->len; i++, k->arrived++)
        CHECK(k->arrived < k->sent && buf[i] == client_byte(k, true, k->arrived));
}

void liar_consume(void)
{
    struct ring_span payload;
    struct mux_head head;
    enum rc rc;

    while ((rc = mux_next(&liar.at.ring, &head, &payload)) == RC_OK) {
        if (!liar.lied)
            took(&head, &payload);
        mux_consume(&liar.at.ring, &head);
    }
    CHECK(rc == RC_AGAIN || liar.lied);
    house_tenant_ring(&liar.at);
}

void liar_greet(void)
{
    if (!liar.greeted && house_tenant_hello(&liar.at) == RC_OK)
        house_tenant_ring(&liar.at);
    liar.greeted = true;
}

void liar_return_credit(struct client *k)
{
    uint32_t n = MUX_CREDIT_INITIAL - k->credit;
    uint8_t buf[MUX_U32_SIZE];

    mux_u32_encode(n, buf);
    if (n && mux_put(&liar.at.ring, MUX_CREDIT, k->id, buf, sizeof buf) == RC_OK)
        k->credit += n;
    house_tenant_ring(&liar.at);
}

void liar_say(struct client *k, uint32_t len)
{
    static uint8_t buf[MUX_PAYLOAD_MAX];

    CHECK(len <= sizeof buf);
    if (len > k->window)
        return;
    for (uint32_t i = 0; i < len; i++)
        buf[i] = client_byte(k, false, k->said + i);
    if (mux_put(&liar.at.ring, MUX_DATA, k->id, buf, len) == RC_OK) {
        k->said += len;
        k->window -= len;
    }
    house_tenant_ring(&liar.at);
}

void liar_say_stale(const struct client *k)
{
    if (k->before && mux_put(&liar.at.ring, MUX_DATA, k->before, "stale", 5) == RC_OK)
        house_tenant_ring(&liar.at);
}

/*----- lies -----*/

void liar_overdraw(struct client *k)
{
    static const uint8_t bytes[4000];

    if (mux_put(&liar.at.ring, MUX_DATA, k->id, bytes, sizeof bytes) == RC_OK)
        k->window -= (int64_t)sizeof bytes;
    house_tenant_ring(&liar.at);
}

bool liar_frame(uint64_t conn, uint8_t type, const uint8_t *p, uint16_t len)
{
    liar.lied = true;
    if (len > MUX_PAYLOAD_MAX ||
        mux_put(&liar.at.ring, type, type == MUX_HELLO ? 0 : conn, p, len) != RC_OK)
        return false;
    house_tenant_ring(&liar.at);
    return true;
}

void liar_scribble(const uint8_t *p, uint32_t n)
{
    struct ring *r = &liar.at.ring;

    liar.lied = true;
    for (uint32_t i = 0; i < n; i++)
        r->tx[(r->tx_prod + i) % r->tx_size] = p[i];
    r->tx_prod += n;
    atomic_store(&r->page->right.prod, r->tx_prod);
    house_tenant_ring(&liar.at);
}

void liar_scribble_page(uint8_t which, uint32_t v)
{
    struct ring_page *page = liar.at.memory;

    liar.lied = true;
    switch (which % 7) {
    case 0:
        atomic_store(&page->right.prod, v);
        break;
    case 1:
        atomic_store(&page->left.cons, v);
        break;
    case 2:
        atomic_store(&page->left.prod, v);
        atomic_store(&page->right.cons, v);
        break;
    case 3:
        atomic_store(&page->srv_live, (uint8_t)v);
        break;
    case 4:
        atomic_store(&page->cli_live, (uint8_t)v);
        break;
    case 5:
        atomic_store(&page->srv_notify, (uint8_t)v);
        atomic_store(&page->cli_notify, (uint8_t)v);
        break;
    default:
        page->left_order = page->right_order = (uint16_t)v;
    }
    house_tenant_ring(&liar.at);
}
