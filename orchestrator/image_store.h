/* The image store: images by content, as STATE/images/sha256/<hex>, mode 0555.
 *
 * Adding is streamed.  Happy path: begin, write…, finish -> the callback with hash and
 * manifest; the file is then on the disk, checked, complete and under its name.  The same
 * content twice is fine.  Failure modes (one refusal each): not an image, another name or
 * version than its manifest says, over the size limit, disk full; nothing is left behind.
 * A crash at any point leaves at most a temporary file, which the next open removes, or a
 * whole image that no row knows, which image_store_sweep() removes.
 *
 * Lives on the loop thread; hashing goes with the writes, checking and fsync with finish, on
 * libuv's pool. */
#ifndef ORCHESTRATOR_IMAGE_STORE_H
#define ORCHESTRATOR_IMAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/core/manifest.h"
#include "common/core/rc.h"
#include "orchestrator/refusal.h"

#define IMAGE_SIZE_MAX (256ull << 20)

struct image_store;
struct image_add;

struct image_facts {
    char sha256[65];
    uint64_t size;
    struct manifest manifest;
};

/* RC_OK with facts, or a refusal; both borrowed during the call.  The file is there at that
 * moment, so put its row into the registry in this very call. */
typedef void image_add_cb(void *arg, enum rc rc, const struct image_facts *facts,
                          const struct refusal *no);

RC_MUST_CHECK enum rc image_store_open(uv_loop_t *loop, const char *state_dir,
                                       struct image_store **out, struct refusal *no);
/* Looks end at once, with RC_CANCELED: the loop is to run dry. */
void image_store_stop(struct image_store *s);
/* After the loop has run dry: no add is open any more.  NULL is fine. */
void image_store_close(struct image_store *s);

/* `name` and `version` are what the admin said. */
RC_MUST_CHECK enum rc image_add_begin(struct image_store *s, const char *name, const char *version,
                                      struct image_add **out, struct refusal *no);
/* After a refusal: abort. */
RC_MUST_CHECK enum rc image_add_write(struct image_add *add, const void *data, size_t len,
                                      struct refusal *no);
/* Consumes `add`; `cb` is called exactly once, later. */
void image_add_finish(struct image_add *add, image_add_cb *cb, void *arg);
void image_add_abort(struct image_add *add); /* NULL is fine; consumes */

/* A read-only descriptor of what was added, owned by the caller.  RC_NOT_FOUND; RC_MALFORMED when
 * it has another size or content: it was damaged.  Adding it again mends both.  RC_AGAIN: its
 * content is being looked at (image_look.h); ask again when the watch is told. */
RC_MUST_CHECK enum rc image_store_fd(struct image_store *s, const char *sha256, uint64_t size,
                                     int *fd);
/* After RC_OK of that: bytes of memory that a machine needs to hold it; 0: not known. */
uint64_t image_store_room(struct image_store *s, const char *sha256);
/* `looked` is called when a look has ended, some image's; NULL: nobody is told. */
void image_store_watch(struct image_store *s, void (*looked)(void *arg), void *arg);
/* Whether the file is there and has that size: what a start of roomkeyd can afford. */
RC_MUST_CHECK enum rc image_store_there(struct image_store *s, const char *sha256, uint64_t size);
/* Gone already is RC_OK. */
RC_MUST_CHECK enum rc image_store_remove(struct image_store *s, const char *sha256);
/* Removes images that `used` does not know; at start, before the first add. */
RC_MUST_CHECK enum rc image_store_sweep(struct image_store *s,
                                        bool (*used)(void *arg, const char *sha256), void *arg);

#endif
