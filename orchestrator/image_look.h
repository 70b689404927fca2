/* Whether the files of images still hold what their names say, and what room they need in memory.
 *
 * A start cannot afford a hash (some ms a MiB), but a look at the inode.  Happy path: a file is
 * hashed once, on libuv's pool, RC_AGAIN meanwhile; from then on the answer is known until the
 * inode says that the file was changed or is another one.  Failure modes: RC_MALFORMED, known
 * likewise; a file that cannot be read, which is told once and looked at anew when it is asked for
 * again. A disk that gives other bytes without a change of the inode is seen by the next roomkeyd,
 * or by `roomkey doctor`.
 *
 * Lives on the loop thread. */
#ifndef ORCHESTRATOR_IMAGE_LOOK_H
#define ORCHESTRATOR_IMAGE_LOOK_H

#include <stdatomic.h>
#include <uv.h>
#include <uv/tree.h>

#include "common/core/rc.h"

RB_HEAD(image_look_tree, image_look);

struct image_looks {
    uv_loop_t *loop; /* borrowed */
    struct image_look_tree known;
    atomic_bool stop;
    void (*on_looked)(void *arg); /* NULL: nobody is told */
    void *arg;
};

void image_looks_init(struct image_looks *l, uv_loop_t *loop);
/* Looks that are under way end soon, with RC_CANCELED, and so does each that is asked for. */
void image_looks_stop(struct image_looks *l);
/* After the loop has run dry. */
void image_looks_dispose(struct image_looks *l);

/* `fd` (borrowed) is the file of that name.  RC_OK; RC_MALFORMED; RC_AGAIN: on_looked follows;
 * RC_IO, RC_NOMEM. */
RC_MUST_CHECK enum rc image_looks_ask(struct image_looks *l, const char *sha256, int fd);
/* After RC_OK of that: image_room(). */
uint64_t image_looks_room(struct image_looks *l, const char *sha256);
void image_looks_forget(struct image_looks *l, const char *sha256);

/* Hashes the whole file; blocks, from any thread.  RC_MALFORMED: it is not of that name;
 * RC_CANCELED: *stop (NULL: nobody stops it) was set meanwhile. */
RC_MUST_CHECK enum rc image_look_hash(int fd, const char *sha256, const atomic_bool *stop);

#endif
