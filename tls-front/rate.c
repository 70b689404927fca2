#include "tls-front/rate.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/core/check.h"
#include "common/host/clock.h"

#define SETS    2048u
#define WAYS    4u
#define BURST_S 2u
#define TOKEN   1000000u /* so many parts, one for each µs at one a second */

struct bucket {
    uint64_t source; /* hash; 0: never used */
    uint64_t at_us;  /* when it was last filled */
    uint64_t parts;
};

struct rates {
    uint64_t key[2];
    uint32_t per_second;
    struct bucket bucket[SETS][WAYS];
};

struct rates *rates_new(uint32_t per_second)
{
    struct rates *r = calloc(1, sizeof *r);

    if (r) {
        r->per_second = per_second;
        CHECK(getrandom(r->key, sizeof r->key, 0) == sizeof r->key);
    }
    return r;
}

void rates_free(struct rates *r)
{
    free(r);
}

uint64_t rate_source(const struct rates *r, const struct sockaddr_storage *from)
{
    uint64_t v = 0;

    if (from->ss_family == AF_INET6)
        memcpy(&v, &((const struct sockaddr_in6 *)from)->sin6_addr, sizeof v);
    else
        v = ((const struct sockaddr_in *)from)->sin_addr.s_addr;
    v ^= r->key[0] ^ from->ss_family;
    /* Mixing of MurmurHash3's finalizer, keyed before and between. */
    v = (v ^ v >> 33) * 0xff51afd7ed558ccdu;
    v = (v ^ v >> 33 ^ r->key[1]) * 0xc4ceb9fe1a85ec53u;
    v ^= v >> 33;
    return v ? v : 1;
}

bool rate_allow(struct rates *r, const struct sockaddr_storage *from)
{
    uint64_t source = rate_source(r, from), most = (uint64_t)r->per_second * BURST_S * TOKEN;
    uint64_t now_us = clock_us();
    struct bucket *set = r->bucket[source % SETS], *b = &set[0];

    if (r->per_second == 0)
        return true;
    for (size_t i = 0; i < WAYS && b->source != source; i++)
        if (set[i].source == source || set[i].at_us < b->at_us)
            b = &set[i];
    if (b->source != source)
        *b = (struct bucket){.source = source, .at_us = now_us, .parts = most};

    if (now_us - b->at_us >= (uint64_t)BURST_S * TOKEN)
        b->parts = most;
    else
        b->parts += (now_us - b->at_us) * r->per_second;
    if (b->parts > most)
        b->parts = most;
    b->at_us = now_us;
    if (b->parts < TOKEN)
        return false;
    b->parts -= TOKEN;
    return true;
}
