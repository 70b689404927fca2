/* CHECK: our own invariant, compiled into every build.
 *
 * Never for what came from a peer: guest data, network data, files and
 * configuration are refused with a result code instead. */
#ifndef COMMON_CHECK_H
#define COMMON_CHECK_H

/* Prints where and what, then ends the program.  Each program's platform layer
 * defines it: common/host/check.c for host programs, the ground for images. */
__attribute__((noreturn)) void check_failed(const char *file, int line, const char *what);

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

#endif
