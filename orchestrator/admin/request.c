/* One request, from its head to its answer, between libmicrohttpd and a handler.
 *
 * MHD's access handler is called once for the head, once for each piece of the body, then once
 * with none: there the route's handler runs.  It answers at once; or the connection is suspended
 * until the answer is there, whereupon MHD asks once more. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/check.h"
#include "orchestrator/admin/route.h"
#include "orchestrator/admin/server.h"

#define STREAM_PIECE (16u << 10)

struct admin_house *admin_of(const struct admin_request *q)
{
    return &q->admin->house;
}

const struct admin_peer *admin_peer(const struct admin_request *q)
{
    return &q->peer;
}

const struct admin_body *admin_body(const struct admin_request *q)
{
    return &q->body;
}

const char *admin_name(const struct admin_request *q)
{
    return q->name;
}

const char *admin_argument(struct admin_request *q, const char *argument)
{
    return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, argument);
}

bool admin_follows(struct admin_request *q)
{
    const char *follow = admin_argument(q, "follow");

    return follow && strcmp(follow, "1") == 0;
}

bool admin_number(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && *out <= INT64_MAX;
}

void **admin_slot(struct admin_request *q)
{
    return &q->slot;
}

/*----- life -----*/

static void on_watch_closed(uv_handle_t *handle)
{
    struct admin_watch *w = handle->data;

    close(w->fd);
    free(w);
}

static void unwatch(struct admin_request *q)
{
    if (!q->watch)
        return;
    q->watch->request = NULL;
    uv_close((uv_handle_t *)&q->watch->poll, on_watch_closed);
    q->watch = NULL;
}

static void close_stream(struct admin_request *q)
{
    const struct admin_stream *stream = q->stream;

    q->stream = NULL;
    if (stream)
        stream->close(q->stream_state);
}

static void request_free(struct admin_request *q)
{
    struct admin *a = q->admin;

    if (q->response)
        MHD_destroy_response(q->response);
    admin_text_dispose(&q->data);
    admin_text_dispose(&q->text);
    admin_body_dispose(&q->body);
    free(q);
    a->requests--;
    admin_unref(a);
}

static void resume(struct admin_request *q)
{
    if (!q->suspended)
        return;
    q->suspended = false;
    MHD_resume_connection(q->connection);
    admin_resumed(q->admin);
}

void admin_request_drop(struct admin_request *q)
{
    q->gone = true;
    resume(q);
}

static void on_disconnect(uv_poll_t *poll, int status, int events)
{
    struct admin_watch *w = poll->data;

    (void)status;
    (void)events;
    uv_poll_stop(poll);
    if (w->request)
        admin_request_drop(w->request);
}

/* Without it (no descriptor is left) a client that goes is noticed by the answer. */
static void watch(struct admin_request *q)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct admin_watch *w = calloc(1, sizeof *w);

    if (!w || !info || (w->fd = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0)) < 0) {
        free(w);
        return;
    }
    if (uv_poll_init(q->admin->house.loop, &w->poll, w->fd) != 0) {
        close(w->fd);
        free(w);
        return;
    }
    w->request = q;
    w->poll.data = w;
    uv_poll_start(&w->poll, UV_DISCONNECT, on_disconnect);
    q->watch = w;
}

static void suspend(struct admin_request *q)
{
    if (!q->watch)
        watch(q);
    q->suspended = true;
    MHD_suspend_connection(q->connection);
}

void admin_on_completed(void *arg, struct MHD_Connection *connection, void **slot,
                        enum MHD_RequestTerminationCode why)
{
    struct admin_request *q = *slot;

    (void)arg;
    (void)connection;
    (void)why;
    *slot = NULL;
    if (!q)
        return;
    q->connection = NULL;
    *q->link = q->next;
    if (q->next)
        q->next->link = q->link;
    q->admin->followers -= q->follows;
    unwatch(q);
    close_stream(q);
    if (!q->handled && q->route && q->route->abort)
        q->route->abort(q);
    if (!q->pending)
        request_free(q);
}

/*----- answers -----*/

void admin_respond(struct admin_request *q, unsigned status, struct MHD_Response *response)
{
    CHECK(response && !q->response);
    q->response = response;
    q->status = status;
    if (!q->pending)
        return;
    q->pending = false;
    if (q->connection)
        resume(q);
    else
        request_free(q);
}

bool admin_refused_closed(struct admin_request *q)
{
    if (!q->admin->closed)
        return false;
    admin_fail(q, RC_CANCELED, "roomkeyd is stopping");
    return true;
}

void admin_later(struct admin_request *q)
{
    q->pending = true;
}

/*----- streams -----*/

/* MHD wants bytes for the client. */
static ssize_t on_read(void *arg, uint64_t position, char *buffer, size_t size)
{
    struct admin_request *q = arg;
    size_t n;

    (void)position;
    if (q->gone || !q->stream)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    while (q->text_sent == q->text.len) {
        enum admin_next next = ADMIN_END;

        q->text.len = q->text_sent = 0;
        if (!q->stream_end)
            next = q->stream->next(q, q->stream_state, &q->text);
        q->stream_end = next == ADMIN_END;
        if (q->text.len)
            break;
        if (next == ADMIN_END)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (next == ADMIN_WAIT) {
            suspend(q);
            return 0;
        }
    }
    n = q->text.len - q->text_sent;
    if (n > size)
        n = size;
    memcpy(buffer, q->text.p + q->text_sent, n);
    q->text_sent += n;
    return (ssize_t)n;
}

void admin_stream(struct admin_request *q, const struct admin_stream *stream, void *state)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_PIECE, on_read, q, NULL);

    CHECK(r);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, stream->content_type);
    q->stream = stream;
    q->stream_state = state;
    admin_respond(q, MHD_HTTP_OK, r);
}

bool admin_may_follow(struct admin_request *q)
{
    struct refusal no;

    if (!admin_follows(q))
        return true;
    if (q->admin->followers < ADMIN_FOLLOWERS_MAX) {
        q->admin->followers++;
        q->follows = true;
        return true;
    }
    refusal_what(&no, RC_AGAIN, "nothing more can be followed");
    refusal_why(&no, "%u clients follow events or logs already", q->admin->followers);
    refusal_todo(&no, "end some of them, or ask without following");
    admin_refuse(q, &no);
    return false;
}

void admin_wake(struct admin_request *q)
{
    if (q->stream)
        resume(q);
}

/*----- the head, the body, the handler -----*/

static void refuse_stranger(struct admin_request *q)
{
    struct refusal no;

    refusal_what(&no, RC_DENIED, "user %u may not use the admin API", (unsigned)q->peer.uid);
    refusal_why(&no, "it is for root, roomkeyd's own user and the group " ADMIN_GROUP);
    refusal_todo(&no, "run as root, or join the group");
    admin_refuse(q, &no);
}

static void refuse_path(struct admin_request *q)
{
    bool method = q->miss == MHD_HTTP_METHOD_NOT_ALLOWED;
    struct refusal no;

    refusal_what(&no, RC_NOT_FOUND, "this call is refused");
    refusal_why(&no, method ? "the method is not one of this path" : "there is no such path");
    refusal_todo(&no, "see docs/ADMIN-API.md, and that roomkey and roomkeyd are of one version");
    admin_refuse_as(q, q->miss, &no);
}

static struct admin_request *request_new(struct admin *a, struct MHD_Connection *connection,
                                         const char *method, const char *url)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct admin_request *q = calloc(1, sizeof *q);

    if (!q || !info || !info->socket_context) {
        free(q);
        return NULL;
    }
    q->admin = a;
    q->connection = connection;
    q->peer = *(const struct admin_peer *)info->socket_context;
    q->route = admin_route_find(method, url, q->name, &q->miss);
    q->next = a->first;
    q->link = &a->first;
    if (q->next)
        q->next->link = &q->next;
    a->first = q;
    a->requests++;
    return q;
}

/* A body that is refused is still read to its end: a client that is cut off while it sends does
 * not look at the answer. */
static void take(struct admin_request *q, const char *data, size_t len)
{
    if (!q->route || q->response)
        return;
    if (q->route->upload)
        q->route->upload(q, data, len);
    else if (q->data.len <= ADMIN_BODY_MAX)
        admin_text_bytes(&q->data, data,
                         len > ADMIN_BODY_MAX + 1 - q->data.len ? ADMIN_BODY_MAX + 1 - q->data.len
                                                                : len);
}

static void handle(struct admin_request *q)
{
    struct refusal no;

    if (!q->route) {
        q->handled = true;
        refuse_path(q);
        return;
    }
    if (!q->route->upload &&
        admin_body_parse(q->data.p, q->data.len, q->route->takes, q->route->needs, &q->body, &no)) {
        q->handled = true;
        admin_refuse(q, &no);
        return;
    }
    if (strcmp(q->route->method, MHD_HTTP_METHOD_GET) != 0 && admin_held(q))
        return;
    q->handled = true;
    q->route->handle(q);
}

void admin_request_go_on(struct admin_request *q)
{
    if (!q->connection) {
        request_free(q);
        return;
    }
    q->handled = true;
    q->route->handle(q);
}

static enum MHD_Result queue(struct admin_request *q)
{
    enum MHD_Result r = MHD_queue_response(q->connection, q->status, q->response);

    MHD_destroy_response(q->response);
    q->response = NULL;
    return r;
}

enum MHD_Result admin_on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **slot)
{
    struct admin_request *q = *slot;

    (void)version;
    if (!q) {
        q = *slot = request_new(arg, connection, method, url);
        if (!q)
            return MHD_NO;
        if (q->peer.allowed)
            return MHD_YES;
        q->route = NULL;
        refuse_stranger(q);
        return queue(q); /* NOLINT(clang-analyzer-unix.Malloc): see below */
    }
    if (*size) {
        take(q, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (q->gone)
        return MHD_NO;
    if (!q->handled && !q->pending && !q->response)
        handle(q);
    /* An answer frees a request only when its client is gone, and this one is asking. */
    if (q->response) /* NOLINT(clang-analyzer-unix.Malloc) */
        return queue(q);
    CHECK(q->pending);
    suspend(q);
    return MHD_YES;
}
