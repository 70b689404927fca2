/* Where the time of a start goes on the ground "sandbox": medians of 50.
 *
 *   sandbox_start IMAGE [BALLAST_MIB]
 *
 * IMAGE prints a line at once when it is started (tests/guest/sandbox_guest does).
 * The ballast makes this process as large as a daemon with much to remember: what
 * a start costs should not depend on it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "orchestrator/backend/sandbox/sandbox.h"

#define ROUNDS  50
#define WARM_UP 5

enum { CALL, QUEUE, CLONE, MAPS, EXEC, STARTED, LINE, GONE, PHASES };

static const char *const names[PHASES] = {
    [CALL] = "start() itself: 9 channels made, on the loop",
    [QUEUE] = "handed to the launcher thread",
    [CLONE] = "clone3 with its namespaces",
    [MAPS] = "id maps, OOM score",
    [EXEC] = "child: descriptors, user, limits, seccomp, exec",
    [STARTED] = "start() to on_started, all of the above",
    [LINE] = "start() to the image's first line",
    [GONE] = "kill to on_exit",
};

struct round {
    uint64_t begun, called, started, line, killed, gone;
};

static struct round now_round;
static struct backend_instance *instance;
static int over;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_running(void *arg, const struct backend_steps *steps)
{
    (void)arg, (void)steps;
}

static void on_started(void *arg)
{
    (void)arg;
    now_round.started = now_ns();
}

static void on_console(void *arg, const char *line, size_t len)
{
    (void)arg, (void)line, (void)len;
    if (now_round.line)
        return;
    now_round.line = now_ns();
    now_round.killed = now_ns();
    backend_sandbox.kill(instance);
}

static void on_exit_(void *arg, const struct backend_exit *why)
{
    (void)arg;
    now_round.gone = now_ns();
    over = 1;
    if (!now_round.line) {
        fprintf(stderr, "sandbox_start: the image is gone without a word: %s\n", why->text);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double us(uint64_t from, uint64_t to)
{
    return to > from ? (double)(to - from) / 1000 : 0;
}

static double samples[PHASES][ROUNDS];

static void one_round(uv_loop_t *loop, struct backend *b, int image, int n)
{
    static const struct backend_events events = {on_running, on_started, on_exit_, on_console};
    static uint64_t id;
    struct backend_spec spec = {.instance = ++id,
                                .generation = 1,
                                .tenant = "serve",
                                .image_fd = image,
                                .memory = 16u << 20,
                                .channels = 8};
    const struct sandbox_launch *l;

    memset(&now_round, 0, sizeof now_round);
    over = 0;
    now_round.begun = now_ns();
    if (backend_sandbox.start(b, &spec, &events, NULL, &instance)) {
        fprintf(stderr, "sandbox_start: start failed\n");
        exit(1);
    }
    now_round.called = now_ns();
    while (!over)
        uv_run(loop, UV_RUN_ONCE);
    l = sandbox_launched(instance);
    if (n >= 0) {
        samples[CALL][n] = us(now_round.begun, now_round.called);
        samples[QUEUE][n] = us(now_round.called, l->at_begin);
        samples[CLONE][n] = us(l->at_begin, l->at_cloned);
        samples[MAPS][n] = us(l->at_cloned, l->at_mapped);
        samples[EXEC][n] = us(l->at_mapped, l->at_running);
        samples[STARTED][n] = us(now_round.begun, now_round.started);
        samples[LINE][n] = us(now_round.begun, now_round.line);
        samples[GONE][n] = us(now_round.killed, now_round.gone);
    }
    backend_sandbox.dispose(instance);
}

int main(int argc, char **argv)
{
    char why[BACKEND_TEXT_MAX], *ballast;
    size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    struct backend *b;
    uv_loop_t loop;
    int image;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: sandbox_start IMAGE [BALLAST_MIB]\n");
        return 2;
    }
    image = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (image < 0) {
        perror(argv[1]);
        return 1;
    }
    ballast = malloc((mib << 20) + 1);
    if (!ballast)
        return 1;
    memset(ballast, 1, mib << 20);
    if (uv_loop_init(&loop) || backend_sandbox.open(&loop, "/", &b, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (int n = -WARM_UP; n < ROUNDS; n++)
        one_round(&loop, b, image, n);
    backend_sandbox.close(b);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    close(image);
    free(ballast);

    printf("%-50s %8s %8s\n", "microseconds", "median", "p90");
    for (int p = 0; p < PHASES; p++) {
        qsort(samples[p], ROUNDS, sizeof samples[p][0], compare);
        printf("%-50s %8.0f %8.0f\n", names[p], samples[p][ROUNDS / 2],
               samples[p][ROUNDS * 9 / 10]);
    }
    return 0;
}
