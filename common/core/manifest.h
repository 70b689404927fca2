/* The manifest: what an image says of itself, as an ELF note, and where it lies.
 * See schema/wire/image.md.  Freestanding. */
#ifndef COMMON_MANIFEST_H
#define COMMON_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

#define MANIFEST_NOTE_NAME "Roomkey"
#define MANIFEST_NOTE_TYPE 1
#define MANIFEST_VERSION   1
#define MANIFEST_ABI       1 /* of the runtime: launch, ring, mux and handover together */

#define XEN_NOTE_NAME         "Xen"
#define XEN_NOTE_PHYS32_ENTRY 18

struct manifest {
    uint16_t abi;
    uint32_t memory_kib; /* least memory an instance needs */
    char name[64];       /* [a-z0-9][a-z0-9-]* */
    char version[64];    /* [A-Za-z0-9][A-Za-z0-9._+-]* */
    char alpn[64];       /* protocols served, comma-separated, best first */
};

/* Decodes the note's descriptor.  RC_VERSION when it is of another version. */
RC_MUST_CHECK enum rc manifest_decode(const void *desc, size_t len, struct manifest *out);
RC_MUST_CHECK enum rc manifest_encode(const struct manifest *m, void *buf, size_t size,
                                      size_t *len);

/* Whether the text may be an image's name, and a version. */
bool manifest_name_valid(const char *s);
bool manifest_version_valid(const char *s);

#endif
