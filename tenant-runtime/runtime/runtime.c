#include "tenant-runtime/runtime/runtime.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/fiber.h"
#include "common/core/launch.h"
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/channel.h"
#include "tenant-runtime/runtime/control.h"
#include "tenant-runtime/runtime/http.h"
#include "tenant-runtime/runtime/limits.h"
#include "tenant-runtime/runtime/timer.h"

struct runtime rt;

static bool stopping;
static struct timer stop_timer;

/*----- launch -----*/

static const char *argument(int argc, char **argv, const char *key)
{
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], key, strlen(key)) == 0)
            return argv[i] + strlen(key);
    return NULL;
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    uint64_t v;

    if (!text || !isdigit((unsigned char)*text))
        return false;
    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno || *end || v < min || v > max)
        return false;
    *out = v;
    return true;
}

static void share_memory(uint32_t kib)
{
    uint32_t connections = kib / 3, input = kib / 4, requests = kib - connections - input;

    rt.connections_max = connections / LIMIT_CONN_KIB;
    rt.input_max = (uint64_t)input * 1024;
    rt.requests_max = requests / LIMIT_REQUEST_KIB;
    if (rt.requests_max < LIMIT_REQUESTS_MIN)
        rt.requests_max = LIMIT_REQUESTS_MIN;
}

enum rc runtime_launch(int argc, char **argv)
{
    const char *tenant = argument(argc, argv, LAUNCH_ARG_TENANT);
    uint64_t generation, channels, memory;
    const char *missing = NULL;

    memset(&rt, 0, sizeof rt);
    rt.entered_ns = ground->clock_from_entry ? 0 : rk_now_ns();
    if (!tenant || !*tenant || strlen(tenant) >= sizeof rt.tenant)
        missing = LAUNCH_ARG_TENANT;
    else if (!number(argument(argc, argv, LAUNCH_ARG_GENERATION), 0, UINT64_MAX, &generation))
        missing = LAUNCH_ARG_GENERATION;
    else if (!number(argument(argc, argv, LAUNCH_ARG_CHANNELS), 1, LAUNCH_CHANNELS_MAX, &channels))
        missing = LAUNCH_ARG_CHANNELS;
    else if (!number(argument(argc, argv, LAUNCH_ARG_MEMORY), 1, UINT32_MAX, &memory))
        missing = LAUNCH_ARG_MEMORY;
    if (missing) {
        fprintf(stderr,
                "%s %s: the launch argument %s is missing or wrong: this is a Roomkey image, which "
                "roomkeyd starts: roomkey image add %s:%s FILE\n",
                rk_app_name, rk_app_version, missing, rk_app_name, rk_app_version);
        return RC_INVAL;
    }
    snprintf(rt.tenant, sizeof rt.tenant, "%s", tenant);
    rt.generation = generation;
    rt.channels = (unsigned)channels;
    rt.memory_kib = (uint32_t)memory;
    share_memory(memory > LIMIT_BASE_KIB ? (uint32_t)memory - LIMIT_BASE_KIB : 0);
    return RC_OK;
}

/*----- the life of the instance -----*/

enum rc runtime_open(void)
{
    enum rc rc = ground->open(rt.channels);

    if (rc)
        return rc;
    stopping = false;
    rc = control_open();
    return rc ? rc : channels_open(rt.channels);
}

enum rc runtime_start(void)
{
    char why[128];
    int r = rk_app.on_start ? rk_app.on_start() : 0;

    if (r != 0) {
        snprintf(why, sizeof why, "%s %s: on_start returned %d", rk_app_name, rk_app_version, r);
        control_failed(why);
        control_notify();
        return RC_FAILED;
    }
    control_ready((uint32_t)((rk_now_ns() - rt.entered_ns) / 1000));
    channels_notify();
    control_notify();
    return RC_OK;
}

static void on_stop_deadline(struct timer *t)
{
    (void)t;
    channels_drop();
}

/* STOP: let the requests in hand finish, up to its deadline less what the end
 * itself may take. */
static void begin_stop(uint64_t deadline_ns)
{
    uint64_t now = rk_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;

    stopping = true;
    stop_timer.fire = on_stop_deadline;
    timer_set(&stop_timer, now + left - left / 8);
    channels_stop();
}

bool runtime_step(void)
{
    bool any = control_poll();

    if (control_stop_ns() != TIMER_NEVER && !stopping)
        begin_stop(control_stop_ns());
    any |= channels_poll();
    any |= timer_run(rk_now_ns());
    any |= fiber_run_woken();
    any |= http_run();
    channels_notify();
    control_notify();
    return any;
}

void runtime_wait(void)
{
    if (control_want() || channels_want())
        return;
    ground->wait(timer_next());
}

enum rc runtime_verdict(void)
{
    enum rc rc = control_verdict();

    if (rc != RC_AGAIN)
        return rc;
    return stopping && rt.connections == 0 && fiber_count() == 0 ? RC_OK : RC_AGAIN;
}

void runtime_stop(void)
{
    channels_drop();
    while (fiber_run_woken() || http_run())
        ;
    timer_stop(&stop_timer);
    if (rk_app.on_stop)
        rk_app.on_stop();
    channels_close();
    control_close();
}
