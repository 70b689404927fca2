/* Imports into the certificate store: the helper runs, its answer is checked, the files
 * get their names. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/sm.h"
#include "common/host/fd.h"
#include "orchestrator/cert_store_private.h"
#include "orchestrator/files.h"

#define ANSWER_MAX (16u << 10) /* of the helper; its names take up to 4 KiB, escaped */

/* One import.  RUN -> INSTALL -> CLOSING -> DONE; any failure goes to CLOSING at once. */
struct cert_import {
    struct cert_store *store;
    struct cert_import *next;
    struct sm sm;
    cert_import_cb *cb;
    void *arg;

    enum rc rc; /* the first failure wins */
    struct refusal no;
    struct registry_certificate facts;

    char temp[32]; /* in both folders; "" when they are gone */
    int key_fd, chain_fd;
    uv_process_t process;
    uv_pipe_t out;
    uv_timer_t deadline;
    unsigned handles; /* open */
    bool exited, ended, working, ok;
    int signal; /* that ended the helper; 0: it left */
    char answer[ANSWER_MAX];
    size_t answer_len;
    uv_work_t work;
};

enum { RUN, INSTALL, CLOSING, DONE, STATE_NR };

static const struct sm_state states[STATE_NR] = {
    [RUN] = {"RUN", SM_BIT(INSTALL) | SM_BIT(CLOSING)},
    [INSTALL] = {"INSTALL", SM_BIT(CLOSING)},
    [CLOSING] = {"CLOSING", SM_BIT(DONE)},
    [DONE] = {"DONE", 0},
};

static void step(struct cert_import *i);

/*----- begin -----*/

static enum rc fail(struct cert_import *i, enum rc rc, const char *why, const char *todo)
{
    if (i->rc)
        return i->rc;
    i->rc = rc;
    refusal_what(&i->no, rc, "cannot import the certificate and its key");
    refusal_why(&i->no, "%s", why);
    return refusal_todo(&i->no, "%s", todo);
}

static void fail_files(struct cert_import *i, enum rc rc)
{
    if (rc == RC_FULL)
        fail(i, rc, "the disk of the state folder is full", "make room there, then try again");
    else
        fail(i, rc, "the files could not be written in the state folder",
             "see to it that roomkeyd may write there, then try again");
}

static void close_files(struct cert_import *i)
{
    fd_close(&i->key_fd);
    fd_close(&i->chain_fd);
}

static void remove_files(struct cert_import *i)
{
    close_files(i);
    if (i->temp[0]) {
        (void)unlinkat(i->store->keys, i->temp, 0);
        (void)unlinkat(i->store->certs, i->temp, 0);
    }
    i->temp[0] = '\0';
}

static void on_helper_exit(uv_process_t *process, int64_t status, int signal)
{
    struct cert_import *i = process->data;

    i->exited = true;
    i->ok = status == 0 && signal == 0;
    i->signal = signal;
    step(i);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct cert_import *i = handle->data;

    (void)suggested;
    *buf = uv_buf_init(i->answer + i->answer_len, (unsigned)(sizeof i->answer - i->answer_len));
}

/* A full buffer comes as ENOBUFS. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct cert_import *i = stream->data;

    (void)buf;
    if (n >= 0) {
        i->answer_len += (size_t)n;
        return;
    }
    i->ended = true;
    uv_read_stop(stream);
    step(i);
}

static void on_deadline(uv_timer_t *timer)
{
    struct cert_import *i = timer->data;

    fail(i, RC_TIMEDOUT, "roomkey-keyimport took too long",
         "see whether the files are on a disk that answers, then try again");
    if (!i->exited)
        (void)uv_process_kill(&i->process, SIGKILL);
    step(i);
}

static int spawn(struct cert_import *i, const struct cert_request *r)
{
    char uid[16], gid[16], pair[] = "pair", self_signed[] = "self-signed";
    char *args[6 + REGISTRY_HOSTS_MAX + 1], *env[] = {NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&i->out},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
        {.flags = UV_INHERIT_FD, .data.fd = i->key_fd},
        {.flags = UV_INHERIT_FD, .data.fd = i->chain_fd},
    };
    uv_process_options_t options = {
        .exit_cb = on_helper_exit,
        .file = i->store->helper,
        .args = args,
        .env = env,
        .stdio = stdio,
        .stdio_count = sizeof stdio / sizeof *stdio,
    };
    size_t n = 0;

    snprintf(uid, sizeof uid, "%u", (unsigned)r->uid);
    snprintf(gid, sizeof gid, "%u", (unsigned)r->gid);
    args[n++] = i->store->helper;
    args[n++] = uid;
    args[n++] = gid;
    if (r->chain_path) {
        args[n++] = pair;
        args[n++] = (char *)(uintptr_t)r->chain_path;
        args[n++] = (char *)(uintptr_t)r->key_path;
    } else {
        args[n++] = self_signed;
    }
    for (size_t h = 0; h < r->hosts_nr; h++)
        args[n++] = (char *)(uintptr_t)r->hosts[h];
    args[n] = NULL;
    return uv_spawn(i->store->loop, &i->process, &options);
}

static enum rc check_request(const struct cert_request *r, struct refusal *no)
{
    CHECK(r->hosts_nr > 0 && r->hosts_nr <= REGISTRY_HOSTS_MAX);
    if (!r->chain_path && !r->key_path)
        return RC_OK;
    if (r->chain_path && r->key_path && r->chain_path[0] == '/' && r->key_path[0] == '/')
        return RC_OK;
    refusal_what(no, RC_INVAL, "cannot import the certificate and its key");
    refusal_why(no, "both files are needed, each with an absolute path");
    return refusal_todo(no, "give both paths, starting with /");
}

enum rc cert_store_import(struct cert_store *s, const struct cert_request *request,
                          cert_import_cb *cb, void *arg, struct refusal *no)
{
    struct cert_import *i;
    enum rc rc = check_request(request, no);
    int rv;

    if (rc)
        return rc;
    i = calloc(1, sizeof *i);
    if (!i)
        return refusal_what(no, RC_NOMEM, "cannot import a certificate: out of memory");
    i->store = s;
    i->cb = cb;
    i->arg = arg;
    i->key_fd = i->chain_fd = -1;
    snprintf(i->temp, sizeof i->temp, CERT_STORE_TEMP "%lu", s->serial++);
    rc = files_create(s->keys, i->temp, 0600, &i->key_fd);
    if (!rc)
        rc = files_create(s->certs, i->temp, 0644, &i->chain_fd);
    if (rc) {
        fail_files(i, rc);
        *no = i->no;
        remove_files(i);
        free(i);
        return rc;
    }

    sm_init(&i->sm, states, "import", s->serial, RUN);
    i->next = s->imports;
    s->imports = i;
    i->process.data = i->out.data = i->deadline.data = i;
    CHECK(uv_timer_init(s->loop, &i->deadline) == 0 && uv_pipe_init(s->loop, &i->out, 0) == 0);
    rv = spawn(i, request);
    i->handles = 3; /* the process handle wants closing even when there is no process */
    close_files(i);
    if (rv == 0)
        rv = uv_read_start((uv_stream_t *)&i->out, on_alloc, on_read);
    else
        i->exited = true;
    if (rv != 0) {
        char why[256];

        snprintf(why, sizeof why, "%.128s did not start: %s", s->helper, uv_strerror(rv));
        fail(i, RC_FAILED, why, "see to it that roomkey-keyimport lies beside roomkeyd");
        i->ended = true;
        if (!i->exited)
            (void)uv_process_kill(&i->process, SIGKILL);
    }
    /* At once when it has failed: the callback comes from the loop, not from here. */
    CHECK(uv_timer_start(&i->deadline, on_deadline, rv ? 0 : CERT_IMPORT_DEADLINE_MS, 0) == 0);
    return RC_OK;
}

void cert_store_cancel(struct cert_store *s)
{
    /* Later states end by themselves, and INSTALL is on another thread. */
    for (struct cert_import *i = s->imports; i; i = i->next) {
        if (i->sm.state != RUN)
            continue;
        fail(i, RC_CANCELED, "roomkeyd is stopping", "try again when it is back");
        CHECK(uv_timer_start(&i->deadline, on_deadline, 0, 0) == 0);
    }
}

/*----- what the helper says -----*/

/* The helper ran as the user who asked: what it says is checked like anybody's. */
static bool text(const json_t *o, const char *key, char *out, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));

    if (!s || strlen(s) >= size)
        return false;
    strcpy(out, s);
    return true;
}

static bool take_facts(const json_t *o, struct registry_certificate *f)
{
    const json_t *before = json_object_get(o, "not_before"),
                 *after = json_object_get(o, "not_after");

    f->self_signed = json_is_true(json_object_get(o, "self_signed"));
    f->not_before = json_integer_value(before);
    f->not_after = json_integer_value(after);
    return text(o, "fingerprint", f->fingerprint, sizeof f->fingerprint) &&
           text(o, "key_id", f->key_id, sizeof f->key_id) &&
           text(o, "key_type", f->key_type, sizeof f->key_type) &&
           text(o, "subject", f->subject, sizeof f->subject) &&
           text(o, "names", f->names, sizeof f->names) && files_is_hash(f->fingerprint) &&
           files_is_hash(f->key_id) && json_is_integer(before) && json_is_integer(after);
}

static void take_refusal(struct cert_import *i, const json_t *o)
{
    const char *what = json_string_value(json_object_get(o, "what"));
    json_int_t rc = json_integer_value(json_object_get(o, "rc"));

    if (!what || rc <= RC_OK || rc >= RC_NR)
        return;
    i->rc = (enum rc)rc;
    refusal_what(&i->no, i->rc, "%s", what);
    (void)text(o, "why", i->no.why, sizeof i->no.why);
    (void)text(o, "todo", i->no.todo, sizeof i->no.todo);
}

static void take_answer(struct cert_import *i)
{
    json_t *o = json_loadb(i->answer, i->answer_len, JSON_REJECT_DUPLICATES, NULL);
    char why[128];

    if (i->signal) {
        snprintf(why, sizeof why, "roomkey-keyimport was ended by signal %d (%s)", i->signal,
                 strsignal(i->signal));
        fail(i, RC_FAILED, why, "try again; the kernel's log may say who ended it");
    } else if (i->ok) {
        if (!o || !take_facts(o, &i->facts))
            fail(i, RC_FAILED, "roomkey-keyimport did not make sense",
                 "install roomkeyd and roomkey-keyimport of the same version");
    } else if (o) {
        take_refusal(i, o);
    }
    if (!i->ok)
        fail(i, RC_FAILED, "roomkey-keyimport ended without saying why",
             "see the log of roomkeyd, then try again");
    json_decref(o);
}

/*----- install: on the pool -----*/

/* The chain first: a key without a chain would be a secret that nobody asks for. */
static void install_work(uv_work_t *work)
{
    struct cert_import *i = work->data;
    struct cert_store *s = i->store;
    char chain[CERT_STORE_PEM_SIZE], key[CERT_STORE_PEM_SIZE];

    cert_store_pem(chain, i->facts.fingerprint);
    cert_store_pem(key, i->facts.key_id);
    if (renameat(s->certs, i->temp, s->certs, chain) != 0 ||
        renameat(s->keys, i->temp, s->keys, key) != 0 || fsync(s->certs) != 0 ||
        fsync(s->keys) != 0)
        fail_files(i, files_rc(errno));
}

static void on_installed(uv_work_t *work, int status)
{
    struct cert_import *i = work->data;

    CHECK(status == 0); /* nobody cancels it */
    i->working = false;
    step(i);
}

/* Somebody may have dropped the same pair since it was renamed. */
static void look_again(struct cert_import *i)
{
    char chain[CERT_STORE_PEM_SIZE], key[CERT_STORE_PEM_SIZE];

    cert_store_pem(chain, i->facts.fingerprint);
    cert_store_pem(key, i->facts.key_id);
    if (faccessat(i->store->certs, chain, F_OK, 0) != 0 ||
        faccessat(i->store->keys, key, F_OK, 0) != 0)
        fail(i, RC_AGAIN, "the same pair was removed while it was being imported", "try again");
}

/*----- the whole story, in order -----*/

static void on_closed(uv_handle_t *handle)
{
    struct cert_import *i = handle->data;

    i->handles--;
    step(i);
}

static void begin_close(struct cert_import *i)
{
    sm_move(&i->sm, CLOSING);
    uv_close((uv_handle_t *)&i->process, on_closed);
    uv_close((uv_handle_t *)&i->out, on_closed);
    uv_close((uv_handle_t *)&i->deadline, on_closed);
}

static void done(struct cert_import *i)
{
    struct cert_import **at = &i->store->imports;

    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    if (!i->rc)
        look_again(i);
    remove_files(i);
    sm_move(&i->sm, DONE);
    i->cb(i->arg, i->rc, i->rc ? NULL : &i->facts, i->rc ? &i->no : NULL);
    free(i); /* must be last */
}

static void step(struct cert_import *i)
{
    switch (i->sm.state) {
    case RUN:
        if (!i->exited || (!i->ended && !i->rc))
            return;
        if (!i->rc)
            take_answer(i);
        if (i->rc) {
            begin_close(i);
            return;
        }
        uv_timer_stop(&i->deadline); /* what is left is renames and fsyncs */
        sm_move(&i->sm, INSTALL);
        i->work.data = i;
        i->working = true;
        CHECK(uv_queue_work(i->store->loop, &i->work, install_work, on_installed) == 0);
        return;
    case INSTALL:
        if (!i->working)
            begin_close(i);
        return;
    case CLOSING:
        if (i->handles == 0)
            done(i);
        return;
    default:
        check_failed(__FILE__, __LINE__, "a step after the end");
    }
}
