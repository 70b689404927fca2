/* The tenant of fuzz_worker.c, honest until it lies, and the books of its connections: which bytes
 * either side has said and how much credit is left.  It takes no frame that the books do not
 * allow, and aborts at one, until it has lied itself. */
#ifndef TESTS_LIAR_H
#define TESTS_LIAR_H

#include "tests/unit/worker_house.h"

#define CLIENTS 4

/* Zeroed but for the socket and the id of the connection, until it says or hears anything. */
extern struct client {
    int fd; /* -1: none */

    uint64_t id, before; /* of its connection, and of that which it had before */
    uint8_t seed;
    uint32_t sent, arrived; /* bytes to the tenant: of the client's, and there */
    uint32_t said, taken;   /* … and the other way */
    uint32_t credit;        /* bytes of DATA to the tenant … */
    int64_t window;         /* … and from it */
} clients[CLIENTS];

/* Byte `at` of what this client and the tenant say to each other. */
uint8_t client_byte(const struct client *k, bool to_tenant, uint32_t at);

extern struct liar {
    struct house_tenant at;
    bool greeted;
    bool lied; /* once is for good: the worker may take some time to see it */
} liar;

/* Its memory; what it has lied stays. */
void liar_forget(void);

/*----- the truth -----*/

/* Takes all frames, by the books. */
void liar_consume(void);
/* The rest needs a tenant with memory.  HELLO, once. */
void liar_greet(void);
/* All the credit that this client's bytes have used up. */
void liar_return_credit(struct client *k);
/* DATA, unless it is past the window. */
void liar_say(struct client *k, uint32_t len);
/* DATA of a connection that is no more. */
void liar_say_stale(const struct client *k);

/*----- lies -----*/

/* DATA, whatever there is of credit. */
void liar_overdraw(struct client *k);
/* Any frame; false: it does not fit. */
bool liar_frame(uint64_t conn, uint8_t type, const uint8_t *p, uint16_t len);
/* Any bytes, as if they were frames. */
void liar_scribble(const uint8_t *p, uint32_t n);
/* Any value in one of the ring page's fields. */
void liar_scribble_page(uint8_t which, uint32_t v);

#endif
