/* One screen: what an operator looks at first. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/show.h"
#include "cli/text.h"

static long long number(const json_t *status, const char *member)
{
    return (long long)json_number(status, member);
}

/* Quantiles come in microseconds; absent while nothing was woken. */
static void show_wakes(const json_t *status)
{
    show_field("wakes", "%lld, of them %lld slow, %lld failed, %lld rolled back",
               number(status, "wakes"), number(status, "slow_wakes"),
               number(status, "failed_wakes"), number(status, "rollbacks"));
    if (number(status, "wake_p50_us"))
        show_field("wake time", "half within %.1f ms, 99 %% within %.1f ms",
                   (double)number(status, "wake_p50_us") / 1000,
                   (double)number(status, "wake_p99_us") / 1000);
}

static void show_status(const json_t *answer)
{
    char uptime[TEXT_SIZE], memory[TEXT_SIZE];

    printf("roomkeyd %s on ground %s, up %s\n", json_text(answer, "version"),
           json_text(answer, "ground"), text_duration(json_number(answer, "uptime_ms"), uptime));
    show_field("tenants", "%lld, %lld suspended", number(answer, "tenants"),
               number(answer, "suspended"));
    show_field("images", "%lld", number(answer, "images"));
    show_field("instances", "%lld: %lld ready, %lld starting, %lld draining or stopping",
               number(answer, "instances"), number(answer, "ready"), number(answer, "starting"),
               number(answer, "ending"));
    show_field("memory", "%s in instances",
               text_size(json_number(answer, "instance_memory"), memory));
    show_wakes(answer);
    show_field("idle reaps", "%lld", number(answer, "reaps"));
    show_field("crashes", "%lld", number(answer, "crashes"));
    show_field("front", "%lld workers, %lld connections", number(answer, "workers"),
               number(answer, "connections"));
}

static int status(struct call *c)
{
    return show_get(c, "/v1/status", show_status);
}

const struct command status_commands[] = {
    {"", {NULL}, "one screen: tenants, running, memory, wakes", NULL, status},
    {NULL, {NULL}, NULL, NULL, NULL},
};
