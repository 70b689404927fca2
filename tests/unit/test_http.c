/* HTTP, through the whole runtime: requests in as records on a ring, answers out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenant-runtime/include/roomkey/app.h"
#include "tests/unit/fake_front.h"
#include "tests/unit/unit.h"

#define SUITE 0x1301

/*----- the app -----*/

static void serve_echo(struct rk_request *req)
{
    char buf[1000];
    ptrdiff_t n;

    if (rk_begin(req, 200, "text/plain", rk_length(req)))
        return;
    while ((n = rk_read(req, buf, sizeof buf)) > 0)
        if (rk_write(req, buf, (size_t)n))
            return;
}

static void serve(struct rk_request *req)
{
    const char *path = rk_path(req);

    if (strcmp(path, "/echo") == 0)
        serve_echo(req);
    else if (strcmp(path, "/nothing") == 0)
        return;
    else if (strcmp(path, "/short") == 0)
        (void)rk_begin(req, 200, NULL, 10);
    else if (strcmp(path, "/stream") == 0) {
        (void)rk_begin(req, 200, "text/plain", -1);
        (void)rk_write(req, "one", 3);
        (void)rk_sleep(req, 1000);
        (void)rk_write(req, "two", 3);
    } else
        (void)rk_replyf(req, 200, "text/plain", "%s %s ?%s @%s", rk_method(req), path,
                        rk_query(req), rk_host(req));
}

ROOMKEY_APP("tests", "1.0.0", .on_request = serve, .max_body = 100000);

/*----- one request, one answer -----*/

struct row {
    const char *request;
    int status;
    const char *has; /* in the answer */
    bool closes;
};

#define HOST "Host: acme.example\r\n"

static const struct row rows[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET / ? @acme.example", false},
};

static void check_row(const struct row *row, size_t cut)
{
    struct front_client *c = front_open(0, SUITE, NULL);
    size_t len = strlen(row->request);
    int status = 0;

    for (size_t at = 0; at < len; at += cut) {
        front_send(c, row->request + at, len - at < cut ? len - at : cut);
        front_pump();
    }
    sscanf(c->got, "HTTP/1.1 %d", &status);
    if (status != row->status || !strstr(c->got, row->has) || c->closed != row->closes)
        print_error("request:\n%s\nanswer (cut %zu, %s):\n%s\n", row->request, cut,
                    c->closed ? "closed" : "open", c->got);
    assert_int_equal(status, row->status);
    assert_non_null(strstr(c->got, row->has));
    assert_int_equal(c->closed, row->closes);
    front_reset(c);
}

static void each_request_gets_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        front_start();
        front_attach(0);
        check_row(&rows[i], 1 << 20);
        check_row(&rows[i], 1);
        check_row(&rows[i], 7);
        front_end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_gets_its_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
