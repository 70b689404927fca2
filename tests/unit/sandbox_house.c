#include "tests/unit/sandbox_house.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#define DEADLINE_MS 10000

static const struct backend_ops *const ops = &backend_sandbox;

static void on_deadline(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %d ms", DEADLINE_MS);
}

static void open_backend(struct house *h)
{
    char why[BACKEND_TEXT_MAX];
    enum rc rc;

    assert_int_equal(uv_loop_init(&h->loop), 0);
    uv_timer_init(&h->loop, &h->deadline);
    rc = ops->open(&h->loop, h->state, &h->backend, why, sizeof why);
    if (rc)
        fail_msg("open: %s: %s", rc_text(rc), why);
}

void house_open(struct house *h)
{
    if (geteuid() != 0)
        fail_msg("the tests of the ground \"sandbox\" must run as root: use sudo");
    memset(h, 0, sizeof *h);
    snprintf(h->image, sizeof h->image, "%s", SANDBOX_GUEST);
    strcpy(h->state, "/tmp/roomkey-sandbox-XXXXXX");
    assert_non_null(mkdtemp(h->state));
    open_backend(h);
}

void house_open_again(struct house *h, const struct house *first)
{
    memset(h, 0, sizeof *h);
    strcpy(h->image, first->image);
    strcpy(h->state, first->state);
    open_backend(h);
}

void house_leave(struct house *h)
{
    ops->close(h->backend);
    uv_close((uv_handle_t *)&h->deadline, NULL);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
}

int house_set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);

    assert_non_null(h);
    house_open(h);
    *state = h;
    return 0;
}

int house_tear_down(void **state)
{
    struct house *h = *state;

    while (h->guests) {
        ops->kill(h->guests->instance);
        guest_dispose(h->guests);
    }
    house_close(h);
    free(h);
    return 0;
}

void house_close(struct house *h)
{
    house_leave(h);
    if (!strncmp(h->image, h->state, strlen(h->state)))
        assert_int_equal(unlink(h->image), 0);
    assert_int_equal(rmdir(h->state), 0);
}

void house_move_image(struct house *h)
{
    char buf[65536];
    int from = open(h->image, O_RDONLY | O_CLOEXEC), to;
    ssize_t n;

    snprintf(h->image, sizeof h->image, "%s/image", h->state);
    to = open(h->image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0511);
    assert_true(from >= 0 && to >= 0);
    while ((n = read(from, buf, sizeof buf)) > 0)
        assert_int_equal(write(to, buf, (size_t)n), n);
    close(from);
    close(to);
}

static void on_running(void *arg, const struct backend_steps *steps)
{
    struct guest *g = arg;

    (void)steps;
    assert_false(g->in_call);
    assert_int_equal(g->exited, 0);
    g->running++;
}

static void on_started(void *arg)
{
    struct guest *g = arg;

    assert_false(g->in_call);
    assert_true(g->running == 1 && g->exited == 0);
    g->started++;
}

static void on_exit_(void *arg, const struct backend_exit *why)
{
    struct guest *g = arg;

    assert_false(g->in_call);
    g->why = *why;
    g->exited++;
}

static void on_console(void *arg, const char *line, size_t len)
{
    struct guest *g = arg;

    assert_int_equal(g->exited, 0);
    g->lines++;
    if (g->console_len + len + 2 > sizeof g->console)
        return;
    memcpy(g->console + g->console_len, line, len);
    g->console_len += len;
    g->console[g->console_len++] = '\n';
    g->console[g->console_len] = 0;
}

static const struct backend_events events = {on_running, on_started, on_exit_, on_console};

static void enter(struct guest *g)
{
    g->next = g->house->guests;
    g->house->guests = g;
}

void guest_start_fd(struct guest *g, struct house *h, const char *act, unsigned channels,
                    int image_fd)
{
    struct backend_spec spec = {.generation = 7,
                                .tenant = act,
                                .image_fd = image_fd,
                                .memory = 16u << 20,
                                .channels = channels};
    static uint64_t id;

    memset(g, 0, sizeof *g);
    g->house = h;
    g->in_call = true;
    spec.instance = ++id;
    assert_int_equal(ops->start(h->backend, &spec, &events, g, &g->instance), RC_OK);
    g->in_call = false;
    enter(g);
}

void guest_start(struct guest *g, struct house *h, const char *act, unsigned channels)
{
    int fd = open(h->image, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    guest_start_fd(g, h, act, channels, fd);
    close(fd);
}

enum rc guest_adopt(struct guest *g, struct house *h, const struct backend_handle *handle,
                    unsigned channels)
{
    enum rc rc;

    memset(g, 0, sizeof *g);
    g->house = h;
    g->in_call = true;
    rc = ops->adopt(h->backend, handle, channels, &events, g, &g->instance);
    g->in_call = false;
    if (rc == RC_OK)
        enter(g);
    return rc;
}

bool guest_said(const struct guest *g, const char *line)
{
    char whole[512];

    snprintf(whole, sizeof whole, "%s\n", line);
    for (const char *p = g->console; (p = strstr(p, whole)); p++)
        if (p == g->console || p[-1] == '\n')
            return true;
    return false;
}

static void run_once(struct house *h)
{
    uv_timer_start(&h->deadline, on_deadline, DEADLINE_MS, 0);
    uv_run(&h->loop, UV_RUN_ONCE);
    uv_timer_stop(&h->deadline);
}

void guest_wait_exit(struct guest *g)
{
    while (!g->exited)
        run_once(g->house);
}

void guest_wait_line(struct guest *g, const char *line)
{
    while (!guest_said(g, line)) {
        if (g->exited)
            fail_msg("%s, and said: %s", g->why.text, g->console);
        run_once(g->house);
    }
}

void guest_dispose(struct guest *g)
{
    struct guest **at = &g->house->guests;

    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    ops->dispose(g->instance);
    g->instance = NULL;
}

void guest_run(struct guest *g, struct house *h, const char *act, unsigned channels)
{
    guest_start(g, h, act, channels);
    guest_wait_exit(g);
    assert_int_equal(g->exited, 1);
    guest_dispose(g);
}
