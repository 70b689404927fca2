#include "orchestrator/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/sm.h"
#include "common/host/clock.h"
#include "common/host/log.h"
#include "common/host/notify.h"
#include "common/host/signal_ignored.h"
#include "orchestrator/admin/admin.h"
#include "orchestrator/admin/keys.h"
#include "orchestrator/cert_store.h"
#include "orchestrator/files.h"
#include "orchestrator/fleet.h"
#include "orchestrator/front_server.h"
#include "orchestrator/image_store.h"
#include "orchestrator/key_server.h"
#include "orchestrator/registry.h"

const struct backend_ops *const daemon_grounds[] = {&backend_xen, &backend_sandbox, NULL};

struct house {
    const struct config *config;         /* borrowed */
    char state[PATH_MAX], run[PATH_MAX]; /* absolute */
    char helper[PATH_MAX];
    int run_lock; /* owned; the registry locks the state folder */
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    struct registry *registry;
    struct image_store *images;
    struct cert_store *certs;
    const struct backend_ops *ops;
    struct backend *backend;
    char ground_why[256];
    struct front_server *front;
    struct key_server *keys;
    struct fleet *fleet;
    struct admin *admin;
    bool signals, ending;
};

/*----- before the loop -----*/

/* `unless`: a mode bit that lets others write to it all the same; 0: none does. */
static bool is_ours(const char *path, mode_t unless)
{
    struct stat st;

    return stat(path, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid()) &&
           ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0 || (st.st_mode & unless) != 0);
}

/* Who may write to it could give roomkeyd another registry, and the front another roomkeyd; so
 * could who may rename a folder above it, as the sticky bit forbids.  `path` is a real path. */
static enum rc check_owner(const char *path, struct refusal *no)
{
    char folder[PATH_MAX];
    bool ours = is_ours(path, 0);

    snprintf(folder, sizeof folder, "%s", path);
    while (ours && folder[1]) {
        char *slash = strrchr(folder, '/');

        slash[slash == folder] = '\0';
        ours = is_ours(folder, S_ISVTX);
    }
    if (ours)
        return RC_OK;
    refusal_what(no, RC_DENIED, "cannot use the folder %s", path);
    refusal_why(no, "others than root and this user may write to %s", folder);
    return refusal_todo(no, "chown it to root, and chmod go-w; or give another folder");
}

/* The folders above are made too; what cannot be made the last step reports. */
static enum rc use_folder(const char *path, mode_t mode, const char *option, char *absolute,
                          struct refusal *no)
{
    char above[PATH_MAX];

    snprintf(above, sizeof above, "%s", path);
    for (char *p = above + 1; *above && (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        mkdir(above, 0755);
    }
    if ((mkdir(path, mode) != 0 && errno != EEXIST) || !realpath(path, absolute) ||
        access(absolute, W_OK | X_OK) != 0)
        return files_refuse_folder(no, path, option);
    return check_owner(absolute, no);
}

/* Three descriptors a channel, and a few more an instance. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("the limit of open files stays at %llu: %s", (unsigned long long)limit.rlim_cur,
                    strerror(errno));
}

/* The import helper lies beside this program. */
static enum rc find_helper(char *out, size_t size, struct refusal *no)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (slash &&
        (size_t)snprintf(out, size, "%.*s/roomkey-keyimport", (int)(slash - self), self) < size)
        return RC_OK;
    refusal_what(no, RC_IO, "cannot find roomkey-keyimport");
    refusal_why(no, "the folder of roomkeyd itself is not known");
    return refusal_todo(no, "mount /proc");
}

static enum rc choose_ground(struct house *h, struct refusal *no)
{
    const char *wish = h->config->ground;
    bool any = strcmp(wish, "auto") == 0;
    char why[256] = "no such ground is built in";

    for (size_t n = 0; daemon_grounds[n]; n++) {
        const struct backend_ops *ops = daemon_grounds[n];

        if (!any && strcmp(ops->name, wish) != 0)
            continue;
        why[0] = '\0';
        if (ops->probe(why, sizeof why))
            continue;
        if (why[0])
            log_warning("ground %s: %s", ops->name, why);
        h->ops = ops;
        snprintf(h->ground_why, sizeof h->ground_why, "%s",
                 any ? "the best that this host can do" : "asked for with --ground");
        return RC_OK;
    }
    refusal_what(no, RC_UNSUPPORTED, "cannot run instances on the ground %s", wish);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "see roomkeyd --doctor; --ground auto takes the best that can be had");
}

static bool image_used(void *arg, const char *sha256)
{
    bool used = true;

    return registry_image_used(arg, sha256, &used) != RC_OK || used;
}

static bool look_at_image(void *arg, const struct registry_image *image)
{
    struct house *h = arg;
    enum rc rc = image_store_there(h->images, image->sha256, image->size);

    if (rc == RC_NOT_FOUND || rc == RC_MALFORMED)
        log_error("image %s:%s: its file in the image store is %s; `roomkey image add` it again",
                  image->name, image->version, rc == RC_NOT_FOUND ? "gone" : "damaged");
    return true;
}

/* A sweep that fails leaves files behind; nothing else. */
static void look_at_files(struct house *h)
{
    struct cert_store_users users = keys_users(h->registry);

    if (image_store_sweep(h->images, image_used, h->registry))
        log_warning("images that nobody needs could not be removed");
    if (cert_store_sweep(h->certs, &users))
        log_warning("certificates that nobody needs could not be removed");
    if (registry_images(h->registry, NULL, UINT_MAX, look_at_image, h))
        log_warning("the images cannot be listed");
}

/*----- the loop -----*/

static void on_stopped(void *arg, enum rc rc)
{
    struct house *h = arg;

    if (rc)
        log_error("not every instance ended in time");
    uv_stop(&h->loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct house *h = signal->data;

    if (h->ending)
        return;
    h->ending = true;
    log_info("%s: %s",
             number == SIGTERM  ? "SIGTERM"
             : number == SIGINT ? "SIGINT"
                                : "SIGHUP",
             h->config->leave_instances ? "leaving the instances to the next roomkeyd"
                                        : "draining and stopping all instances");
    notify_send("STOPPING=1");
    front_server_hold(h->front);
    fleet_stop(h->fleet, h->config->leave_instances, on_stopped, h);
}

static enum rc watch_signals(struct house *h, struct refusal *no)
{
    uv_signal_init(&h->loop, &h->term);
    uv_signal_init(&h->loop, &h->interrupt);
    uv_signal_init(&h->loop, &h->hangup);
    h->term.data = h->interrupt.data = h->hangup.data = h;
    h->signals = true;
    if (uv_signal_start(&h->term, on_signal, SIGTERM) == 0 &&
        uv_signal_start(&h->interrupt, on_signal, SIGINT) == 0 &&
        (signal_ignored(SIGHUP) || uv_signal_start(&h->hangup, on_signal, SIGHUP) == 0))
        return RC_OK;
    refusal_what(no, RC_IO, "cannot watch for signals");
    return refusal_why(no, "the loop refused");
}

/* A line a move, when wanted: the trace of every machine. */
static void trace(const struct sm *m, int from)
{
    log_debug("%s %" PRIu64 ": %s -> %s", m->what, m->id, m->table[from].name, sm_name(m));
}

static enum rc open_grounds(struct house *h, struct refusal *no)
{
    char why[256] = "";
    enum rc rc = choose_ground(h, no);

    if (rc)
        return rc;
    rc = h->ops->open(&h->loop, h->state, &h->backend, why, sizeof why);
    if (rc == RC_OK)
        return RC_OK;
    refusal_what(no, rc, "cannot open the ground %s", h->ops->name);
    refusal_why(no, "%s", why[0] ? why : rc_text(rc));
    return refusal_todo(no, "see roomkeyd --doctor");
}

static enum rc open_fleet(struct house *h, struct refusal *no)
{
    struct fleet_config config = {
        .loop = &h->loop,
        .registry = h->registry,
        .images = h->images,
        .certs = h->certs,
        .ops = h->ops,
        .backend = h->backend,
        .front = front_server_front(h->front),
        .limits = h->config->limits,
        .state_dir = h->state,
    };
    enum rc rc = fleet_open(&config, &h->fleet);

    if (rc) {
        refusal_what(no, rc, "cannot open the fleet");
        return refusal_why(no, "%s", rc_text(rc));
    }
    fleet_adopt(h->fleet);
    return RC_OK;
}

static enum rc open_admin(struct house *h, struct refusal *no)
{
    struct admin_house house = {
        .loop = &h->loop,
        .registry = h->registry,
        .images = h->images,
        .certs = h->certs,
        .fleet = h->fleet,
        .host = {.state_dir = h->state,
                 .run_dir = h->run,
                 .grounds = daemon_grounds,
                 .ground = h->ops->name,
                 .ground_why = h->ground_why},
        .started_at = clock_unix_ms(),
        .started_us = clock_us(),
    };

    return admin_open(&house, &h->admin, no);
}

static enum rc open_all(struct house *h, struct refusal *no)
{
    char logs[PATH_MAX + 8], absolute[PATH_MAX];
    enum rc rc = use_folder(h->config->state, 0700, "--state", h->state, no);

    if (!rc)
        rc = use_folder(h->config->run, 0755, "--run", h->run, no);
    snprintf(logs, sizeof logs, "%s/logs", h->state);
    if (!rc)
        rc = use_folder(logs, 0700, "--state", absolute, no);
    if (!rc)
        rc = files_lock(h->run, "--run", &h->run_lock, no);
    if (!rc)
        rc = find_helper(h->helper, sizeof h->helper, no);
    if (!rc)
        rc = registry_open(h->state, &h->registry, no);
    if (!rc)
        rc = image_store_open(&h->loop, h->state, &h->images, no);
    if (!rc)
        rc = cert_store_open(&h->loop, h->state, h->helper, &h->certs, no);
    if (rc)
        return rc;
    look_at_files(h);
    rc = watch_signals(h, no);
    if (!rc)
        rc = open_grounds(h, no);
    if (!rc)
        rc = front_server_open(&h->loop, h->run, &h->front, no);
    if (!rc)
        rc = key_server_open(&h->loop, h->run, h->certs, &h->keys, no);
    if (!rc)
        rc = open_fleet(h, no);
    if (!rc)
        rc = open_admin(h, no);
    if (!rc)
        front_server_begin(h->front, h->fleet);
    return rc;
}

/* In reverse; what was not opened is skipped. */
static void close_all(struct house *h)
{
    admin_close(h->admin);
    if (h->certs)
        cert_store_cancel(h->certs);
    if (h->images)
        image_store_stop(h->images);
    front_server_close(h->front);
    key_server_close(h->keys);
    if (h->fleet)
        fleet_close(h->fleet);
    if (h->backend)
        h->ops->close(h->backend);
    if (h->signals) {
        uv_close((uv_handle_t *)&h->term, NULL);
        uv_close((uv_handle_t *)&h->interrupt, NULL);
        uv_close((uv_handle_t *)&h->hangup, NULL);
    }
    uv_run(&h->loop, UV_RUN_DEFAULT);
    cert_store_close(h->certs);
    image_store_close(h->images);
    registry_close(h->registry);
    if (uv_loop_close(&h->loop))
        log_warning("the loop did not close clean");
    if (h->run_lock >= 0)
        close(h->run_lock);
}

enum rc daemon_run(const struct config *config, struct refusal *no)
{
    struct house *h = calloc(1, sizeof *h);
    char status[128];
    enum rc rc;

    if (!h || uv_loop_init(&h->loop)) {
        free(h);
        refusal_what(no, RC_NOMEM, "cannot start");
        return refusal_why(no, "out of memory");
    }
    h->config = config;
    h->run_lock = -1;
    raise_descriptors();
    sm_trace = trace;
    rc = open_all(h, no);
    if (rc == RC_OK) {
        snprintf(status, sizeof status, "READY=1\nSTATUS=ground %s", h->ops->name);
        log_info("ready: ground %s, state %s, run %s", h->ops->name, h->state, h->run);
        notify_send(status);
        uv_run(&h->loop, UV_RUN_DEFAULT);
        log_info("stopped");
    }
    close_all(h);
    free(h);
    return rc;
}
