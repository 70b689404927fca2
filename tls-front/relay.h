/* The second half of a connection's life: ciphertext between its socket and the
 * tenant's ring, unopened.
 *
 * Happy path: relay_begin() puts OPEN with the handover and what the client sent
 * behind its Finished; then the socket is read straight into free ring space, and
 * the ring written straight to the socket; what that does not take is kept, as
 * far as the tenant has credit.  FIN is CLOSE and RST is RESET, both ways.
 *
 * Failure modes: a full ring (the connection waits its turn), a client that is
 * gone (RESET), a tenant that breaks the rules (channel_complain()). */
#ifndef TLS_FRONT_RELAY_H
#define TLS_FRONT_RELAY_H

#include "tls-front/channel.h"
#include "tls-front/conn.h"

void relay_begin(struct conn *c, struct channel *ch);

/* Everything that is owed to the tenant, as far as there is room. */
void relay_resume(struct conn *c);

/* `n` bytes of what the tenant sent have reached the client's socket. */
void relay_taken(struct conn *c, uint32_t n);

/* All that was to be written is. */
void relay_flushed(struct conn *c);

/* Once a second: it is closed when its client has gone unseen.  c may be freed. */
void relay_second(struct conn *c);

/* The socket is closing: the tenant is told, now or when there is room. */
void relay_end(struct conn *c);

/* The tenant is through with the connection, or gone.  c may be freed. */
void relay_lost(struct conn *c);

/* One batch of frames; true when there may be more. */
bool relay_frames(struct channel *ch);

#endif
