/* The app hello, as it is in its image: the page, asleep and awake. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_front.h"
#include "tests/unit/unit.h"

#define GET "GET / HTTP/1.1\r\nHost: acme.example\r\n\r\n"

static int setup(void **state)
{
    (void)state;
    assert_true(front_start());
    front_attach(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    front_end();
    return 0;
}

static void woken(struct handover *h)
{
    h->woken = true;
    h->times = (struct handover_times){.hello_unix_ms = 1,
                                       .route_us = 180,
                                       .boot_asked_us = 210,
                                       .boot_done_us = 2650,
                                       .handshake_us = 4120,
                                       .handover_us = 4190};
}

static void late(struct handover *h)
{
    woken(h);
    h->times.boot_done_us = 6120;
    h->times.handover_us = 6200;
}

static void awake(struct handover *h)
{
    h->times = (struct handover_times){.route_us = 40, .handshake_us = 900, .handover_us = 930};
}

static void hostile(struct handover *h)
{
    woken(h);
    strcpy(h->client_addr, "<script>alert('&\"')");
}

/* The page; with PAGES set, also a file there, to be looked at. */
static char *page(const char *name, void (*edit)(struct handover *))
{
    struct front_client *c = front_open(0, 0x1301, edit);
    const char *dir = getenv("PAGES");
    char path[256];
    FILE *file;

    front_send_text(c, GET);
    assert_memory_equal(c->got, "HTTP/1.1 200 OK\r\n", 17);
    if (dir) {
        snprintf(path, sizeof path, "%s/%s.html", dir, name);
        file = fopen(path, "w");
        assert_non_null(file);
        fputs(strstr(c->got, "\r\n\r\n") + 4, file);
        fclose(file);
    }
    return front_take(c);
}

static void assert_has(const char *text, const char *what)
{
    if (!strstr(text, what))
        print_error("no '%s' in:\n%s\n", what, text);
    assert_non_null(strstr(text, what));
}

static void the_page_draws_its_own_wake(void **state)
{
    static const char *const phases[] = {"hello received", "route",    "boot asked", "boot done",
                                         "handshake done", "handover", "first byte"};
    char *text = page("woken", woken);

    (void)state;
    assert_has(text, "<h1>acme</h1>");
    assert_has(text, "hello 1.0.0, generation 7");
    assert_has(text, "<svg");
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++)
        assert_has(text, phases[i]);
    assert_has(text, "It booted in 2.44 ms");
    assert_has(text, "ready 1.47 ms before it was needed");
    assert_has(text, "</html>");
    free(text);
}

static void a_boot_that_was_waited_for_is_told_as_such(void **state)
{
    char *text = page("late", late);

    (void)state;
    assert_has(text, "you waited 2.00 ms for it");
    free(text);
}

static void awake_the_picture_is_shorter_and_says_so(void **state)
{
    char *text = page("awake", awake);

    (void)state;
    assert_has(text, "It was awake already");
    assert_null(strstr(text, "boot asked"));
    assert_has(text, "handshake done");
    free(text);
}

static void what_a_client_says_is_escaped(void **state)
{
    char *text = page("hostile", hostile);

    (void)state;
    assert_has(text, "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)");
    assert_null(strstr(text, "<script"));
    free(text);
}

static void there_is_nothing_but_the_page(void **state)
{
    struct front_client *c = front_open(0, 0x1301, NULL);

    (void)state;
    front_send_text(c, "GET /x HTTP/1.1\r\nHost: acme.example\r\n\r\n");
    assert_memory_equal(c->got, "HTTP/1.1 404 ", 13);
    free(front_take(c));
    front_send_text(c, "PUT / HTTP/1.1\r\nHost: acme.example\r\nContent-Length: 1\r\n\r\nx");
    assert_memory_equal(c->got, "HTTP/1.1 405 ", 13);
    assert_has(c->got, "Allow: GET, HEAD\r\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_page_draws_its_own_wake),
        TEST(a_boot_that_was_waited_for_is_told_as_such),
        TEST(awake_the_picture_is_shorter_and_says_so),
        TEST(what_a_client_says_is_escaped),
        TEST(there_is_nothing_but_the_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
