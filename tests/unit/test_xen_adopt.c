/* Domains that an earlier roomkeyd left. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit.h"
#include "tests/unit/xen_stage.h"

static const struct backend_ops *const ops = &backend_xen;

static struct xen_event domain(uint32_t domid, const char *name, unsigned channels)
{
    struct xen_event e = {.type = XEN_FOUND, .domid = domid, .channels = channels, .status = -1};

    memset(e.uuid, (int)domid, sizeof e.uuid);
    snprintf(e.name, sizeof e.name, "%s", name);
    for (unsigned n = 0; n <= channels; n++)
        e.vchan[n] = (struct xen_vchan){.ring_ref = 8 + n, .port = 3 + n};
    return e;
}

static enum rc adopt(struct act *a, struct stage *s, const char *handle, unsigned channels)
{
    struct backend_handle h;
    enum rc rc;

    memset(a, 0, sizeof *a);
    a->stage = s;
    a->console[0] = a->console[1] = -1;
    snprintf(h.text, sizeof h.text, "%s", handle);
    a->in_call = true;
    rc = ops->adopt(s->backend, &h, channels, &act_events, a, &a->instance);
    a->in_call = false;
    if (rc == RC_OK)
        stage_note(s, a->instance);
    return rc;
}

#define FIVE "uuid=05050505-0505-0505-0505-050505050505"
#define SIX  "uuid=06060606-0606-0606-0606-060606060606"

static void reopen(struct stage *s, const struct xen_event *found, size_t n)
{
    stage_close(s);
    stage_found(s, found, n);
    stage_open(s);
}

static void one_that_lives_is_taken_over_and_its_end_is_seen(void **state)
{
    const struct xen_event five = domain(5, "rk-x-acme-7", 2);
    struct stage *s = *state;
    struct backend_handle handle;
    struct act a;

    reopen(s, &five, 1);
    assert_int_equal(adopt(&a, s, FIVE, 2), RC_OK);
    ops->sweep(s->backend);
    ops->handle(a.instance, &handle);
    assert_string_equal(handle.text, FIVE);
    stage_publish(s, 5, 2);
    stage_shut(s, 5, 3, 65);
    stage_until(s, a.exited);
    assert_int_equal(a.started, 0); /* it was, long ago */
    assert_true(a.why.started);
    assert_non_null(strstr(a.why.text, "exit status 65"));
    act_dispose(&a);
}

static void one_that_died_before_we_watched_it_is_gone(void **state)
{
    const struct xen_event five = domain(5, "rk-x-acme-7", 2);
    struct stage *s = *state;
    struct act a;

    reopen(s, &five, 1);
    assert_int_equal(adopt(&a, s, FIVE, 2), RC_OK);
    stage_vanish(s, 5);
    stage_until(s, a.exited);
    act_dispose(&a);
}

static void what_nobody_takes_over_is_destroyed(void **state)
{
    const struct xen_event found[] = {
        domain(5, "rk-x-acme-7", 2), domain(6, "rk-x-bert-1", 2),
        domain(7, "rk-x-pool-123456789abc", 0), domain(8, "", 0), /* half made */
    };
    struct stage *s = *state;
    unsigned destroyed = 0;
    struct puppet *p;
    struct act a;

    reopen(s, found, 4);
    s->generous = false;
    assert_int_equal(adopt(&a, s, FIVE, 2), RC_OK);
    ops->sweep(s->backend);
    for (int n = 0; n < 3; n++) {
        p = stage_job(s, XEN_JOB_DESTROY);
        destroyed |= 1u << p->job.uuid[0];
        puppet_answer(p, RC_OK, "", 0, -1);
    }
    assert_int_equal(destroyed, 1u << 6 | 1u << 7 | 1u << 8);
    s->generous = true;
    act_kill(&a);
    stage_until(s, a.exited);
    assert_int_equal(stage_jobs(s), 0);
    act_dispose(&a);
}

static void one_that_is_not_the_same_any_more_is_not_taken_over(void **state)
{
    struct xen_event found[] = {
        domain(5, "rk-x-acme-7", 2), /* has shut down meanwhile */
        domain(6, "rk-x-bert-1", 2), /* was never published */
    };
    struct stage *s = *state;
    struct act a;

    found[0].shutdown = 1;
    found[1].vchan[0].port = 0;
    reopen(s, found, 2);
    assert_int_equal(adopt(&a, s, FIVE, 2), RC_NOT_FOUND);
    assert_int_equal(adopt(&a, s, SIX, 2), RC_NOT_FOUND);
    assert_int_equal(adopt(&a, s, "uuid=07070707-0707-0707-0707-070707070707", 2), RC_NOT_FOUND);
}

static void one_with_fewer_channels_or_taken_already_is_not_either(void **state)
{
    const struct xen_event five = domain(5, "rk-x-acme-7", 2);
    struct stage *s = *state;
    struct act a, b;

    reopen(s, &five, 1);
    assert_int_equal(adopt(&b, s, FIVE, 3), RC_NOT_FOUND);
    assert_int_equal(adopt(&a, s, FIVE, 2), RC_OK);
    assert_int_equal(adopt(&b, s, FIVE, 2), RC_NOT_FOUND);
    act_end(&a);
}

static void a_handle_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "uuid=",
        "pid=1 start=2 uid=3",
        "uuid=05050505-0505-0505-0505-05050505050",
        "uuid=05050505-0505-0505-0505-0505050505055",
        "uuid=0505050505050505050505050505050505",
        "uuid=05050505-0505-0505-0505-05050505050x",
        " uuid=05050505-0505-0505-0505-050505050505",
        "uuid= 5050505-0505-0505-0505-050505050505",
        "uuid=0x050505-0505-0505-0505-050505050505",
    };
    struct stage *s = *state;
    struct act a;

    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++)
        assert_int_equal(adopt(&a, s, bad[n], 2), RC_INVAL);
}

static void one_that_a_daemon_left_is_what_the_next_takes_over(void **state)
{
    struct stage *s = *state;
    struct backend_handle handle;
    struct xen_event found;
    struct act a;

    act_run(&a, s, "acme", 5);
    ops->handle(a.instance, &handle);
    found = domain(5, "rk-x-acme-7", 2);
    memcpy(found.uuid, stage_watched(s, 5)->uuid, sizeof found.uuid);
    act_dispose(&a);
    s->generous = false; /* nothing is destroyed */
    reopen(s, &found, 1);
    assert_int_equal(adopt(&a, s, handle.text, 2), RC_OK);
    act_end(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_lives_is_taken_over_and_its_end_is_seen),
        TEST(one_that_died_before_we_watched_it_is_gone),
        TEST(what_nobody_takes_over_is_destroyed),
        TEST(one_that_is_not_the_same_any_more_is_not_taken_over),
        TEST(one_with_fewer_channels_or_taken_already_is_not_either),
        TEST(a_handle_that_is_none_is_refused),
        TEST(one_that_a_daemon_left_is_what_the_next_takes_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
