#include "tests/unit/xen_stage.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/host/fd.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 10000
#define BEAT_MS     5

static const struct backend_ops *const ops = &backend_xen;

/*----- puppets -----*/

static void on_closed(struct packet *packet)
{
    struct puppet *p = packet->data;

    TAILQ_REMOVE(&p->stage->puppets, p, entry);
    fd_close(&p->fd);
    free(p);
}

static void on_lost(struct packet *packet, enum rc why)
{
    struct puppet *p = packet->data;

    (void)why;
    p->gone = true;
    if (p->stage->watcher == p)
        p->stage->watcher = NULL;
    packet_close(packet);
}

static void on_watch_job(struct stage *s, const struct xen_job *job)
{
    if (job->type == XEN_JOB_WATCH) {
        assert_true(s->nr_watched < sizeof s->watched / sizeof *s->watched);
        s->watched[s->nr_watched++] = *job;
        return;
    }
    assert_int_equal(job->type, XEN_JOB_UNWATCH);
    for (size_t n = 0; n < s->nr_watched; n++)
        if (s->watched[n].domid == job->domid)
            s->watched[n--] = s->watched[--s->nr_watched];
}

static void on_message(struct packet *packet, const uint8_t *buf, size_t len, int *fds, size_t nfds)
{
    struct puppet *p = packet->data;
    struct stage *s = p->stage;
    struct xen_job job;

    if (!p->hello.pid) {
        assert_int_equal(len, sizeof p->hello);
        memcpy(&p->hello, buf, len);
        if (strcmp(p->hello.role, "watch") == 0) {
            s->watcher = p;
            s->watchers++;
            s->nr_watched = 0;
        }
        return;
    }
    assert_int_equal(len, sizeof job);
    memcpy(&job, buf, len);
    if (s->watcher == p) {
        on_watch_job(s, &job);
        return;
    }
    assert_int_equal(p->job.type, 0); /* one at a time */
    p->job = job;
    if (nfds) {
        p->fd = fds[0];
        fds[0] = -1;
    }
    /* By age. */
    TAILQ_REMOVE(&s->puppets, p, entry);
    TAILQ_INSERT_TAIL(&s->puppets, p, entry);
    if (job.type == XEN_JOB_DESTROY && s->generous)
        puppet_answer(p, RC_OK, "", 0, -1);
    else if (s->closing)
        puppet_answer(p, RC_FAILED, "", 0, -1);
}

static void on_door(uv_poll_t *poll, int status, int events)
{
    static const struct packet_ops packet_ops = {on_message, on_lost, on_closed};
    struct stage *s = poll->data;
    struct puppet *p = calloc(1, sizeof *p);
    int fd = accept4(s->door_fd, NULL, NULL, SOCK_CLOEXEC);

    (void)status, (void)events;
    assert_non_null(p);
    assert_true(fd >= 0);
    p->stage = s;
    p->fd = -1;
    assert_int_equal(packet_open(&p->packet, &s->loop, fd, &packet_ops, p), RC_OK);
    TAILQ_INSERT_TAIL(&s->puppets, p, entry);
}

static void send_answer(struct puppet *p, struct xen_event *event, int fd)
{
    assert_int_not_equal(p->job.type, 0);
    event->type = XEN_DONE;
    event->token = p->job.token;
    p->job.type = 0;
    fd_close(&p->fd);
    assert_int_equal(packet_send(&p->packet, event, sizeof *event, &fd, fd >= 0 ? 1 : 0), RC_OK);
}

void puppet_answer(struct puppet *p, enum rc rc, const char *text, uint32_t domid, int fd)
{
    struct xen_event event = {.rc = (uint16_t)rc, .domid = domid};

    snprintf(event.text, sizeof event.text, "%s", text);
    send_answer(p, &event, fd);
}

void puppet_keeps(struct puppet *p, uint64_t kib)
{
    struct xen_event event = {.rc = RC_OK, .domid = 5, .memory_kib = kib};

    send_answer(p, &event, -1);
}

void puppet_dies(struct puppet *p)
{
    assert_int_equal(kill(p->hello.pid, SIGKILL), 0);
    p->job.type = 0;
}

void puppet_babbles(struct puppet *p)
{
    p->job.type = 0;
    assert_int_equal(packet_send(&p->packet, "hello", 5, NULL, 0), RC_OK);
}

/*----- the stage -----*/

static void on_beat(uv_timer_t *t)
{
    struct stage *s = t->data;

    s->waited_ms += BEAT_MS;
    if (s->waited_ms > DEADLINE_MS)
        fail_msg("what was waited for did not come within %d ms", DEADLINE_MS);
}

void stage_init(struct stage *s)
{
    const struct xen_event none = {.type = XEN_DONE};

    memset(s, 0, sizeof *s);
    strcpy(s->dir, "/tmp/roomkey-stage-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->socket, sizeof s->socket, "%s/socket", s->dir);
    snprintf(s->found, sizeof s->found, "%s/found", s->dir);
    TAILQ_INIT(&s->puppets);
    xen_settings_init(&s->settings);
    s->settings.pool_delay_ms = 0;
    snprintf(s->settings.program, sizeof s->settings.program, "%s", XEN_PUPPET);
    s->generous = true;
    stage_found(s, &none, 0);
}

void stage_found(struct stage *s, const struct xen_event *events, size_t n)
{
    const struct xen_event done = {.type = XEN_DONE};
    FILE *f = fopen(s->found, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(events, sizeof *events, n, f), n);
    assert_int_equal(fwrite(&done, sizeof done, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static void open_door(struct stage *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    strcpy(at.sun_path, s->socket);
    unlink(s->socket);
    s->door_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(s->door_fd >= 0);
    assert_int_equal(bind(s->door_fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->door_fd, 64), 0);
    assert_int_equal(uv_poll_init(&s->loop, &s->door, s->door_fd), 0);
    s->door.data = s;
    assert_int_equal(uv_poll_start(&s->door, UV_READABLE, on_door), 0);
}

void stage_open(struct stage *s)
{
    char why[BACKEND_TEXT_MAX];
    enum rc rc;

    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->beat);
    s->beat.data = s;
    open_door(s);
    setenv("XEN_PUPPET_SOCKET", s->socket, 1);
    setenv("XEN_PUPPET_FOUND", s->found, 1);
    xen_configure(&s->settings);
    rc = ops->open(&s->loop, s->dir, &s->backend, why, sizeof why);
    if (rc)
        fail_msg("open: %s: %s", rc_text(rc), why);
    s->closed = s->closing = false;
}

void stage_turn(struct stage *s)
{
    uv_timer_start(&s->beat, on_beat, BEAT_MS, BEAT_MS);
    uv_run(&s->loop, UV_RUN_ONCE);
    uv_timer_stop(&s->beat);
}

void stage_close(struct stage *s)
{
    struct puppet *p, *after;

    s->generous = s->closing = true;
    for (p = TAILQ_FIRST(&s->puppets); p; p = after) {
        after = TAILQ_NEXT(p, entry);
        if (p->job.type)
            puppet_answer(p, p->job.type == XEN_JOB_DESTROY ? RC_OK : RC_FAILED, "", 0, -1);
    }
    ops->close(s->backend);
    stage_ends(s);
}

void stage_ends(struct stage *s)
{
    stage_until(s, TAILQ_EMPTY(&s->puppets));
    uv_close((uv_handle_t *)&s->door, NULL);
    uv_close((uv_handle_t *)&s->beat, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    close(s->door_fd);
    s->closed = true;
}

int stage_set_up(void **state)
{
    struct stage *s = calloc(1, sizeof *s);

    assert_non_null(s);
    stage_init(s);
    stage_open(s);
    *state = s;
    return 0;
}

int stage_tear_down(void **state)
{
    struct stage *s = *state;
    char command[128];

    for (size_t n = 0; n < sizeof s->living / sizeof *s->living; n++)
        if (s->living[n])
            ops->dispose(s->living[n]); /* the test has failed */
    if (!s->closed)
        stage_close(s);
    snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
    assert_int_equal(system(command), 0);
    free(s);
    return 0;
}

/*----- jobs -----*/

static struct puppet *find(struct stage *s, enum xen_job_type type)
{
    struct puppet *p;

    TAILQ_FOREACH(p, &s->puppets, entry)
    if (!p->gone && p->job.type == type)
        return p;
    return NULL;
}

struct puppet *stage_job(struct stage *s, enum xen_job_type type)
{
    stage_until(s, find(s, type));
    return find(s, type);
}

unsigned stage_jobs(struct stage *s)
{
    struct puppet *p;
    unsigned n = 0;

    TAILQ_FOREACH(p, &s->puppets, entry)
    n += !p->gone && p->job.type;
    return n;
}

unsigned stage_count(struct stage *s, enum xen_job_type type)
{
    struct puppet *p;
    unsigned n = 0;

    TAILQ_FOREACH(p, &s->puppets, entry)
    n += !p->gone && p->job.type == type;
    return n;
}

static const struct xen_job *watched(const struct stage *s, uint32_t domid)
{
    for (size_t n = 0; n < s->nr_watched; n++)
        if (s->watched[n].domid == domid)
            return &s->watched[n];
    return NULL;
}

bool stage_watches(const struct stage *s, uint32_t domid)
{
    return s->watcher && watched(s, domid);
}

const struct xen_job *stage_watched(struct stage *s, uint32_t domid)
{
    stage_until(s, stage_watches(s, domid));
    return watched(s, domid);
}

void stage_tell(struct stage *s, const struct xen_event *event)
{
    struct xen_event e = *event;

    e.token = stage_watched(s, e.domid)->token;
    assert_int_equal(packet_send(&s->watcher->packet, &e, sizeof e, NULL, 0), RC_OK);
}

void stage_publish(struct stage *s, uint32_t domid, unsigned channels)
{
    struct xen_event e = {.type = XEN_PUBLISHED, .domid = domid, .channels = channels};

    for (unsigned n = 0; n <= channels; n++)
        e.vchan[n] = (struct xen_vchan){.ring_ref = 8 + n, .port = 3 + n};
    stage_tell(s, &e);
}

void stage_shut(struct stage *s, uint32_t domid, unsigned reason, int status)
{
    const struct xen_event e = {.type = XEN_SHUTDOWN,
                                .domid = domid,
                                .shutdown = 1,
                                .reason = (uint8_t)reason,
                                .status = status};

    stage_tell(s, &e);
}

void stage_vanish(struct stage *s, uint32_t domid)
{
    const struct xen_event e = {.type = XEN_GONE, .domid = domid};

    stage_tell(s, &e);
}

/*----- instances -----*/

static void on_running(void *arg, const struct backend_steps *steps)
{
    struct act *a = arg;

    assert_false(a->in_call);
    assert_int_equal(a->started + a->exited, 0);
    a->running++;
    a->steps = *steps;
}

static void on_started(void *arg)
{
    struct act *a = arg;

    assert_false(a->in_call);
    assert_true(a->running == 1 && a->exited == 0);
    a->started++;
}

static void on_exit_(void *arg, const struct backend_exit *why)
{
    struct act *a = arg;

    assert_false(a->in_call);
    a->exited++;
    a->why = *why;
}

static void on_console(void *arg, const char *line, size_t len)
{
    struct act *a = arg;

    assert_int_equal(a->exited, 0);
    a->lines++;
    snprintf(a->line, sizeof a->line, "%.*s", (int)len, line);
}

const struct backend_events act_events = {on_running, on_started, on_exit_, on_console};

int stage_image(struct stage *s, int n)
{
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/image-%d", s->dir, n);
    fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0511);
    assert_true(fd >= 0);
    return fd;
}

void stage_note(struct stage *s, struct backend_instance *i)
{
    size_t n = 0;

    while (s->living[n])
        assert_true(++n < sizeof s->living / sizeof *s->living);
    s->living[n] = i;
}

void act_start(struct act *a, struct stage *s, const char *tenant, int image)
{
    static uint64_t id;
    struct backend_spec spec = {.instance = ++id,
                                .generation = 7,
                                .tenant = tenant,
                                .image_fd = stage_image(s, image),
                                .memory = 16u << 20,
                                .channels = 2};

    memset(a, 0, sizeof *a);
    a->stage = s;
    a->console[0] = a->console[1] = -1;
    a->in_call = true;
    assert_int_equal(ops->start(s->backend, &spec, &act_events, a, &a->instance), RC_OK);
    a->in_call = false;
    close(spec.image_fd);
    stage_note(s, a->instance);
}

void act_create(struct act *a, uint32_t domid)
{
    struct puppet *p = stage_job(a->stage, XEN_JOB_CREATE);

    assert_int_equal(pipe2(a->console, O_CLOEXEC), 0);
    puppet_answer(p, RC_OK, "", domid, a->console[0]);
    fd_close(&a->console[0]);
}

void act_launch(struct act *a, uint32_t domid)
{
    puppet_answer(stage_job(a->stage, XEN_JOB_LAUNCH), RC_OK, "", domid, -1);
    stage_publish(a->stage, domid, 2);
    stage_until(a->stage, a->started);
}

void act_run(struct act *a, struct stage *s, const char *tenant, uint32_t domid)
{
    act_start(a, s, tenant, 1);
    act_create(a, domid);
    act_launch(a, domid);
}

void act_kill(struct act *a)
{
    a->in_call = true;
    ops->kill(a->instance);
    a->in_call = false;
}

void act_end(struct act *a)
{
    act_kill(a);
    stage_until(a->stage, a->exited);
    act_dispose(a);
}

void act_dispose(struct act *a)
{
    for (size_t n = 0; n < sizeof a->stage->living / sizeof *a->stage->living; n++)
        if (a->stage->living[n] == a->instance)
            a->stage->living[n] = NULL;
    ops->dispose(a->instance);
    a->instance = NULL;
    fd_close(&a->console[1]);
}
