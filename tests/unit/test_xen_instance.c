/* The life of a domain, as roomkeyd leads it: all in order, and all that may come in
 * between. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/launch.h"
#include "tests/unit/unit.h"
#include "tests/unit/xen_stage.h"

static const struct backend_ops *const ops = &backend_xen;

enum { POWEROFF = 0, REBOOT = 1, CRASH = 3 };

static void is_created_launched_and_started_when_its_channels_are_there(void **state)
{
    struct stage *s = *state;
    struct stat image, came;
    struct puppet *p;
    struct xen_job create;
    struct act a;
    int fd = stage_image(s, 1);
    const char *seed;

    act_start(&a, s, "acme", 1);
    p = stage_job(s, XEN_JOB_CREATE);
    create = p->job;
    assert_int_equal(create.memory_kib, 16384);
    assert_int_equal(strncmp(create.name, "rk-", 3), 0);
    assert_string_equal(create.name + 11, "-acme-7");
    assert_int_equal(fstat(fd, &image), 0);
    assert_int_equal(fstat(p->fd, &came), 0);
    assert_true(image.st_ino == came.st_ino && image.st_dev == came.st_dev);
    close(fd);
    act_create(&a, 5);

    p = stage_job(s, XEN_JOB_LAUNCH);
    assert_int_equal(p->job.domid, 5);
    assert_memory_equal(p->job.uuid, create.uuid, XEN_UUID_SIZE);
    assert_string_equal(p->job.name, create.name);
    /* An eighth of its memory is its channels'. */
    assert_non_null(strstr(p->job.words, "roomkey.tenant=acme roomkey.generation=7 "
                                         "roomkey.channels=2 roomkey.memory=14336 roomkey.seed="));
    seed = strstr(p->job.words, LAUNCH_ARG_SEED) + sizeof LAUNCH_ARG_SEED - 1;
    assert_int_equal(strlen(seed), 2 * LAUNCH_SEED_SIZE);
    assert_int_equal(strspn(seed, "0123456789abcdef"), 2 * LAUNCH_SEED_SIZE);
    assert_memory_equal(stage_watched(s, 5)->uuid, create.uuid, XEN_UUID_SIZE);
    assert_int_equal(a.running, 0);
    puppet_answer(p, RC_OK, "", 5, -1);
    stage_until(s, a.running);
    assert_int_equal(a.started, 0);
    stage_publish(s, 5, 2);
    stage_until(s, a.started);
    assert_int_equal(a.started, 1);
    assert_true(a.steps.created_us > 0 && a.steps.unpaused_us >= a.steps.created_us);
    act_end(&a);
}

static void may_publish_before_the_launch_is_answered(void **state)
{
    struct stage *s = *state;
    struct puppet *p;
    struct act a;

    act_start(&a, s, "acme", 1);
    act_create(&a, 5);
    p = stage_job(s, XEN_JOB_LAUNCH);
    stage_publish(s, 5, 2);
    puppet_answer(p, RC_OK, "", 5, -1);
    stage_until(s, a.started);
    stage_publish(s, 5, 2); /* once more changes nothing */
    act_kill(&a);
    stage_until(s, a.exited);
    assert_int_equal(a.started, 1);
    act_dispose(&a);
}

static void prints_to_its_log_until_the_very_end(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_run(&a, s, "acme", 5);
    assert_int_equal(write(a.console[1], "one\r\ntwo\n", 9), 9);
    stage_until(s, a.lines == 2);
    assert_string_equal(a.line, "two");
    stage_shut(s, 5, CRASH, 134);
    assert_int_equal(write(a.console[1], "last words", 10), 10); /* late, and no newline */
    s->generous = false;
    stage_until(s, a.exited);
    assert_string_equal(a.line, "last words");
    assert_string_equal(a.why.text, "exit status 134 (panic: its log says where)");
    assert_true(a.why.started && !a.why.clean);
    /* Nobody waited for this. */
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    act_dispose(&a);
}

static void ends_for_a_reason_that_people_understand(void **state)
{
    static const struct {
        unsigned reason;
        int status;
        bool clean;
        const char *text;
    } all[] = {
        {POWEROFF, -1, true, "exit status 0"},
        {POWEROFF, 0, true, "exit status 0"},
        {CRASH, 65, false, "exit status 65 (on_start failed)"},
        {CRASH, 0, false, "exit status 0"}, /* which no image of ours says */
        {CRASH, -1, false, "it crashed (registers are in its log)"},
        {REBOOT, -1, false, "it crashed and could not even say so"},
        {77, -1, false, "it shut down for reason 77, which no image does"},
    };
    struct stage *s = *state;
    struct act a;

    for (uint32_t n = 0; n < sizeof all / sizeof *all; n++) {
        act_run(&a, s, "acme", 5 + n);
        stage_shut(s, 5 + n, all[n].reason, all[n].status);
        stage_until(s, a.exited);
        assert_string_equal(a.why.text, all[n].text);
        assert_int_equal(a.why.clean, all[n].clean);
        act_dispose(&a);
    }
}

static void that_cannot_be_created_says_why(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "acme", 1);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_FAILED, "the moon is full", 0, -1);
    stage_until(s, a.exited);
    assert_int_equal(a.running, 0);
    assert_string_equal(a.why.text, "the moon is full");
    assert_int_equal(stage_jobs(s), 0);
    act_dispose(&a);
}

static void that_cannot_be_launched_is_destroyed(void **state)
{
    struct stage *s = *state;
    struct act a;
    uint8_t uuid[XEN_UUID_SIZE];
    struct puppet *p;

    s->generous = false;
    act_start(&a, s, "acme", 1);
    act_create(&a, 5);
    p = stage_job(s, XEN_JOB_LAUNCH);
    memcpy(uuid, p->job.uuid, sizeof uuid);
    puppet_answer(p, RC_IO, "no xenstore", 0, -1);
    p = stage_job(s, XEN_JOB_DESTROY);
    assert_memory_equal(p->job.uuid, uuid, sizeof uuid);
    assert_int_equal(a.exited, 0);
    puppet_answer(p, RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    assert_int_equal(a.running, 0);
    assert_string_equal(a.why.text, "no xenstore");
    act_dispose(&a);
}

static void that_shuts_down_before_it_publishes_has_not_started(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "acme", 1);
    act_create(&a, 5);
    puppet_answer(stage_job(s, XEN_JOB_LAUNCH), RC_OK, "", 5, -1);
    stage_shut(s, 5, CRASH, 64);
    stage_until(s, a.exited);
    assert_true(a.running == 1 && a.started == 0);
    assert_false(a.why.started);
    assert_non_null(strstr(a.why.text, "exit status 64"));
    act_dispose(&a);
}

static void that_publishes_too_few_channels_is_destroyed(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "acme", 1);
    act_create(&a, 5);
    puppet_answer(stage_job(s, XEN_JOB_LAUNCH), RC_OK, "", 5, -1);
    stage_publish(s, 5, 1);
    stage_until(s, a.exited);
    assert_int_equal(a.started, 0);
    assert_string_equal(a.why.text, "it published 1 channels, and not 2");
    act_dispose(&a);
}

static void killed_is_gone_when_it_is_destroyed(void **state)
{
    struct stage *s = *state;
    struct puppet *p;
    struct act a;

    s->generous = false;
    act_run(&a, s, "acme", 5);
    assert_int_equal(write(a.console[1], "so be it", 8), 8);
    act_kill(&a);
    act_kill(&a); /* twice is once */
    p = stage_job(s, XEN_JOB_DESTROY);
    assert_string_equal(a.line, "so be it");
    assert_int_equal(a.exited, 0);
    puppet_answer(p, RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    assert_string_equal(a.why.text, "killed by roomkeyd");
    assert_int_equal(stage_jobs(s), 0);
    act_dispose(&a);
}

static void killed_while_it_is_created_is_destroyed_as_soon_as_it_stands(void **state)
{
    struct stage *s = *state;
    struct puppet *p;
    struct act a;

    s->generous = false;
    act_start(&a, s, "acme", 1);
    stage_job(s, XEN_JOB_CREATE);
    act_kill(&a);
    act_create(&a, 5);
    p = stage_job(s, XEN_JOB_DESTROY);
    assert_int_equal(stage_jobs(s), 1); /* no launch */
    assert_int_equal(a.exited, 0);
    puppet_answer(p, RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    assert_int_equal(a.started, 0);
    act_dispose(&a);
}

static void killed_while_it_is_launched_is_destroyed_then(void **state)
{
    struct stage *s = *state;
    struct puppet *p;
    struct act a;

    act_start(&a, s, "acme", 1);
    act_create(&a, 5);
    p = stage_job(s, XEN_JOB_LAUNCH);
    act_kill(&a);
    stage_publish(s, 5, 2);
    puppet_answer(p, RC_OK, "", 5, -1);
    stage_until(s, a.exited);
    assert_int_equal(a.started, 0);
    act_dispose(&a);
}

static void killed_before_its_turn_is_never_created(void **state)
{
    struct stage *s = *state;
    struct puppet *first, *second;
    struct act a, b, c;

    act_start(&a, s, "one", 1);
    act_start(&b, s, "two", 1);
    act_start(&c, s, "three", 1);
    stage_until(s, stage_jobs(s) == 2);
    act_kill(&c);
    stage_until(s, c.exited);
    first = stage_job(s, XEN_JOB_CREATE);
    puppet_answer(first, RC_FAILED, "", 0, -1);
    second = stage_job(s, XEN_JOB_CREATE);
    puppet_answer(second, RC_FAILED, "", 0, -1);
    stage_until(s, a.exited && b.exited);
    assert_int_equal(stage_jobs(s), 0);
    act_dispose(&a);
    act_dispose(&b);
    act_dispose(&c);
}

/*----- what does not go away -----*/

struct troubles {
    unsigned nr;
    char last[512];
};

static void on_trouble(void *arg, const char *text)
{
    struct troubles *t = arg;

    t->nr++;
    snprintf(t->last, sizeof t->last, "%s", text);
}

/* Tried again after a pause of 10 ms. */
static void open_impatient(struct stage *s, struct troubles *t)
{
    stage_close(s);
    s->settings.reap_ms = 10;
    stage_open(s);
    ops->listen(s->backend, on_trouble, t);
    s->generous = false;
}

/* Seen to fail: xen_reaper.c without on_ghost(). */
static void whose_memory_somebody_still_maps_is_gone_and_told_of_until_it_is_free(void **state)
{
    struct stage *s = *state;
    struct troubles t = {0};
    struct act a;

    open_impatient(s, &t);
    act_run(&a, s, "acme", 5);
    act_kill(&a);
    puppet_keeps(stage_job(s, XEN_JOB_DESTROY), 580);
    stage_until(s, a.exited);
    act_dispose(&a);
    for (int n = 0; n < 5; n++)
        puppet_keeps(stage_job(s, XEN_JOB_DESTROY), 580);
    stage_until(s, t.nr == 1);
    assert_non_null(strstr(t.last, "580 KiB of rk-"));
    assert_non_null(strstr(t.last, "acme-7 are not free"));
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    stage_until(s, t.nr == 2);
    assert_non_null(strstr(t.last, "is free now"));
}

static void whose_memory_is_soon_let_go_of_is_not_told_of(void **state)
{
    struct stage *s = *state;
    struct troubles t = {0};
    struct act a;

    open_impatient(s, &t);
    act_run(&a, s, "acme", 5);
    act_kill(&a);
    puppet_keeps(stage_job(s, XEN_JOB_DESTROY), 580);
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    act_dispose(&a);
    assert_int_equal(t.nr, 0);
}

static void that_cannot_be_destroyed_is_told_of_with_the_reason_and_tried_again(void **state)
{
    struct stage *s = *state;
    struct troubles t = {0};
    struct act a;

    open_impatient(s, &t);
    act_run(&a, s, "acme", 5);
    act_kill(&a);
    for (int n = 0; n < 5; n++)
        puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_IO, "the moon holds it", 0, -1);
    stage_until(s, t.nr == 1);
    assert_non_null(strstr(t.last, "acme-7 cannot be destroyed"));
    assert_non_null(strstr(t.last, "the moon holds it"));
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    stage_until(s, a.exited);
    assert_int_equal(t.nr, 1);
    act_dispose(&a);
}

static void whose_memory_is_never_let_go_of_does_not_hold_up_the_daemons_end(void **state)
{
    struct stage *s = *state;
    struct troubles t = {0};
    struct puppet *p;
    struct act a;

    open_impatient(s, &t);
    act_run(&a, s, "acme", 5);
    act_kill(&a);
    puppet_keeps(stage_job(s, XEN_JOB_DESTROY), 580);
    stage_until(s, a.exited);
    act_dispose(&a);
    p = stage_job(s, XEN_JOB_DESTROY); /* is being looked at */
    s->closing = true;
    ops->listen(s->backend, NULL, NULL);
    ops->close(s->backend);
    puppet_keeps(p, 580);
    stage_ends(s);
    stage_open(s);
}

static void destroyed_behind_our_back_says_so(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_run(&a, s, "acme", 5);
    stage_vanish(s, 5);
    stage_until(s, a.exited);
    assert_string_equal(a.why.text, "it was destroyed behind our back");
    assert_true(a.why.started && !a.why.clean);
    act_dispose(&a);
}

static void destroyed_behind_our_back_while_we_destroy_it_is_gone_at_once(void **state)
{
    struct stage *s = *state;
    struct act a;

    s->generous = false;
    act_run(&a, s, "acme", 5);
    act_kill(&a);
    stage_job(s, XEN_JOB_DESTROY);
    stage_vanish(s, 5);
    stage_until(s, a.exited);
    assert_int_equal(a.exited, 1);
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    act_dispose(&a);
}

static void is_paused_and_let_go_on_in_that_order(void **state)
{
    struct stage *s = *state;
    struct puppet *p;
    struct act a;

    act_run(&a, s, "acme", 5);
    assert_int_equal(ops->pause(a.instance, true), RC_OK);
    p = stage_job(s, XEN_JOB_PAUSE);
    assert_int_equal(p->job.domid, 5);
    assert_int_equal(ops->pause(a.instance, false), RC_OK);
    assert_int_equal(stage_jobs(s), 1); /* the other helper is free, and waits */
    puppet_answer(p, RC_OK, "", 0, -1);
    puppet_answer(stage_job(s, XEN_JOB_UNPAUSE), RC_OK, "", 0, -1);
    act_kill(&a);
    stage_until(s, a.exited);
    assert_int_equal(ops->pause(a.instance, true), RC_NOT_FOUND);
    act_dispose(&a);
}

static void tells_what_it_uses(void **state)
{
    const struct xen_event e = {.type = XEN_USAGE, .domid = 5, .cpu_us = 1234, .memory_kib = 16384};
    struct stage *s = *state;
    struct backend_usage usage;
    struct act a;

    act_run(&a, s, "acme", 5);
    assert_int_equal(ops->usage(a.instance, &usage), RC_AGAIN);
    stage_tell(s, &e);
    stage_until(s, ops->usage(a.instance, &usage) == RC_OK);
    assert_int_equal(usage.cpu_us, 1234);
    assert_int_equal(usage.memory, 16u << 20);
    act_end(&a);
}

/* Nothing may come after dispose(), whatever was under way. */
static void let_go_while_it_starts_is_destroyed_and_while_it_runs_is_left(void **state)
{
    struct stage *s = *state;
    struct puppet *create, *launch;
    struct act made, launched, booting, running, waiting;

    s->generous = false;
    act_run(&running, s, "running", 4);
    act_start(&booting, s, "booting", 1);
    act_create(&booting, 5);
    puppet_answer(stage_job(s, XEN_JOB_LAUNCH), RC_OK, "", 5, -1);
    stage_until(s, stage_watches(s, 5));
    act_start(&launched, s, "launched", 1);
    act_create(&launched, 6);
    launch = stage_job(s, XEN_JOB_LAUNCH);
    act_start(&made, s, "made", 1);
    create = stage_job(s, XEN_JOB_CREATE);
    act_start(&waiting, s, "waiting", 1);

    act_dispose(&running);
    act_dispose(&booting);
    act_dispose(&launched);
    act_dispose(&made);
    act_dispose(&waiting);
    puppet_answer(create, RC_OK, "", 7, -1);
    puppet_answer(launch, RC_OK, "", 6, -1);
    /* Three are destroyed; the one that runs is not, and the last was never made. */
    for (int n = 0; n < 3; n++)
        puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    ops->close(s->backend);
    stage_ends(s);
    assert_int_equal(made.started + launched.started + booting.started + waiting.started, 0);
    assert_int_equal(made.exited + launched.exited + booting.exited + running.exited, 0);
}

static void refuses_what_cannot_be(void **state)
{
    struct stage *s = *state;
    struct backend_spec spec = {.tenant = "acme", .image_fd = -1, .memory = 16u << 20};
    struct backend_instance *i;

    assert_int_equal(ops->start(s->backend, &spec, &act_events, NULL, &i), RC_FULL);
    spec.image_fd = 0;
    spec.memory = 4096;
    assert_int_equal(ops->start(s->backend, &spec, &act_events, NULL, &i), RC_INVAL);
    spec.memory = 16u << 20;
    spec.channels = LAUNCH_CHANNELS_MAX + 1;
    assert_int_equal(ops->start(s->backend, &spec, &act_events, NULL, &i), RC_INVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(is_created_launched_and_started_when_its_channels_are_there),
        TEST(may_publish_before_the_launch_is_answered),
        TEST(prints_to_its_log_until_the_very_end),
        TEST(ends_for_a_reason_that_people_understand),
        TEST(that_cannot_be_created_says_why),
        TEST(that_cannot_be_launched_is_destroyed),
        TEST(that_shuts_down_before_it_publishes_has_not_started),
        TEST(that_publishes_too_few_channels_is_destroyed),
        TEST(killed_is_gone_when_it_is_destroyed),
        TEST(killed_while_it_is_created_is_destroyed_as_soon_as_it_stands),
        TEST(killed_while_it_is_launched_is_destroyed_then),
        TEST(killed_before_its_turn_is_never_created),
        TEST(whose_memory_somebody_still_maps_is_gone_and_told_of_until_it_is_free),
        TEST(whose_memory_is_soon_let_go_of_is_not_told_of),
        TEST(that_cannot_be_destroyed_is_told_of_with_the_reason_and_tried_again),
        TEST(whose_memory_is_never_let_go_of_does_not_hold_up_the_daemons_end),
        TEST(destroyed_behind_our_back_says_so),
        TEST(destroyed_behind_our_back_while_we_destroy_it_is_gone_at_once),
        TEST(is_paused_and_let_go_on_in_that_order),
        TEST(tells_what_it_uses),
        TEST(let_go_while_it_starts_is_destroyed_and_while_it_runs_is_left),
        TEST(refuses_what_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
