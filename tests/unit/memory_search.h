/* Whether bytes are in another process's memory, as far as /proc/PID/mem gives it: for
 * root, all but what is secret by memfd_secret(2). */
#ifndef TESTS_MEMORY_SEARCH_H
#define TESTS_MEMORY_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* In what it may write; says where. */
bool memory_has(pid_t pid, const void *what, size_t len);

/* Any number of the private key in `file`: as its bytes, or as libraries keep numbers,
 * the least first; or the text of the file. */
bool memory_has_key(pid_t pid, const char *file);

#endif
