/* A process that has no descriptor left. */
#ifndef TESTS_UNIT_DESCRIPTORS_H
#define TESTS_UNIT_DESCRIPTORS_H

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "unit.h"

static inline bool descriptors_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload && strstr(preload, "vgpreload");
}

/* None can be made from here on; what is open stays.  The limit that there was. */
static inline rlim_t descriptors_none(void)
{
    struct rlimit r;
    int lowest = dup(0);
    rlim_t before;

    assert_true(lowest > 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    before = r.rlim_cur;
    r.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    assert_int_equal(dup(0), -1);
    return before;
}

static inline void descriptors_back(rlim_t before)
{
    struct rlimit r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
}

/* The loop would sleep, and not come back at once because somebody waits. */
static inline void assert_sleeps(uv_loop_t *loop)
{
    struct pollfd p = {.fd = uv_backend_fd(loop), .events = POLLIN};

    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_not_equal(uv_backend_timeout(loop), 0);
}

#endif
