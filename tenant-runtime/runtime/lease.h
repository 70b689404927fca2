/* Busy leases: an app's word that it is at work although no connection shows it.
 * Each has a deadline, so that a forgotten one does not keep an instance for ever. */
#ifndef RUNTIME_LEASE_H
#define RUNTIME_LEASE_H

#include <stdint.h>

/* An id that is never 0 and not used again soon; 0: LIMIT_LEASES are held. */
uint32_t lease_take(uint64_t ms);
/* A no-op for an id that is over. */
void lease_end(uint32_t id);

unsigned lease_count(void);
/* Until the last deadline; 0: none is held. */
uint64_t lease_left_ms(void);

#endif
