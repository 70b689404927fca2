/* An app behind the real runtime, with the workers of fake_front.h: its paths do what tests of
 * channels need. */
#ifndef TESTS_CHANNEL_HOUSE_H
#define TESTS_CHANNEL_HOUSE_H

#include "tests/unit/fake_front.h"
#include "tests/unit/unit.h"

#define SUITE_13  0x1301
#define SUITE_12  0xc02b
#define GET(path) "GET " path " HTTP/1.1\r\nHost: " FRONT_SNI "\r\n\r\n"

extern struct house_app {
    int start_result; /* of on_start */
    bool healthy;
    unsigned stops, gone; /* on_stop; requests that were told RK_GONE */
    uint32_t lease;       /* that /busy took */
} app;

/* With two workers. */
int house_set_up(void **state);
int house_tear_down(void **state);
#define HOUSE_TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

/* Takes what has come: whether it ends a 200 with this body. */
bool house_served(struct front_client *c, const char *body);
/* A client whose request sleeps.  It has sent a next one as well, behind which nothing is looked
 * at yet. */
struct front_client *house_sleeper(void);

#endif
