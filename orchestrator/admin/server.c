/* libmicrohttpd on the uv loop. */
#include "orchestrator/admin/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/host/log.h"
#include "orchestrator/admin/listen.h"

#define CONNECTION_MEMORY (32u << 10)
#define QUIET_SECONDS     60u /* a client that neither sends nor takes; not while it waits for us */

/* The peer is owned by the connection.  Who comes when all are taken waits. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode what)
{
    struct admin *a = arg;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct admin_peer *peer = calloc(1, sizeof *peer);

        if (peer && info)
            admin_peer_read(info->connect_fd, peer);
        *slot = peer;
        if (++a->connections == ADMIN_CONNECTIONS_MAX)
            acceptor_hold(&a->acceptor);
    } else {
        free(*slot);
        *slot = NULL;
        if (a->connections-- == ADMIN_CONNECTIONS_MAX && !a->closed)
            acceptor_begin(&a->acceptor);
    }
}

__attribute__((format(printf, 2, 0))) static void on_log(void *arg, const char *fmt, va_list ap)
{
    char line[512];

    (void)arg;
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = '\0';
    log_debug("admin: %s", line);
}

/* A name would end at an escaped NUL and be another one: such a text stays as it is, and no name
 * has a '%' in it. */
static size_t unescape(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg;
    (void)connection;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

static void pump(struct admin *a);

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    pump(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void pump(struct admin *a)
{
    MHD_UNSIGNED_LONG_LONG ms;

    a->resumed = false;
    MHD_run(a->daemon);
    if (a->resumed)
        uv_timer_start(&a->timer, on_timer, 0, 0);
    else if (MHD_get_timeout(a->daemon, &ms) == MHD_YES)
        uv_timer_start(&a->timer, on_timer, ms, 0);
    else
        uv_timer_stop(&a->timer);
}

void admin_resumed(struct admin *a)
{
    a->resumed = true;
    uv_timer_start(&a->timer, on_timer, 0, 0);
}

static void on_taken(struct acceptor *acceptor, int fd)
{
    struct admin *a = CONTAINER_OF(acceptor, struct admin, acceptor);
    const struct sockaddr_un nobody = {.sun_family = AF_UNIX};

    /* When it has no memory for one more, it has closed it. */
    if (MHD_add_connection(a->daemon, fd, (const struct sockaddr *)&nobody, sizeof nobody) ==
        MHD_YES)
        pump(a);
}

static void on_acceptor_closed(struct acceptor *acceptor)
{
    struct admin *a = CONTAINER_OF(acceptor, struct admin, acceptor);

    a->handles--;
    admin_unref(a);
}

static enum rc start(struct admin *a, int fd)
{
    const union MHD_DaemonInfo *info;

    a->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, admin_on_request, a, MHD_OPTION_EXTERNAL_LOGGER, on_log, a,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, a, MHD_OPTION_CONNECTION_LIMIT,
        ADMIN_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, QUIET_SECONDS, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        a, MHD_OPTION_NOTIFY_COMPLETED, admin_on_completed, a, MHD_OPTION_END);
    if (!a->daemon) {
        close(fd);
        return RC_NOMEM;
    }
    info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info);
    if (uv_poll_init(a->house.loop, &a->poll, info->epoll_fd) != 0) {
        MHD_stop_daemon(a->daemon);
        close(fd);
        return RC_IO;
    }
    a->acceptor = (struct acceptor){
        .what = "admin socket", .on_taken = on_taken, .on_closed = on_acceptor_closed};
    CHECK(acceptor_open(&a->acceptor, a->house.loop, fd) == RC_OK); /* as the one before could */
    acceptor_begin(&a->acceptor);
    uv_timer_init(a->house.loop, &a->timer);
    uv_timer_init(a->house.loop, &a->held_timer);
    a->poll.data = a->timer.data = a->held_timer.data = a;
    a->handles = 4;
    uv_poll_start(&a->poll, UV_READABLE, on_readable);
    return RC_OK;
}

enum rc admin_open(const struct admin_house *house, struct admin **out, struct refusal *no)
{
    struct admin *a = calloc(1, sizeof *a);
    enum rc rc;
    int fd;

    if (!a) {
        refusal_what(no, RC_NOMEM, "cannot open the admin socket");
        return refusal_why(no, "out of memory");
    }
    a->house = *house;
    TAILQ_INIT(&a->held);
    if (snprintf(a->path, sizeof a->path, "%s/admin.sock", house->host.run_dir) >=
        (int)sizeof a->path) {
        free(a);
        refusal_what(no, RC_INVAL, "cannot make a socket in %s", house->host.run_dir);
        refusal_why(no, "its path is too long");
        return refusal_todo(no, "give a shorter one with --run");
    }
    rc = admin_listen(a->path, &fd, no);
    if (!rc && (rc = start(a, fd))) {
        unlink(a->path);
        refusal_what(no, rc, "cannot serve the admin socket %s", a->path);
        refusal_why(no, "%s", rc_text(rc));
    }
    if (rc) {
        free(a);
        return rc;
    }
    *out = a;
    return RC_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct admin *a = handle->data;

    a->handles--;
    admin_unref(a);
}

void admin_unref(struct admin *a)
{
    if (a->handles == 0 && a->requests == 0)
        free(a);
}

void admin_close(struct admin *a)
{
    if (!a)
        return;
    a->closed = true;
    unlink(a->path);
    /* MHD wants nobody suspended when it stops. */
    for (struct admin_request *q = a->first; q; q = q->next)
        admin_request_drop(q);
    acceptor_close(&a->acceptor);
    uv_close((uv_handle_t *)&a->poll, on_closed);
    uv_close((uv_handle_t *)&a->timer, on_closed);
    uv_close((uv_handle_t *)&a->held_timer, on_closed);
    MHD_stop_daemon(a->daemon);
    CHECK(!a->first);
    admin_held_end(a); /* they have no connection any more */
}
