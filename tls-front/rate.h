/* How many connections a source may open: a token bucket for each IPv4 address or
 * IPv6 /64, in a table of fixed size.
 *
 * A bucket holds two seconds' worth.  Sources share buckets when their hashes
 * meet (the key is random, so nobody can aim), and the least lately used of a
 * few is given to a newcomer: a flood from everywhere makes the limit soft, never
 * the memory large. */
#ifndef TLS_FRONT_RATE_H
#define TLS_FRONT_RATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct rates;

/* `per_second` 0: no limit.  NULL: no memory. */
struct rates *rates_new(uint32_t per_second);
void rates_free(struct rates *r);

/* Who that is, to be compared with others of `r`: its IPv4 address or IPv6 /64.  Not 0. */
uint64_t rate_source(const struct rates *r, const struct sockaddr_storage *from);

/* Takes one token. */
bool rate_allow(struct rates *r, const struct sockaddr_storage *from);

#endif
