#include "orchestrator/image_look.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/sha256.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/clock.h"
#include "common/host/fd.h"
#include "orchestrator/files.h"
#include "orchestrator/image_check.h"

#define PIECE (64u << 10) /* bytes read at a time, on a thread's stack */
/* The kernel's clock for inodes stands still for some ms: within them a second change does not
 * show. */
#define SETTLED_MS 100

struct image_look {
    RB_ENTRY(image_look) by_name;
    char sha256[65];
    struct stat st; /* as the file was when its hash was begun */
    enum rc rc;     /* RC_AGAIN: not known */
    bool settled;   /* a change since then shows */

    /* While it is hashed. */
    struct image_looks *looks;
    uv_work_t work;
    int fd; /* owned; -1: it is not */
    enum rc found;
    uint64_t room;
};

static int order(const struct image_look *a, const struct image_look *b)
{
    return strcmp(a->sha256, b->sha256);
}

RB_GENERATE_STATIC(image_look_tree, image_look, by_name, order)

void image_looks_init(struct image_looks *l, uv_loop_t *loop)
{
    *l = (struct image_looks){.loop = loop};
    RB_INIT(&l->known);
}

void image_looks_stop(struct image_looks *l)
{
    atomic_store(&l->stop, true);
}

void image_looks_dispose(struct image_looks *l)
{
    struct image_look *look;

    while ((look = RB_ROOT(&l->known))) {
        CHECK(look->fd < 0);
        RB_REMOVE(image_look_tree, &l->known, look);
        free(look);
    }
}

static struct image_look *find(struct image_looks *l, const char *sha256)
{
    struct image_look key;

    strcpy(key.sha256, sha256);
    return RB_FIND(image_look_tree, &l->known, &key);
}

static struct image_look *make(struct image_looks *l, const char *sha256)
{
    struct image_look *look = calloc(1, sizeof *look);

    if (!look)
        return NULL;
    strcpy(look->sha256, sha256);
    look->looks = l;
    look->fd = -1;
    look->rc = RC_AGAIN;
    CHECK(!RB_INSERT(image_look_tree, &l->known, look));
    return look;
}

/* Whatever changes content or size changes the last of them; the others tell one file from another.
 */
static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

enum rc image_look_hash(int fd, const char *sha256, const atomic_bool *stop)
{
    unsigned char piece[PIECE], hash[32];
    mbedtls_sha256_context sha;
    char hex[65];
    off_t at = 0;
    ssize_t n;
    int bad;

    mbedtls_sha256_init(&sha);
    bad = mbedtls_sha256_starts(&sha, 0);
    while (!bad && (n = pread(fd, piece, sizeof piece, at)) != 0) {
        if (n < 0 || (stop && atomic_load(stop))) {
            mbedtls_sha256_free(&sha);
            return n < 0 ? files_rc(errno) : RC_CANCELED;
        }
        bad = mbedtls_sha256_update(&sha, piece, (size_t)n);
        at += n;
    }
    if (!bad)
        bad = mbedtls_sha256_finish(&sha, hash);
    mbedtls_sha256_free(&sha);
    if (bad)
        return RC_CRYPTO;
    files_hex(hash, hex);
    return strcmp(hex, sha256) == 0 ? RC_OK : RC_MALFORMED;
}

/* Not mapped: who cuts it short then would end us with a SIGBUS. */
static enum rc measure(struct image_look *look)
{
    unsigned char start[IMAGE_START], headers[IMAGE_HEADERS_MAX];
    size_t size = (size_t)look->st.st_size, len;
    uint64_t at;

    if (pread(look->fd, start, sizeof start, 0) != (ssize_t)sizeof start ||
        !image_headers(start, size, &at, &len) ||
        pread(look->fd, headers, len, (off_t)at) != (ssize_t)len)
        return RC_MALFORMED; /* it was an image a moment ago */
    look->room = image_room(start, headers, size);
    return RC_OK;
}

static void look_work(uv_work_t *work)
{
    struct image_look *look = work->data;

    look->found = image_look_hash(look->fd, look->sha256, &look->looks->stop);
    if (look->found == RC_OK)
        look->found = measure(look);
}

static void on_looked(uv_work_t *work, int status)
{
    struct image_look *look = work->data;
    struct image_looks *l = look->looks;

    CHECK(status == 0); /* nobody cancels it */
    fd_close(&look->fd);
    look->rc = look->found;
    if (l->on_looked)
        l->on_looked(l->arg); /* must be last */
}

static enum rc begin(struct image_look *look, int fd, const struct stat *st)
{
    look->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (look->fd < 0)
        return files_rc(errno);
    look->st = *st;
    /* Either way: a host without a battery for its clock begins in 1970, long before the file. */
    look->settled = llabs(clock_unix_ms() - st->st_ctim.tv_sec * 1000 -
                          st->st_ctim.tv_nsec / 1000000) > SETTLED_MS;
    look->work.data = look;
    CHECK(uv_queue_work(look->looks->loop, &look->work, look_work, on_looked) == 0);
    return RC_AGAIN;
}

enum rc image_looks_ask(struct image_looks *l, const char *sha256, int fd)
{
    struct image_look *look = find(l, sha256);
    struct stat st;
    enum rc rc;

    if (!look)
        look = make(l, sha256);
    if (!look)
        return RC_NOMEM;
    if (look->fd >= 0)
        return RC_AGAIN;
    if (fstat(fd, &st) != 0)
        return files_rc(errno);
    rc = look->rc;
    if (rc == RC_AGAIN || !same(&look->st, &st))
        return begin(look, fd, &st);
    if (!look->settled || (rc != RC_OK && rc != RC_MALFORMED))
        look->rc = RC_AGAIN; /* good for this time */
    return rc;
}

uint64_t image_looks_room(struct image_looks *l, const char *sha256)
{
    struct image_look *look = find(l, sha256);

    return look && look->fd < 0 ? look->room : 0;
}

/* One that is being hashed stays: its inode is no other file's. */
void image_looks_forget(struct image_looks *l, const char *sha256)
{
    struct image_look *look = find(l, sha256);

    if (!look || look->fd >= 0)
        return;
    RB_REMOVE(image_look_tree, &l->known, look);
    free(look);
}
