/* Whether a file may be an image: a static x86-64 ELF that boots on every ground.
 *
 * A pure function on bytes that anybody may have made.  Happy path: IMAGE_OK and the
 * manifest.  Failure modes: the first fault found, in the order of the list; each has one
 * reason and one advice.  Reads nothing outside of the buffer. */
#ifndef ORCHESTRATOR_IMAGE_CHECK_H
#define ORCHESTRATOR_IMAGE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/manifest.h"

#define IMAGE_LOAD_LOW       0x1000ull    /* the null page stays unmapped */
#define IMAGE_LOAD_HIGH      (1ull << 30) /* a guest's memory ends here at most */
#define IMAGE_MEMORY_KIB_MIN 1024u
#define IMAGE_MEMORY_KIB_MAX (1u << 20)

#define IMAGE_USE_CC "make it with roomkey-cc"

#define IMAGE_FAULTS(X)                                                                      \
    X(EMPTY, "it is empty, not an ELF file", IMAGE_USE_CC)                                   \
    X(NOT_ELF, "it is not an ELF file", IMAGE_USE_CC)                                        \
    X(NOT_64, "it is a 32-bit ELF file", IMAGE_USE_CC)                                       \
    X(FOREIGN, "it is made for another machine than x86-64", IMAGE_USE_CC " on x86-64")      \
    X(PIE, "it is position-independent (ET_DYN)",                                            \
      "link it with -static -no-pie, or " IMAGE_USE_CC)                                      \
    X(NOT_EXEC, "it is not an executable", "link it: " IMAGE_USE_CC)                         \
    X(TRUNCATED, "it is truncated: its headers point past its end", "copy the file again")   \
    X(HEADERS, "its ELF headers make no sense", IMAGE_USE_CC)                                \
    X(DYNAMIC, "it is dynamically linked", "link it with -static -no-pie, or " IMAGE_USE_CC) \
    X(WX, "a segment, or the stack, is writable and executable",                             \
      "link it without -z execstack and -N")                                                 \
    X(PLACE, "a segment lies outside of 4 KiB to 1 GiB, or not at its physical address",     \
      "use the default link address")                                                        \
    X(SEGMENTS, "its segments overlap, or are not in order and on pages of their own",       \
      IMAGE_USE_CC)                                                                          \
    X(ENTRY, "an entry point of it is not in executable memory", IMAGE_USE_CC)               \
    X(NOTES, "its notes make no sense", IMAGE_USE_CC)                                        \
    X(TWICE, "it has the same note twice", IMAGE_USE_CC)                                     \
    X(NO_PVH, "it has no note with a PVH entry (Xen, type 18)", IMAGE_USE_CC)                \
    X(NO_MANIFEST, "it has no note with a Roomkey manifest", IMAGE_USE_CC)                   \
    X(MANIFEST, "its Roomkey manifest makes no sense", IMAGE_USE_CC)                         \
    X(ABI, "it is made for another runtime ABI than this Roomkey's",                         \
      "make it again with this Roomkey's roomkey-cc")                                        \
    X(MEMORY, "its manifest asks for less than 1 MiB or more than 1 GiB of memory",          \
      "ask for something in between when you make it")                                       \
    X(ROOM, "its segments fill the memory, in whole MiB, that its manifest asks for",        \
      "ask for more when you make it")

enum image_fault {
    IMAGE_OK = 0,
#define X(id, why, todo) IMAGE_##id,
    IMAGE_FAULTS(X)
#undef X
        IMAGE_FAULT_NR
};

/* *out is written only on IMAGE_OK. */
enum image_fault image_check(const void *file, size_t len, struct manifest *out);

/* Of a file of `size` bytes, `start` being the first IMAGE_START: where the headers of its segments
 * are, at most IMAGE_HEADERS_MAX bytes.  False: it is none. */
#define IMAGE_START       64u
#define IMAGE_HEADERS_MAX 3584u
bool image_headers(const void *start, size_t size, uint64_t *at, size_t *len);
/* … and with these: bytes of memory that a machine needs to hold it, from 0 on; 0: it is none. */
uint64_t image_room(const void *start, const void *headers, size_t size);
/* Whether a machine of so many bytes has them. */
bool image_fits(uint64_t room, uint64_t memory);

/* Fixed texts. */
const char *image_fault_why(enum image_fault fault);
const char *image_fault_todo(enum image_fault fault);

#endif
