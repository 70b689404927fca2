/* Helper processes that die, hang, and talk nonsense. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"
#include "tests/unit/xen_stage.h"

static const struct backend_ops *const ops = &backend_xen;

static void one_that_dies_in_mid_create_costs_the_start_a_moment(void **state)
{
    struct stage *s = *state;
    uint8_t first[XEN_UUID_SIZE];
    struct puppet *p;
    struct act a;

    s->generous = false;
    act_start(&a, s, "acme", 1);
    p = stage_job(s, XEN_JOB_CREATE);
    memcpy(first, p->job.uuid, sizeof first);
    puppet_dies(p);
    /* Whatever there is of it goes first. */
    p = stage_job(s, XEN_JOB_DESTROY);
    assert_memory_equal(p->job.uuid, first, sizeof first);
    assert_int_equal(stage_jobs(s), 1);
    puppet_answer(p, RC_OK, "", 0, -1);
    p = stage_job(s, XEN_JOB_CREATE);
    assert_memory_not_equal(p->job.uuid, first, sizeof first);
    act_create(&a, 5);
    assert_int_equal(a.running, 0);
    act_launch(&a, 5);
    s->generous = true;
    act_end(&a);
}

static void one_that_dies_in_mid_launch_likewise(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "acme", 1);
    act_create(&a, 5);
    puppet_dies(stage_job(s, XEN_JOB_LAUNCH));
    act_create(&a, 6);
    act_launch(&a, 6);
    assert_false(stage_watches(s, 5));
    act_end(&a);
}

static void two_that_die_are_reported(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "acme", 1);
    puppet_dies(stage_job(s, XEN_JOB_CREATE));
    puppet_dies(stage_job(s, XEN_JOB_CREATE));
    stage_until(s, a.exited);
    assert_int_equal(a.started, 0);
    assert_string_equal(a.why.text, "roomkey-xen died in the middle of it");
    act_dispose(&a);
}

static void killed_while_its_helper_is_dead_ends_all_the_same(void **state)
{
    struct stage *s = *state;
    struct puppet *p;
    struct act a;

    s->generous = false;
    act_start(&a, s, "acme", 1);
    puppet_dies(stage_job(s, XEN_JOB_CREATE));
    p = stage_job(s, XEN_JOB_DESTROY);
    act_kill(&a);
    puppet_answer(p, RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    assert_int_equal(stage_jobs(s), 0); /* no other try */
    act_dispose(&a);
}

static bool is_there(const struct stage *s, pid_t pid)
{
    struct puppet *p;

    TAILQ_FOREACH(p, &s->puppets, entry)
    if (p->hello.pid == pid)
        return true;
    return kill(pid, 0) == 0; /* not reaped */
}

/* Seen to fail without the retry: RC_TIMEDOUT left out of try_again(). */
static void one_that_hangs_is_killed_and_the_start_begun_anew_once(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[XEN_UUID_SIZE];
    struct puppet *p;
    struct act a;
    pid_t pid;

    stage_close(s);
    s->settings.job_ms = 200;
    stage_open(s);
    s->generous = true; /* what is left is destroyed at once, however often it is asked for */
    act_start(&a, s, "acme", 1);
    for (int n = 0; n < 2; n++) {
        p = stage_job(s, XEN_JOB_CREATE);
        pid = p->hello.pid;
        if (n > 0)
            assert_memory_not_equal(p->job.uuid, uuid, sizeof uuid);
        memcpy(uuid, p->job.uuid, sizeof uuid);
        stage_until(s, !is_there(s, pid));
    }
    stage_until(s, a.exited);
    assert_non_null(strstr(a.why.text, "did not answer in time"));
    assert_int_equal(a.running, 0);     /* so it is no fault of the image */
    stage_until(s, stage_jobs(s) == 0); /* no third try */
    act_dispose(&a);
}

static void one_that_talks_nonsense_is_replaced(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "acme", 1);
    puppet_babbles(stage_job(s, XEN_JOB_CREATE));
    act_create(&a, 5);
    act_launch(&a, 5);
    act_end(&a);
}

static void one_that_dies_idle_is_replaced(void **state)
{
    struct stage *s = *state;
    struct puppet *p, *other;
    struct act a;

    act_run(&a, s, "acme", 5);
    act_end(&a);
    TAILQ_FOREACH(p, &s->puppets, entry)
    if (p != s->watcher)
        assert_int_equal(kill(p->hello.pid, SIGKILL), 0);
    for (int n = 0; n < 3; n++) {
        act_start(&a, s, "acme", 1);
        other = stage_job(s, XEN_JOB_CREATE);
        puppet_answer(other, RC_FAILED, "", 0, -1);
        stage_until(s, a.exited);
        act_dispose(&a);
    }
}

static void a_watcher_that_dies_misses_nothing(void **state)
{
    struct stage *s = *state;
    struct act running, booting;
    pid_t pid;

    act_run(&running, s, "running", 5);
    act_start(&booting, s, "booting", 1);
    act_create(&booting, 6);
    puppet_answer(stage_job(s, XEN_JOB_LAUNCH), RC_OK, "", 6, -1);
    stage_until(s, stage_watches(s, 6));
    pid = s->watcher->hello.pid;
    assert_int_equal(kill(pid, SIGKILL), 0);
    stage_until(s, s->watchers == 2);
    stage_until(s, stage_watches(s, 5) && stage_watches(s, 6));
    /* It says anew what it sees. */
    stage_publish(s, 5, 2);
    stage_publish(s, 6, 2);
    stage_until(s, booting.started);
    assert_int_equal(running.started, 1);
    stage_vanish(s, 5);
    stage_until(s, running.exited);
    act_dispose(&running);
    act_end(&booting);
}

static void a_watcher_that_hangs_is_replaced(void **state)
{
    struct stage *s = *state;
    struct act a;
    pid_t pid;

    stage_close(s);
    s->settings.job_ms = 1000;
    stage_open(s);
    act_run(&a, s, "acme", 5);
    pid = s->watcher->hello.pid;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    stage_until(s, s->watchers == 2 && stage_watches(s, 5));
    stage_until(s, kill(pid, 0) != 0);
    stage_vanish(s, 5);
    stage_until(s, a.exited);
    act_dispose(&a);
}

static void a_destroy_that_fails_is_tried_again(void **state)
{
    struct stage *s = *state;
    struct act a;

    s->generous = false;
    act_run(&a, s, "acme", 5);
    act_kill(&a);
    puppet_dies(stage_job(s, XEN_JOB_DESTROY));
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    act_dispose(&a);
}

static void starts_go_before_destroys(void **state)
{
    struct stage *s = *state;
    struct act dead, a, b, c;

    s->generous = false;
    act_run(&dead, s, "dead", 5);
    act_start(&a, s, "one", 1);
    act_start(&b, s, "two", 1);
    stage_until(s, stage_jobs(s) == 2); /* no helper is free */
    act_kill(&dead);
    act_start(&c, s, "three", 1);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_FAILED, "", 0, -1);
    stage_until(s, stage_jobs(s) == 2);
    assert_int_equal(stage_count(s, XEN_JOB_CREATE), 2);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_FAILED, "", 0, -1);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_FAILED, "", 0, -1);
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    stage_until(s, dead.exited && a.exited && b.exited && c.exited);
    act_dispose(&dead);
    act_dispose(&a);
    act_dispose(&b);
    act_dispose(&c);
}

static void without_the_program_it_does_not_open(void **state)
{
    struct stage *s = *state;
    struct backend *b;
    char why[BACKEND_TEXT_MAX];

    stage_close(s);
    strcpy(s->settings.program, "/nonexistent/roomkey-xen");
    xen_configure(&s->settings);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(ops->open(&s->loop, s->dir, &b, why, sizeof why), RC_NOT_FOUND);
    assert_non_null(strstr(why, "/nonexistent/roomkey-xen does not start: No such file"));
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void a_host_without_xen_is_told_plainly(void **state)
{
    char why[BACKEND_TEXT_MAX];

    (void)state;
    if (access("/sys/hypervisor/type", F_OK) == 0)
        skip();
    assert_int_equal(ops->probe(why, sizeof why), RC_NOT_FOUND);
    assert_non_null(strstr(why, "this host does not run on Xen; install"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_dies_in_mid_create_costs_the_start_a_moment),
        TEST(one_that_dies_in_mid_launch_likewise),
        TEST(two_that_die_are_reported),
        TEST(killed_while_its_helper_is_dead_ends_all_the_same),
        TEST(one_that_hangs_is_killed_and_the_start_begun_anew_once),
        TEST(one_that_talks_nonsense_is_replaced),
        TEST(one_that_dies_idle_is_replaced),
        TEST(a_watcher_that_dies_misses_nothing),
        TEST(a_watcher_that_hangs_is_replaced),
        TEST(a_destroy_that_fails_is_tried_again),
        TEST(starts_go_before_destroys),
        TEST(without_the_program_it_does_not_open),
        cmocka_unit_test(a_host_without_xen_is_told_plainly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
