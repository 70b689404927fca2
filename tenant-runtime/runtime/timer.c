#include "tenant-runtime/runtime/timer.h"

#include <stddef.h>

static struct timer *root;

static struct timer *meld(struct timer *a, struct timer *b)
{
    struct timer *parent, *child;

    if (!a || !b)
        return a ? a : b;
    parent = b->at_ns < a->at_ns ? b : a;
    child = parent == a ? b : a;
    child->sibling = parent->child;
    if (child->sibling)
        child->sibling->link = &child->sibling;
    parent->child = child;
    child->link = &parent->child;
    return parent;
}

static void set_root(struct timer *t)
{
    root = t;
    if (t) {
        t->sibling = NULL;
        t->link = &root;
    }
}

/* Melds a list of siblings in pairs, then the pairs: what keeps the heap flat. */
static struct timer *meld_all(struct timer *list)
{
    struct timer *pairs = NULL, *all = NULL;

    while (list) {
        struct timer *a = list, *b = a->sibling, *pair;

        list = b ? b->sibling : NULL;
        a->sibling = NULL;
        if (b)
            b->sibling = NULL;
        pair = meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    while (pairs) {
        struct timer *next = pairs->sibling;

        pairs->sibling = NULL;
        all = meld(all, pairs);
        pairs = next;
    }
    return all;
}

void timer_stop(struct timer *t)
{
    struct timer *rest;

    if (!t->link)
        return;
    *t->link = t->sibling;
    if (t->sibling)
        t->sibling->link = t->link;
    rest = meld_all(t->child);
    t->child = t->sibling = NULL;
    t->link = NULL;
    set_root(meld(root, rest));
}

void timer_set(struct timer *t, uint64_t at_ns)
{
    timer_stop(t);
    t->at_ns = at_ns;
    set_root(meld(root, t));
}

uint64_t timer_next(void)
{
    return root ? root->at_ns : TIMER_NEVER;
}

bool timer_run(uint64_t now_ns)
{
    bool any = false;

    while (root && root->at_ns <= now_ns) {
        struct timer *t = root;

        timer_stop(t);
        t->fire(t);
        any = true;
    }
    return any;
}
