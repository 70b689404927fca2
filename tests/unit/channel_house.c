#include "tests/unit/channel_house.h"

#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/include/roomkey/app.h"

struct house_app app;

/*----- the app -----*/

static int start(void)
{
    if (app.start_result)
        rk_log(RK_ERROR, "there is a reason");
    return app.start_result;
}

static void stop(void)
{
    app.stops++;
}

static bool health(void)
{
    return app.healthy;
}

static void serve(struct rk_request *req)
{
    static char block[50000], window[64308];
    const char *path = rk_path(req);

    if (strcmp(path, "/sleep") == 0) {
        if (rk_sleep(req, 60000) == RK_GONE)
            app.gone++;
        else
            rk_reply(req, 200, NULL, "slept", 5);
    } else if (strcmp(path, "/big") == 0) { /* 5,000,000 bytes, each its offset mod 50,000 */
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (char)('a' + i % 23);
        (void)rk_begin(req, 200, NULL, 5000000);
        for (int i = 0; i < 100; i++)
            if (rk_write(req, block, sizeof block)) {
                app.gone++;
                return;
            }
    } else if (strcmp(path, "/window") == 0) {
        /* Leaves 8 bytes of a TLS 1.3 connection's credit. */
        rk_reply(req, 200, NULL, window, sizeof window);
    } else if (strcmp(path, "/stuck") == 0) { /* the same, in the middle of its answer */
        (void)rk_begin(req, 200, NULL, sizeof window + 5);
        (void)rk_write(req, window, sizeof window);
        if (rk_sleep(req, 60000) == RK_GONE)
            app.gone++;
    } else if (strcmp(path, "/read") == 0) {
        while (rk_read(req, block, sizeof block) > 0)
            ;
        rk_reply(req, 200, NULL, "read", 4);
    } else if (strcmp(path, "/busy") == 0) {
        app.lease = rk_busy(5000);
        rk_reply(req, 200, NULL, "busy", 4);
    } else if (strcmp(path, "/log") == 0) {
        for (int i = 0; i < 1000; i++)
            rk_log(RK_INFO, "line %d of a flood of lines, each of them long enough to fill", i);
        rk_reply(req, 200, NULL, "logged", 6);
    } else {
        rk_reply(req, 200, NULL, "hello", 5);
    }
}

ROOMKEY_APP("tests", "1.0.0", .on_start = start, .on_stop = stop, .on_health = health,
            .on_request = serve);

/*----- fixture -----*/

int house_set_up(void **state)
{
    (void)state;
    app = (struct house_app){.healthy = true};
    assert_true(front_start());
    front_attach(0);
    front_attach(1);
    return 0;
}

int house_tear_down(void **state)
{
    (void)state;
    front_end();
    assert_int_equal(app.stops, 1);
    return 0;
}

bool house_served(struct front_client *c, const char *body)
{
    char *got = front_take(c);
    size_t len = strlen(got), n = strlen(body);
    bool is = len > n && strcmp(got + len - n, body) == 0 && strncmp(got, "HTTP/1.1 200", 12) == 0;

    free(got);
    return is;
}

struct front_client *house_sleeper(void)
{
    struct front_client *c = front_open(0, SUITE_13, NULL);

    front_send_text(c, GET("/sleep") GET("/"));
    return c;
}
