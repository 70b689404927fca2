/* The app probe, as it is in its image, through the whole runtime. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_front.h"
#include "tests/unit/unit.h"

#define HOST "Host: acme.example\r\n"

static struct front_client *client;

static int setup(void **state)
{
    (void)state;
    assert_true(front_start());
    front_attach(0);
    client = front_open(0, 0x1302, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    front_end();
    return 0;
}

/* What comes behind the head of the one answer so far; `len` bytes of it. */
static const char *body(size_t *len)
{
    const char *p = strstr(client->got, "\r\n\r\n");

    assert_non_null(p);
    *len = client->got_len - (size_t)(p + 4 - client->got);
    return p + 4;
}

static void expect(const char *request, const char *head, const char *text)
{
    const char *p;
    size_t len;

    front_send_text(client, request);
    if (strncmp(client->got, head, strlen(head)) != 0)
        print_error("%s\n%s\n", request, client->got);
    assert_memory_equal(client->got, head, strlen(head));
    p = body(&len);
    if (text)
        assert_string_equal(p, text);
    free(front_take(client));
}

static void it_tells_its_version(void **state)
{
    (void)state;
    expect("GET /version HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ", "1.0.0\n");
    expect("HEAD /version HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ", "");
    expect("GET /version?x HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ", "1.0.0\n");
}

static void bytes_are_what_they_should_be(void **state)
{
    static const size_t sizes[] = {0, 1, 250, 251, 252, 65510, 65511, 65512, 1000003};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char request[100], *got;
        const char *p;
        size_t len;

        snprintf(request, sizeof request, "GET /bytes/%zu HTTP/1.1\r\n" HOST "\r\n", sizes[i]);
        front_send_text(client, request);
        p = body(&len);
        assert_int_equal(len, sizes[i]);
        for (size_t n = 0; n < len; n++)
            assert_int_equal((uint8_t)p[n], (n * 31 + 7) % 251);
        got = front_take(client);
        free(got);
    }
}

static void a_number_that_is_none_is_400(void **state)
{
    static const char *const bad[] = {"/bytes/",
                                      "/bytes/x",
                                      "/bytes/-1",
                                      "/bytes/1x",
                                      "/bytes/1099511627777",
                                      "/sleep/",
                                      "/busy/a",
                                      "/bytes/99999999999999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char request[100];

        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
        expect(request, "HTTP/1.1 400 ", NULL);
    }
    expect("HEAD /bytes/1099511627776 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ", "");
}

static void other_paths_are_404_and_other_methods_405(void **state)
{
    (void)state;
    expect("GET / HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 ", NULL);
    expect("GET /versions HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 ", NULL);
    expect("GET /echo HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 405 ", "");
    expect("DELETE /version HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 405 ", "");
}

static void a_digest_is_of_the_body_however_it_is_framed(void **state)
{
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    static const char nothing[] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

    (void)state;
    expect("POST /sha256 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", "HTTP/1.1 200 ", abc);
    expect("POST /sha256 HTTP/1.1\r\n" HOST
           "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
           "HTTP/1.1 200 ", abc);
    expect("POST /sha256 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ", nothing);
}

static void echo_keeps_the_length_that_is_known(void **state)
{
    (void)state;
    front_send_text(client, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
    assert_non_null(strstr(client->got, "Content-Length: 3\r\n"));
    assert_non_null(strstr(client->got, "\r\n\r\nabc"));
    free(front_take(client));
    front_send_text(client, "POST /echo HTTP/1.1\r\n" HOST
                            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_non_null(strstr(client->got, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(client->got, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
}

static void sleep_answers_when_it_is_over(void **state)
{
    (void)state;
    front_send_text(client, "GET /sleep/1500 HTTP/1.1\r\n" HOST "\r\n");
    front_sleep(1499);
    assert_int_equal(client->got_len, 0);
    front_sleep(1);
    expect("", "HTTP/1.1 200 ", "slept 1500 ms\n");
}

static void busy_holds_a_lease(void **state)
{
    (void)state;
    expect("GET /busy/2000 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ", "busy for 2000 ms\n");
    front_health(1);
    assert_int_equal(front_said.last_health.leases, 1);
    front_sleep(2000);
    assert_int_equal(front_said.last_health.leases, 0);
}

static void edit(struct handover *h)
{
    strcpy(h->client_addr, "\"\\<\x01\xff");
    strcpy(h->alpn, "");
    h->resumed = true;
    h->times.handshake_us = 77;
}

static void the_handover_is_json_with_what_is_hostile_escaped(void **state)
{
    (void)state;
    client = front_open(0, 0xcca9, edit);
    expect("GET /handover HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 200 ",
           "{\"tls_version\":\"TLSv1.2\","
           "\"suite\":\"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\","
           "\"sni\":\"acme.example\",\"alpn\":\"\","
           "\"client_addr\":\"\\u0022\\u005c<\\u0001\\u00ff\",\"client_port\":4711,"
           "\"resumed\":true,\"woken\":false,\"times\":{\"hello_unix_ms\":0,\"route_us\":0,"
           "\"boot_asked_us\":0,\"boot_done_us\":0,\"handshake_us\":77,\"handover_us\":0,"
           "\"first_byte_us\":0}}\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_tells_its_version),
        TEST(bytes_are_what_they_should_be),
        TEST(a_number_that_is_none_is_400),
        TEST(other_paths_are_404_and_other_methods_405),
        TEST(a_digest_is_of_the_body_however_it_is_framed),
        TEST(echo_keeps_the_length_that_is_known),
        TEST(sleep_answers_when_it_is_over),
        TEST(busy_holds_a_lease),
        TEST(the_handover_is_json_with_what_is_hostile_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
