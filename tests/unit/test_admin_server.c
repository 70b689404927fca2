/* The admin API over its socket, with a real registry and a fleet on a fake ground.
 *
 * Seen to fail: libmicrohttpd unescaping %00 (the tenant was removed), numbers up to 2^64; a doctor
 * without its stop, its rows, or its being alone (doctor_get.c); the listening socket with
 * libmicrohttpd (without a descriptor it spins, or sleeps until a follower goes). */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptors.h"
#include "fleet_house.h"
#include "orchestrator/admin/admin.h"
#include "orchestrator/admin/server.h"
#include "orchestrator/cert_store.h"
#include "orchestrator/image_store.h"

#define TURNS_MAX 100000 /* with a pause of 100 us: ten seconds, or more */
#define STRANGER  12345
#define TENANTS   150 /* more than two pages */

static const struct backend_ops *const no_grounds[] = {NULL};

struct desk {
    struct house *house;
    struct image_store *images;
    struct cert_store *certs;
    struct admin *admin;
    int client; /* -1: none */
    char answer[1 << 18];
    size_t len;
};

static void turn(struct desk *d)
{
    uv_run(&d->house->loop, UV_RUN_NOWAIT);
    house_settle(d->house);
}

#define until(d, condition)                                  \
    do {                                                     \
        for (int turns = 0; !(condition); turns++) {         \
            if (turns == TURNS_MAX)                          \
                fail_msg("it did not come: %s", #condition); \
            turn(d);                                         \
            usleep(100);                                     \
        }                                                    \
    } while (0)

static int set_up(void **state)
{
    struct desk *d = calloc(1, sizeof *d);
    struct refusal no;
    void *house;

    assert_non_null(d);
    assert_int_equal(house_set_up(&house), 0);
    d->house = house;
    d->client = -1;
    assert_int_equal(image_store_open(&d->house->loop, d->house->scratch.dir, &d->images, &no),
                     RC_OK);
    assert_int_equal(
        cert_store_open(&d->house->loop, d->house->scratch.dir, "/bin/false", &d->certs, &no),
        RC_OK);
    struct admin_house all = {
        .loop = &d->house->loop,
        .registry = d->house->registry,
        .images = d->images,
        .certs = d->certs,
        .fleet = d->house->fleet,
        .host = {.state_dir = d->house->scratch.dir,
                 .run_dir = d->house->scratch.dir,
                 .grounds = no_grounds},
    };
    assert_int_equal(admin_open(&all, &d->admin, &no), RC_OK);
    *state = d;
    return 0;
}

static void hang_up(struct desk *d)
{
    if (d->client >= 0)
        close(d->client);
    d->client = -1;
}

static int tear_down(void **state)
{
    struct desk *d = *state;
    void *house = d->house;

    admin_close(d->admin);
    turn(d);
    hang_up(d);
    image_store_close(d->images);
    cert_store_close(d->certs);
    free(d);
    return house_tear_down(&house);
}

/* Sends a request; what comes is taken by receive(). */
static void ask(struct desk *d, const char *method, const char *path, const char *body)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(body);
    char head[512];

    hang_up(d);
    d->len = 0;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/admin.sock", d->house->scratch.dir);
    d->client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(d->client, (struct sockaddr *)&address, sizeof address), 0);
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: roomkey\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     method, path, len);
    assert_int_equal(send(d->client, head, (size_t)n, 0), n);
    for (size_t sent = 0; sent < len;) {
        ssize_t r = send(d->client, body + sent, len - sent, MSG_NOSIGNAL);

        assert_true(r > 0 || errno == EAGAIN);
        sent += r > 0 ? (size_t)r : 0;
        turn(d);
    }
}

/* Turns the loop until the answer holds `words` (NULL: until it is over). */
static const char *receive(struct desk *d, const char *words)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        ssize_t n = recv(d->client, d->answer + d->len, sizeof d->answer - 1 - d->len, 0);

        if (n > 0)
            d->len += (size_t)n;
        d->answer[d->len] = '\0';
        if (words ? strstr(d->answer, words) != NULL : n == 0)
            return d->answer;
        turn(d);
        if (n < 0)
            usleep(100);
    }
    fail_msg("no answer with %s; so far: %s", words ? words : "an end", d->answer);
    return NULL;
}

static const char *call(struct desk *d, const char *method, const char *path, const char *body)
{
    ask(d, method, path, body);
    return receive(d, NULL);
}

static int status_of(const char *answer)
{
    return atoi(answer + strlen("HTTP/1.1 "));
}

/* The body, chunked or not, as JSON.  Chunks: sizes are dropped line by line. */
static json_t *json_of(const char *answer)
{
    char *body = strdup(strstr(answer, "\r\n\r\n") + 4), *out = body, *in = body;
    json_t *value;

    if (strstr(answer, "chunked")) {
        for (;;) {
            size_t n = strtoul(in, &in, 16);

            if (n == 0)
                break;
            memmove(out, in + 2, n);
            out += n;
            in += 2 + n + 2;
        }
        *out = '\0';
    }
    value = json_loads(body, 0, NULL);
    free(body);
    assert_non_null(value);
    return value;
}

static void status_and_metrics_are_answered(void **state)
{
    struct desk *d = *state;
    json_t *status = json_of(call(d, "GET", "/v1/status", ""));

    assert_int_equal(json_integer_value(json_object_get(status, "tenants")), 0);
    assert_true(json_is_string(json_object_get(status, "ground")));
    json_decref(status);
    const char *metrics = call(d, "GET", "/metrics", "");
    assert_non_null(strstr(metrics, "\nroomkey_wakes_total 0\n"));
    assert_non_null(strstr(metrics, "\nroomkey_front_handovers_total 0\n"));
    assert_non_null(strstr(metrics, "\nroomkey_instances{state=\"ready\"} 0\n"));
    assert_non_null(strstr(metrics, "{phase=\"wake\",le=\"+Inf\"} 0\n"));
}

static void what_is_no_call_is_refused_with_a_reason(void **state)
{
    struct desk *d = *state;

    assert_int_equal(status_of(call(d, "GET", "/", "")), 404);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/", "")), 404);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/a/b", "")), 404);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/a%2Fcerts", "")), 405);
    assert_int_equal(status_of(call(d, "DELETE", "/v1/status", "")), 405);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/nobody", "")), 404);
    assert_non_null(strstr(d->answer, "nobody"));
}

static void a_name_does_not_end_at_a_nul(void **state)
{
    struct desk *d = *state;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    assert_int_equal(status_of(call(d, "DELETE", "/v1/tenants/acme%00-old", "")), 404);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/acme", "")), 200);
}

/* SQLite's numbers have a sign: what is beyond them would be before all events. */
static void the_id_of_an_event_is_in_the_range_of_the_registry(void **state)
{
    struct desk *d = *state;

    assert_int_equal(status_of(call(d, "GET", "/v1/events?after=9223372036854775807", "")), 200);
    assert_int_equal(status_of(call(d, "GET", "/v1/events?after=9223372036854775808", "")), 400);
}

/* A refusal quotes what was asked for; it must still be JSON. */
static void what_is_no_text_is_refused_like_anything_else(void **state)
{
    struct desk *d = *state;

    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/%ff", "")), 404);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/%c2%9b31m", "")), 404);
    assert_non_null(strstr(d->answer, "no tenant ??31m")); /* U+009B begins an escape sequence */
    assert_int_equal(status_of(call(d, "GET", "/v1/images/%ff:1", "")), 404);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/a/logs?lines=%ff", "")), 400);
    assert_int_equal(status_of(call(d, "GET", "/v1/events?after=%ff", "")), 400);
    /* Cut within a character. */
    assert_int_equal(
        status_of(call(d, "GET",
                       "/v1/tenants/"
                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                       "%C3%A9",
                       "")),
        404);
}

static void bodies_are_checked_before_anything_happens(void **state)
{
    static char big[ADMIN_BODY_MAX + 100000];
    struct desk *d = *state;

    assert_int_equal(status_of(call(d, "POST", "/v1/tenants", "{\"nmae\":\"x\"}")), 400);
    assert_non_null(strstr(d->answer, "nmae"));
    assert_int_equal(status_of(call(d, "POST", "/v1/tenants", "{")), 400);
    assert_int_equal(status_of(call(d, "GET", "/v1/status", "{\"wait\":true}")), 400);
    memset(big, 'x', sizeof big - 1);
    assert_int_equal(status_of(call(d, "POST", "/v1/tenants", big)), 413);
    assert_int_equal(status_of(call(d, "GET", "/v1/events?after=x", "")), 400);
    assert_int_equal(status_of(call(d, "GET", "/v1/status", "")), 200);
}

static void an_image_is_refused_in_the_words_of_the_store(void **state)
{
    struct desk *d = *state;

    assert_int_equal(status_of(call(d, "PUT", "/v1/images/probe:1.0.0", "hello")), 400);
    assert_non_null(strstr(d->answer, "ELF"));
    assert_int_equal(status_of(call(d, "PUT", "/v1/images/probe:1.0.0", "")), 400);
    assert_int_equal(status_of(call(d, "PUT", "/v1/images/probe", "hello")), 400);
    assert_non_null(strstr(d->answer, "version"));
}

static void an_upload_that_breaks_off_leaves_nothing(void **state)
{
    struct desk *d = *state;
    const char *head = "PUT /v1/images/probe:1.0.0 HTTP/1.1\r\nHost: r\r\n"
                       "Content-Length: 100000\r\n\r\nhello";

    ask(d, "GET", "/v1/status", "");
    receive(d, NULL);
    hang_up(d);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/admin.sock", d->house->scratch.dir);
    d->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(d->client, (struct sockaddr *)&address, sizeof address), 0);
    assert_true(send(d->client, head, strlen(head), 0) > 0);
    until(d, d->admin->requests > 0);
    assert_int_equal(d->admin->requests, 1);
    hang_up(d);
    until(d, d->admin->requests == 0);
}

static void a_long_list_comes_whole_and_in_order(void **state)
{
    struct desk *d = *state;
    char name[32], before[32] = "";
    json_t *list, *tenant;
    size_t i;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    for (i = 0; i < TENANTS; i++) {
        snprintf(name, sizeof name, "t%03zu", i);
        house_tenant(d->house, name, "hello:1.0.0");
    }
    list = json_of(call(d, "GET", "/v1/tenants", ""));
    assert_int_equal(json_array_size(list), TENANTS);
    json_array_foreach(list, i, tenant)
    {
        const char *now = json_string_value(json_object_get(tenant, "name"));

        assert_true(strcmp(before, now) < 0);
        snprintf(before, sizeof before, "%s", now);
    }
    json_decref(list);
    list = json_of(call(d, "GET", "/v1/certs", ""));
    assert_true(json_is_array(list));
    json_decref(list);
}

static void a_tenant_is_shown_with_all_that_belongs_to_it(void **state)
{
    struct desk *d = *state;
    json_t *tenant;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    house_worker(d->house, 0);
    house_awake(d->house, 0, "acme.example");
    tenant = json_of(call(d, "GET", "/v1/tenants/acme", ""));
    assert_string_equal(json_string_value(json_object_get(tenant, "image")), "hello:1.0.0");
    assert_int_equal(json_array_size(json_object_get(tenant, "instances")), 1);
    assert_true(json_array_size(json_object_get(tenant, "events")) > 0);
    assert_true(json_is_null(json_object_get(tenant, "failed_image")));
    json_decref(tenant);
    assert_int_equal(status_of(call(d, "PATCH", "/v1/tenants/acme", "{\"idle_ms\":90000}")), 200);
    assert_int_equal(house_row(d->house, "acme").idle_ms, 90000);
}

static void a_follower_hears_of_events_and_is_forgotten_when_it_goes(void **state)
{
    struct desk *d = *state;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    ask(d, "GET", "/v1/events?follow=1", "");
    receive(d, "\r\n\r\n");
    assert_int_equal(registry_event(d->house->registry, NULL, "told", 1, "something new"), RC_OK);
    fleet_events_changed(d->house->fleet);
    receive(d, "something new");
    assert_int_equal(d->admin->requests, 1);
    hang_up(d);
    until(d, d->admin->requests == 0);
    fleet_events_changed(d->house->fleet);
}

/* Else nobody could ask for anything any more, and would not be told why. */
static void followers_leave_connections_for_others(void **state)
{
    struct desk *d = *state;
    int held[ADMIN_FOLLOWERS_MAX];

    for (unsigned i = 0; i < ADMIN_FOLLOWERS_MAX; i++) {
        ask(d, "GET", "/v1/events?follow=1", "");
        assert_int_equal(status_of(receive(d, "\r\n\r\n")), 200);
        held[i] = d->client;
        d->client = -1;
    }
    assert_int_equal(status_of(call(d, "GET", "/v1/events?follow=1", "")), 503);
    assert_non_null(strstr(d->answer, "follow"));
    assert_int_equal(status_of(call(d, "GET", "/v1/events", "")), 200);
    for (unsigned i = 0; i < ADMIN_FOLLOWERS_MAX; i++)
        close(held[i]);
    until(d, d->admin->requests == 0);
    ask(d, "GET", "/v1/events?follow=1", "");
    assert_int_equal(status_of(receive(d, "\r\n\r\n")), 200);
}

/* Seen to fail with the newest answered first, and with a newcomer that overtakes who waits. */
static void
changes_that_wait_for_the_registry_are_made_in_the_order_in_which_they_came(void **state)
{
    struct desk *d = *state;
    int waiting[3];
    char path[PATH_MAX], body[64];
    sqlite3 *other;
    json_t *row;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    snprintf(path, sizeof path, "%s/roomkey.db", d->house->scratch.dir);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(body, sizeof body, "{\"idle_ms\":%u000}", 11 + i);
        ask(d, "PATCH", "/v1/tenants/acme", body);
        waiting[i] = d->client;
        d->client = -1;
        until(d, d->admin->requests == i + 1);
    }
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(status_of(call(d, "PATCH", "/v1/tenants/acme", "{\"idle_ms\":14000}")), 200);
    for (unsigned i = 0; i < 3; i++) {
        hang_up(d);
        d->len = 0;
        d->client = waiting[i];
        assert_int_equal(status_of(receive(d, NULL)), 200);
        snprintf(body, sizeof body, "\"idle_ms\":%u000", 11 + i);
        assert_non_null(strstr(d->answer, body));
    }
    row = json_of(call(d, "GET", "/v1/tenants/acme", ""));
    assert_int_equal(json_integer_value(json_object_get(row, "idle_ms")), 14000);
    json_decref(row);
}

static void a_stop_is_answered_when_the_instance_has_stopped(void **state)
{
    struct desk *d = *state;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    assert_int_equal(status_of(call(d, "POST", "/v1/instances/acme/stop", "")), 200);
    house_worker(d->house, 0);
    house_awake(d->house, 0, "acme.example");
    ask(d, "POST", "/v1/instances/acme/stop", "");
    until(d, d->admin->requests && d->admin->first->suspended);
    assert_int_equal(recv(d->client, d->answer, 1, 0), -1);
    house_release_all(d->house);
    house_pass(d->house, 60000);
    assert_int_equal(status_of(receive(d, NULL)), 200);
    assert_int_equal(house_rows_alive(d->house), 0);
}

/* The tenant's own words are in the answer; one cut within a character must still be JSON. */
static void an_upgrade_that_failed_is_told_in_the_words_of_the_instance(void **state)
{
    struct desk *d = *state;
    char words[601] = "x";

    for (size_t n = 1; n < sizeof words; n += 2)
        memcpy(words + n, "\xc3\xa9", 2);
    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_image(d->house, "hello:2.0.0", FAKE_HANGS, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    house_worker(d->house, 0);
    house_awake(d->house, 0, "acme.example");
    house_pass(d->house, 10000); /* it is proved: there is something to go back to */
    ask(d, "POST", "/v1/tenants/acme/upgrade", "{\"image\":\"hello:2.0.0\",\"wait\":true}");
    until(d, fake_count(d->house->backend) >= 2);
    house_pass(d->house, 50);
    fake_say(fake_living(d->house->backend, "acme"), MUX_FAILED, words, sizeof words);
    assert_non_null(strstr(receive(d, NULL), "rolled back"));
}

static void a_client_that_goes_while_it_waits_loses_only_its_answer(void **state)
{
    struct desk *d = *state;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    house_worker(d->house, 0);
    house_awake(d->house, 0, "acme.example");
    ask(d, "DELETE", "/v1/tenants/acme", "");
    until(d, d->admin->requests && d->admin->first->suspended);
    hang_up(d);
    until(d, !d->admin->first);
    assert_int_equal(d->admin->requests, 1);
    house_release_all(d->house);
    house_pass(d->house, 60000);
    until(d, d->admin->requests == 0);
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/acme", "")), 404);
}

static void a_log_is_shown_from_its_end(void **state)
{
    struct desk *d = *state;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1);
    house_tenant(d->house, "acme", "hello:1.0.0");
    assert_int_equal(scratch_sh(&d->house->scratch, "mkdir -p logs; seq 1 5 > logs/acme.log.1;"
                                                    "seq 6 9 > logs/acme.log"),
                     0);
    assert_non_null(strstr(call(d, "GET", "/v1/tenants/acme/logs?lines=5", ""), "5\n6\n7\n8\n9\n"));
    assert_null(strstr(d->answer, "\n4\n"));
    assert_int_equal(status_of(call(d, "GET", "/v1/tenants/acme/logs?lines=0", "")), 400);
}

static void the_doctor_looks_without_holding_the_loop(void **state)
{
    struct desk *d = *state;
    json_t *checks = json_of(call(d, "GET", "/v1/doctor", ""));

    assert_true(json_array_size(checks) > 7);
    assert_true(json_is_string(json_object_get(json_array_get(checks, 0), "level")));
    json_decref(checks);
}

/* Rows and files are compared, not the files alone. */
static void the_doctor_tells_of_an_image_whose_file_is_gone(void **state)
{
    struct desk *d = *state;

    house_image(d->house, "hello:1.0.0", FAKE_READY, 1); /* a row only */
    call(d, "GET", "/v1/doctor", "");
    assert_non_null(strstr(d->answer, "of image hello:1.0.0 is gone: `roomkey image add` it"));
    assert_null(strstr(d->answer, "0 files"));
}

/* What takes hours to read, and no room. */
static void begin_a_long_look(struct desk *d)
{
    char hash[65] = "", path[PATH_MAX], there[PATH_MAX];
    bool open = false;

    memset(hash, 'a', 64);
    assert_int_equal(scratch_sh(&d->house->scratch, "truncate -s 1T images/sha256/%s", hash), 0);
    ask(d, "GET", "/v1/doctor", "");
    while (!open) {
        turn(d);
        for (int fd = 3; fd < 256 && !open; fd++) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(path, there, sizeof there - 1);

            there[n > 0 ? n : 0] = '\0';
            open = strstr(there, hash) != NULL;
        }
    }
}

/* They would fill libuv's pool, where starts and imports wait. */
static void a_second_doctor_is_told_that_one_is_at_work(void **state)
{
    struct desk *d = *state;
    int first;

    begin_a_long_look(d);
    first = d->client;
    d->client = -1;
    assert_int_equal(status_of(call(d, "GET", "/v1/doctor", "")), 503);
    assert_non_null(strstr(d->answer, "under way"));
    close(first);
    while (d->admin->looking)
        turn(d);
    assert_int_equal(scratch_sh(&d->house->scratch, "rm images/sha256/*"), 0);
    assert_int_equal(status_of(call(d, "GET", "/v1/doctor", "")), 200);
}

/* Else it runs into its deadline (CTest's): closing waits for the pool. */
static void a_close_ends_a_look_at_the_images(void **state)
{
    struct desk *d = *state;

    begin_a_long_look(d);
    d->admin->requests++; /* it stays, to be looked at */
    admin_close(d->admin);
    while (d->admin->looking)
        turn(d);
    d->admin->requests--;
    admin_unref(d->admin);
    d->admin = NULL;
}

static void one_that_answers_keeps_its_socket_and_a_dead_one_loses_it(void **state)
{
    struct desk *d = *state;
    struct refusal no;
    struct stat st;
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/admin.sock", d->house->scratch.dir);
    assert_int_equal(admin_listen(path, &fd, &no), RC_EXISTS);
    snprintf(path, sizeof path, "%s/dead.sock", d->house->scratch.dir);
    assert_int_equal(admin_listen(path, &fd, &no), RC_OK);
    close(fd);
    assert_int_equal(admin_listen(path, &fd, &no), RC_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    close(fd);
    snprintf(path, sizeof path, "%s/file", d->house->scratch.dir);
    assert_int_equal(scratch_sh(&d->house->scratch, "echo precious > file"), 0);
    assert_int_equal(admin_listen(path, &fd, &no), RC_IO);
    assert_int_equal(scratch_sh(&d->house->scratch, "grep precious file"), 0);
}

/* The file's mode is opened on purpose: the check must not rest on it alone. */
static void a_stranger_is_told_so_and_gets_nothing(void **state)
{
    struct desk *d = *state;
    bool stranger;

    if (geteuid() != 0) {
        print_message("SKIPPED: only root can be a stranger for a while\n");
        skip();
    }
    assert_int_equal(scratch_sh(&d->house->scratch, "chmod 0711 . && chmod 0666 admin.sock"), 0);
    assert_int_equal(seteuid(STRANGER), 0);
    ask(d, "GET", "/v1/status", "");
    stranger = geteuid() == STRANGER;
    assert_int_equal(seteuid(0), 0);
    assert_true(stranger);
    assert_int_equal(status_of(receive(d, NULL)), 403);
    assert_null(strstr(d->answer, "uptime"));
    assert_non_null(strstr(d->answer, "group roomkey"));
}

/* Its socket is there already when there is no descriptor for another. */
static void ask_without_a_descriptor(struct desk *d)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char request[] = "GET /v1/status HTTP/1.0\r\nHost: roomkey\r\n\r\n";
    rlim_t before;

    d->len = 0;
    d->client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/admin.sock", d->house->scratch.dir);
    before = descriptors_none();
    assert_int_equal(connect(d->client, (struct sockaddr *)&address, sizeof address), 0);
    assert_true(send(d->client, request, strlen(request), 0) > 0);
    for (int i = 0; i < 10; i++)
        turn(d);
    assert_sleeps(&d->house->loop);
    descriptors_back(before);
    assert_int_equal(status_of(receive(d, NULL)), 200);
}

static void without_a_descriptor_who_comes_waits_and_the_loop_sleeps(void **state)
{
    struct desk *d = *state;
    int follower;

    ask_without_a_descriptor(d);
    ask(d, "GET", "/v1/events?follow=1", "");
    receive(d, "\r\n\r\n");
    follower = d->client;
    ask_without_a_descriptor(d); /* and it need not go first */
    close(follower);
}

static void it_closes_under_a_follower(void **state)
{
    struct desk *d = *state;

    ask(d, "GET", "/v1/events?follow=1", "");
    receive(d, "\r\n\r\n");
    turn(d);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(status_and_metrics_are_answered),
        TEST(what_is_no_call_is_refused_with_a_reason),
        TEST(a_name_does_not_end_at_a_nul),
        TEST(the_id_of_an_event_is_in_the_range_of_the_registry),
        TEST(what_is_no_text_is_refused_like_anything_else),
        TEST(bodies_are_checked_before_anything_happens),
        TEST(an_image_is_refused_in_the_words_of_the_store),
        TEST(an_upload_that_breaks_off_leaves_nothing),
        TEST(a_long_list_comes_whole_and_in_order),
        TEST(a_tenant_is_shown_with_all_that_belongs_to_it),
        TEST(a_follower_hears_of_events_and_is_forgotten_when_it_goes),
        TEST(followers_leave_connections_for_others),
        TEST(changes_that_wait_for_the_registry_are_made_in_the_order_in_which_they_came),
        TEST(a_stop_is_answered_when_the_instance_has_stopped),
        TEST(an_upgrade_that_failed_is_told_in_the_words_of_the_instance),
        TEST(a_client_that_goes_while_it_waits_loses_only_its_answer),
        TEST(a_log_is_shown_from_its_end),
        TEST(the_doctor_looks_without_holding_the_loop),
        TEST(the_doctor_tells_of_an_image_whose_file_is_gone),
        TEST(a_second_doctor_is_told_that_one_is_at_work),
        TEST(a_close_ends_a_look_at_the_images),
        TEST(one_that_answers_keeps_its_socket_and_a_dead_one_loses_it),
        TEST(a_stranger_is_told_so_and_gets_nothing),
        TEST(without_a_descriptor_who_comes_waits_and_the_loop_sleeps),
        TEST(it_closes_under_a_follower),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
