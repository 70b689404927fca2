#include "orchestrator/image_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/host/fd.h"
#include "orchestrator/files.h"
#include "orchestrator/image_check.h"
#include "orchestrator/image_look.h"

#define TEMP_PREFIX ".add-"

struct image_store {
    uv_loop_t *loop;
    int dir;
    struct image_looks looks;
    unsigned long serial; /* of temporary files */
    unsigned adds;        /* open */
};

struct image_add {
    struct image_store *store;
    char temp[40];
    int fd;
    char name[sizeof((struct manifest *)0)->name];
    char version[sizeof((struct manifest *)0)->version];
    mbedtls_sha256_context sha;
    struct image_facts facts;

    /* After finish. */
    uv_work_t work;
    enum rc rc;
    struct refusal no;
    image_add_cb *cb;
    void *arg;
};

/*----- open and close -----*/

static void remove_temp(void *arg, const char *name)
{
    struct image_store *s = arg;

    if (strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) == 0)
        (void)unlinkat(s->dir, name, 0);
}

enum rc image_store_open(uv_loop_t *loop, const char *state_dir, struct image_store **out,
                         struct refusal *no)
{
    struct image_store *s = calloc(1, sizeof *s);
    int images;
    enum rc rc;

    if (!s)
        return refusal_what(no, RC_NOMEM, "cannot open the image store: out of memory");
    s->loop = loop;
    s->dir = -1;
    image_looks_init(&s->looks, loop);
    rc = files_folder(state_dir, "images", &images, no);
    if (!rc) {
        close(images);
        rc = files_folder(state_dir, "images/sha256", &s->dir, no);
    }
    if (!rc) {
        rc = files_each(s->dir, remove_temp, s);
        if (rc)
            refusal_what(no, rc, "cannot read the folder %s/images/sha256", state_dir);
    }
    if (rc)
        image_store_close(s);
    else
        *out = s;
    return rc;
}

void image_store_stop(struct image_store *s)
{
    image_looks_stop(&s->looks);
}

void image_store_close(struct image_store *s)
{
    if (!s)
        return;
    CHECK(s->adds == 0);
    image_looks_dispose(&s->looks);
    fd_close(&s->dir);
    free(s);
}

/*----- add -----*/

static enum rc refuse_io(struct refusal *no, const struct image_add *add, enum rc rc)
{
    refusal_what(no, rc, "cannot store image %s:%s", add->name, add->version);
    if (rc == RC_FULL) {
        refusal_why(no, "the disk of the state folder is full");
        return refusal_todo(no, "make room there, then add it again");
    }
    refusal_why(no, "its file in the state folder could not be written: %s", rc_text(rc));
    return refusal_todo(no, "see to it that roomkeyd may write there, then add it again");
}

static enum rc refuse_image(struct refusal *no, const struct image_add *add, const char *why,
                            const char *todo)
{
    refusal_what(no, RC_INVAL, "the file is not an image %s:%s", add->name, add->version);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "%s", todo);
}

static void dispose(struct image_add *add)
{
    fd_close(&add->fd);
    if (add->temp[0])
        (void)unlinkat(add->store->dir, add->temp, 0);
    mbedtls_sha256_free(&add->sha);
    add->store->adds--;
    free(add);
}

enum rc image_add_begin(struct image_store *s, const char *name, const char *version,
                        struct image_add **out, struct refusal *no)
{
    struct image_add *add;
    enum rc rc;

    if (strlen(name) >= sizeof add->name || strlen(version) >= sizeof add->version ||
        !manifest_name_valid(name) || !manifest_version_valid(version)) {
        refusal_what(no, RC_INVAL, "\"%.80s:%.80s\" is not a name for an image", name, version);
        refusal_why(no, "it is NAME:VERSION; a name has a-z, 0-9 and -, a version has letters, "
                        "digits and ._+-, each at most 63");
        return refusal_todo(no, "give the name and version that its manifest has");
    }
    add = calloc(1, sizeof *add);
    if (!add)
        return refusal_what(no, RC_NOMEM, "cannot store an image: out of memory");
    add->store = s;
    s->adds++;
    strcpy(add->name, name);
    strcpy(add->version, version);
    mbedtls_sha256_init(&add->sha);
    snprintf(add->temp, sizeof add->temp, TEMP_PREFIX "%lu", s->serial++);
    rc = files_create(s->dir, add->temp, 0600, &add->fd);
    if (rc)
        add->temp[0] = '\0';
    else if (mbedtls_sha256_starts(&add->sha, 0) != 0)
        rc = RC_CRYPTO;
    if (rc) {
        refuse_io(no, add, rc);
        dispose(add);
        return rc;
    }
    *out = add;
    return RC_OK;
}

enum rc image_add_write(struct image_add *add, const void *data, size_t len, struct refusal *no)
{
    enum rc rc;

    if (len > IMAGE_SIZE_MAX - add->facts.size) {
        refusal_what(no, RC_TOO_LARGE, "image %s:%s is too large", add->name, add->version);
        refusal_why(no, "an image has at most %llu MiB", IMAGE_SIZE_MAX >> 20);
        return refusal_todo(no, "strip it of debug information: strip -g");
    }
    rc = files_write(add->fd, data, len);
    if (!rc && mbedtls_sha256_update(&add->sha, data, len) != 0)
        rc = RC_CRYPTO;
    if (rc)
        return refuse_io(no, add, rc);
    add->facts.size += len;
    return RC_OK;
}

void image_add_abort(struct image_add *add)
{
    if (add)
        dispose(add);
}

/*----- finish: on the pool, then back on the loop -----*/

static enum rc check(struct image_add *add)
{
    enum image_fault fault = IMAGE_EMPTY;
    struct manifest *m = &add->facts.manifest;
    char why[256];

    if (add->facts.size > 0) {
        void *file = mmap(NULL, add->facts.size, PROT_READ, MAP_PRIVATE, add->fd, 0);

        if (file == MAP_FAILED)
            return refuse_io(&add->no, add, files_rc(errno));
        fault = image_check(file, add->facts.size, m);
        munmap(file, add->facts.size);
    }
    if (fault)
        return refuse_image(&add->no, add, image_fault_why(fault), image_fault_todo(fault));
    if (strcmp(m->name, add->name) != 0 || strcmp(m->version, add->version) != 0) {
        snprintf(why, sizeof why, "its manifest says %s:%s", m->name, m->version);
        return refuse_image(&add->no, add, why, "add it under that name and version");
    }
    return RC_OK;
}

/* The name comes last: whatever has it is complete and on the disk. */
static enum rc keep(struct image_add *add)
{
    unsigned char hash[32];

    if (mbedtls_sha256_finish(&add->sha, hash) != 0)
        return RC_CRYPTO;
    files_hex(hash, add->facts.sha256);
    if (fchmod(add->fd, 0555) != 0 || fsync(add->fd) != 0)
        return files_rc(errno);
    /* Nobody may hold it for writing when it is executed. */
    fd_close(&add->fd);
    if (renameat(add->store->dir, add->temp, add->store->dir, add->facts.sha256) != 0)
        return files_rc(errno);
    add->temp[0] = '\0';
    return fsync(add->store->dir) == 0 ? RC_OK : files_rc(errno);
}

static void finish_work(uv_work_t *work)
{
    struct image_add *add = work->data;

    add->rc = check(add);
    if (add->rc)
        return;
    add->rc = keep(add);
    if (add->rc)
        refuse_io(&add->no, add, add->rc);
}

static void on_finished(uv_work_t *work, int status)
{
    struct image_add *add = work->data;
    image_add_cb *cb = add->cb;
    void *arg = add->arg;
    struct image_facts facts = add->facts;
    struct refusal no = add->no;
    enum rc rc = add->rc;

    CHECK(status == 0); /* nobody cancels it */
    /* The same content may have been removed as an image of the registry since it was renamed. */
    if (!rc && faccessat(add->store->dir, facts.sha256, R_OK, 0) != 0) {
        rc = refusal_what(&no, RC_AGAIN, "cannot store image %s:%s", add->name, add->version);
        refusal_why(&no, "it was removed while it was being added");
        refusal_todo(&no, "add it again");
    }
    dispose(add);
    cb(arg, rc, rc ? NULL : &facts, rc ? &no : NULL); /* must be last */
}

void image_add_finish(struct image_add *add, image_add_cb *cb, void *arg)
{
    add->cb = cb;
    add->arg = arg;
    add->work.data = add;
    CHECK(uv_queue_work(add->store->loop, &add->work, finish_work, on_finished) == 0);
}

/*----- what is there -----*/

static enum rc open_image(struct image_store *s, const char *sha256, uint64_t size, int *fd)
{
    struct stat st;

    *fd = -1;
    if (!files_is_hash(sha256))
        return RC_INVAL;
    *fd = openat(s->dir, sha256, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0)
        return files_rc(errno);
    if (fstat(*fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size == size)
        return RC_OK;
    fd_close(fd);
    return RC_MALFORMED;
}

enum rc image_store_fd(struct image_store *s, const char *sha256, uint64_t size, int *fd)
{
    enum rc rc = open_image(s, sha256, size, fd);

    if (!rc)
        rc = image_looks_ask(&s->looks, sha256, *fd);
    if (rc)
        fd_close(fd);
    return rc;
}

uint64_t image_store_room(struct image_store *s, const char *sha256)
{
    return image_looks_room(&s->looks, sha256);
}

enum rc image_store_there(struct image_store *s, const char *sha256, uint64_t size)
{
    int fd;
    enum rc rc = open_image(s, sha256, size, &fd);

    fd_close(&fd);
    return rc;
}

void image_store_watch(struct image_store *s, void (*looked)(void *arg), void *arg)
{
    s->looks.on_looked = looked;
    s->looks.arg = arg;
}

enum rc image_store_remove(struct image_store *s, const char *sha256)
{
    if (!files_is_hash(sha256))
        return RC_INVAL;
    image_looks_forget(&s->looks, sha256);
    return unlinkat(s->dir, sha256, 0) == 0 || errno == ENOENT ? RC_OK : files_rc(errno);
}

struct sweep {
    struct image_store *store;
    bool (*used)(void *arg, const char *sha256);
    void *arg;
};

static void sweep_one(void *arg, const char *name)
{
    const struct sweep *sweep = arg;

    if (files_is_hash(name) && !sweep->used(sweep->arg, name))
        (void)unlinkat(sweep->store->dir, name, 0);
}

enum rc image_store_sweep(struct image_store *s, bool (*used)(void *arg, const char *sha256),
                          void *arg)
{
    struct sweep sweep = {.store = s, .used = used, .arg = arg};

    return files_each(s->dir, sweep_one, &sweep);
}
