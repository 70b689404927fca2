#include "orchestrator/backend/xen/xen_child.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/host/fd.h"
#include "common/host/log.h"
#include "common/host/packet.h"
#include "orchestrator/backend/xen/xen.h"
#include "orchestrator/backend/xen/xen_event.h"

#define END_MS 5000 /* to leave by itself; and then to be gone when it was killed */

struct xen_child {
    uv_process_t process;
    uv_timer_t timer;
    struct packet packet;
    int socket; /* borrowed from `packet` */
    const struct xen_child_events *events;
    void *arg;
    const char *role;
    bool ending; /* the owner has let go */
    bool lost;   /* on_lost was called */
    bool exited, killed;
    bool packet_open;
    unsigned handles;
};

static void put(struct xen_child *c)
{
    if (--c->handles == 0)
        free(c);
}

static void on_closed(uv_handle_t *h)
{
    put(h->data);
}

static void on_packet_closed(struct packet *p)
{
    put(p->data);
}

/* After the owner's goodbye: everything goes when the process has. */
static void close_all(struct xen_child *c)
{
    uv_close((uv_handle_t *)&c->process, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void close_socket(struct xen_child *c)
{
    if (c->packet_open)
        packet_close(&c->packet);
    c->packet_open = false;
}

static void kill_it(struct xen_child *c)
{
    if (!c->exited && !c->killed)
        (void)uv_process_kill(&c->process, SIGKILL);
    c->killed = true;
}

static void lost(struct xen_child *c)
{
    if (c->ending || c->lost)
        return;
    c->lost = true;
    if (!c->exited) /* else that was said, and how */
        log_warning("roomkey-xen %s (process %d) has hung up: another one takes its place", c->role,
                    uv_process_get_pid(&c->process));
    close_socket(c);
    c->events->on_lost(c->arg); /* must be last */
}

/*----- its words -----*/

static void on_message(struct packet *p, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct xen_child *c = p->data;
    struct xen_event event;
    int none = -1;

    if (!xen_event_take(buf, len, &event)) {
        log_error("roomkey-xen %s: it sent what is no event: is it of another release?", c->role);
        lost(c); /* must be last */
        return;
    }
    c->events->on_event(c->arg, &event, nfds ? &fds[0] : &none); /* must be last */
}

static void on_lost(struct packet *p, enum rc why)
{
    (void)why;
    lost(p->data); /* must be last */
}

/*----- its end -----*/

static void on_late(uv_timer_t *timer)
{
    struct xen_child *c = timer->data;

    if (c->killed) {
        log_error("roomkey-xen %s (process %d) does not die: it hangs in the kernel", c->role,
                  uv_process_get_pid(&c->process));
        close_all(c);
        return;
    }
    kill_it(c);
    uv_timer_start(timer, on_late, END_MS, 0);
}

static void on_exit_(uv_process_t *process, int64_t status, int signal)
{
    struct xen_child *c = process->data;

    c->exited = true;
    if (c->ending) {
        if (!uv_is_closing((uv_handle_t *)&c->timer))
            close_all(c);
        return;
    }
    log_warning("roomkey-xen %s (process %d) ended: %s %" PRId64, c->role,
                uv_process_get_pid(process), signal ? "signal" : "exit status",
                signal ? (int64_t)signal : status);
    /* What it said before is read first: then on_lost() comes, even if a child of
     * it still holds the other end. */
    if (c->packet_open)
        (void)shutdown(c->socket, SHUT_RD);
}

void xen_child_end(struct xen_child *c, enum xen_child_how how)
{
    c->ending = true;
    close_socket(c);
    if (how == CHILD_KILLED)
        kill_it(c);
    if (c->exited)
        close_all(c);
    else
        uv_timer_start(&c->timer, on_late, END_MS, 0);
}

/*----- its start -----*/

static int spawn(struct xen_child *c, uv_loop_t *loop, char *path, int socket)
{
    char role[16];
    char *args[] = {path, role, NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
        {.flags = UV_INHERIT_FD, .data.fd = socket},
    };
    uv_process_options_t options = {
        .exit_cb = on_exit_,
        .file = path,
        .args = args,
        .stdio = stdio,
        .stdio_count = sizeof stdio / sizeof *stdio,
        /* A terminal's Ctrl-C is for roomkeyd, which ends it when it is time. */
        .flags = UV_PROCESS_DETACHED,
    };

    _Static_assert(sizeof stdio / sizeof *stdio == XEN_JOB_FD + 1, "its descriptor");
    strncpy(role, c->role, sizeof role - 1);
    role[sizeof role - 1] = '\0';
    return uv_spawn(loop, &c->process, &options);
}

enum rc xen_child_start(uv_loop_t *loop, const char *role, const struct xen_child_events *events,
                        void *arg, struct xen_child **out)
{
    static const struct packet_ops ops = {on_message, on_lost, on_packet_closed};
    struct xen_child *c;
    char path[PATH_MAX];
    int ends[2], r;
    enum rc rc = xen_program(path, sizeof path);

    if (rc)
        return rc;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        log_error("no socket for roomkey-xen %s: %s", role, strerror(errno));
        return RC_FULL;
    }
    c = calloc(1, sizeof *c);
    rc = RC_NOMEM;
    if (!c)
        goto out;
    c->role = role;
    c->events = events;
    c->arg = arg;
    c->process.data = c->timer.data = c;
    c->handles = 2;
    uv_timer_init(loop, &c->timer);
    r = spawn(c, loop, path, ends[1]);
    rc = r ? RC_IO : RC_OK;
    if (r) {
        log_error("%s does not start: %s; install it beside roomkeyd", path, uv_strerror(r));
        c->exited = true;
        xen_child_end(c, CHILD_KILLED);
        goto out;
    }
    c->socket = ends[0];
    c->handles++;
    c->packet_open = true;
    ends[0] = -1;
    if (packet_open(&c->packet, loop, c->socket, &ops, c)) {
        c->handles--;
        c->packet_open = false;
        rc = RC_IO;
        xen_child_end(c, CHILD_KILLED);
        goto out;
    }
    *out = c;

out:
    fd_close(&ends[0]);
    fd_close(&ends[1]);
    return rc;
}

enum rc xen_child_send(struct xen_child *c, const struct xen_job *job, int fd)
{
    if (!c->packet_open)
        return RC_CLOSED;
    return packet_send(&c->packet, job, sizeof *job, &fd, fd >= 0 ? 1 : 0);
}
