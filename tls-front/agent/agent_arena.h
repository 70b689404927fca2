/* The memory of private keys: one mapping, from which all that libcrypto allocates in
 * the key agent is taken, so that no part of a key is anywhere else.
 *
 * Happy path: agent_arena_open() maps memory that not even root reads in
 * /proc/PID/mem (memfd_secret(2): it is out of the kernel's own map too); then
 * agent_arena_alloc() and its siblings.  What is freed is wiped at once.
 *
 * Failure modes: a kernel without memfd_secret, or too low a limit of locked memory:
 * a smaller mapping, then a locked one that is in no core dump, then any, with a
 * warning; no memory left: NULL.  A pointer that is none of the arena's is a CHECK:
 * it is our own, or libcrypto's, fault.
 *
 * A buddy allocator: blocks are powers of two, from 64 bytes on, and merge again, so
 * that keys of any size can follow keys of any other.  One thread. */
#ifndef TLS_FRONT_AGENT_ARENA_H
#define TLS_FRONT_AGENT_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "common/core/rc.h"

#define AGENT_ARENA_ORDER 24 /* 2^24 bytes: what the agent asks for */

enum agent_arena_kind { AGENT_ARENA_SECRET, AGENT_ARENA_LOCKED, AGENT_ARENA_PLAIN };

/* Once in a process.  At most 2^order bytes, order being AGENT_ARENA_ORDER or less;
 * `secret` false: as on a kernel without memfd_secret. */
RC_MUST_CHECK enum rc agent_arena_open(unsigned order, bool secret);
enum agent_arena_kind agent_arena_kind(void);

/* Aligned to 64 bytes, not zeroed; 0 bytes are one. */
void *agent_arena_alloc(size_t n);
/* The contents are kept; `block` may be NULL. */
void *agent_arena_realloc(void *block, size_t n);
void agent_arena_free(void *block); /* NULL is ignored */

size_t agent_arena_size(void);
size_t agent_arena_used(void); /* bytes of blocks that are taken */

#endif
