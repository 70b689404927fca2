/* Domains that are there before anybody asks. */
#include <stdio.h>
#include <string.h>

#include "orchestrator/backend/xen/xen_instance.h"
#include "tests/unit/unit.h"
#include "tests/unit/xen_stage.h"

static const struct backend_ops *const ops = &backend_xen;

static int pool_of_two(void **state)
{
    struct stage *s;

    stage_set_up(state);
    s = *state;
    stage_close(s);
    s->settings.pool = 2;
    stage_open(s);
    return 0;
}

/* Answers one refill; its uuid is left in `uuid`. */
static void refill(struct stage *s, uint32_t domid, uint8_t uuid[XEN_UUID_SIZE])
{
    unsigned ready = xen_pool_ready(&s->backend->pool);
    struct puppet *p = stage_job(s, XEN_JOB_CREATE);

    assert_int_equal(strncmp(p->job.name + 11, "-pool-", 6), 0);
    memcpy(uuid, p->job.uuid, XEN_UUID_SIZE);
    puppet_answer(p, RC_OK, "", domid, -1);
    stage_until(s, xen_pool_ready(&s->backend->pool) == ready + 1);
}

static void an_image_that_ran_has_domains_waiting_and_a_start_is_a_launch(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[3][XEN_UUID_SIZE];
    struct act first, second;
    struct puppet *p;

    act_start(&first, s, "first", 1);
    act_create(&first, 5);
    p = stage_job(s, XEN_JOB_LAUNCH);
    assert_int_equal(stage_count(s, XEN_JOB_CREATE), 0); /* not before it has run */
    puppet_answer(p, RC_OK, "", 5, -1);
    stage_publish(s, 5, 2);
    refill(s, 10, uuid[0]);
    refill(s, 11, uuid[1]);

    act_start(&second, s, "second", 1);
    p = stage_job(s, XEN_JOB_LAUNCH);
    assert_int_equal(stage_jobs(s), 1);
    assert_int_equal(p->job.domid, 10);
    assert_memory_equal(p->job.uuid, uuid[0], XEN_UUID_SIZE);
    assert_string_equal(p->job.name + 11, "-second-7");
    assert_non_null(strstr(p->job.words, "roomkey.tenant=second "));
    act_launch(&second, 10);
    assert_int_equal(second.steps.created_us, 0);
    assert_true(second.steps.unpaused_us > 0);
    refill(s, 12, uuid[2]); /* what was taken is made again */
    act_end(&second);
    act_end(&first);
}

static void another_image_or_memory_is_another_pool(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[XEN_UUID_SIZE];
    struct act first, second;

    act_run(&first, s, "first", 5);
    refill(s, 10, uuid);
    refill(s, 11, uuid);
    act_start(&second, s, "second", 2);
    assert_int_equal(strncmp(stage_job(s, XEN_JOB_CREATE)->job.name + 11, "-second-", 8), 0);
    act_create(&second, 6);
    act_launch(&second, 6);
    refill(s, 12, uuid);
    refill(s, 13, uuid);
    act_end(&second);
    act_end(&first);
}

static void a_refill_leaves_one_helper_free(void **state)
{
    struct stage *s = *state;
    struct act a, b, other;

    act_run(&a, s, "a", 5);
    stage_job(s, XEN_JOB_CREATE); /* a refill, and a long one */
    act_start(&b, s, "b", 2);
    stage_until(s, stage_jobs(s) == 2);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_OK, "", 10, -1);
    act_create(&b, 6);
    /* The second one of the first image waits, for b is launched. */
    act_start(&other, s, "other", 3);
    stage_until(s, stage_count(s, XEN_JOB_LAUNCH) == 1 && stage_jobs(s) == 2);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_FAILED, "", 0, -1);
    stage_until(s, other.exited);
    act_dispose(&other);
    act_launch(&b, 6);
    stage_job(s, XEN_JOB_CREATE);
    assert_int_equal(stage_count(s, XEN_JOB_CREATE), 1);
    s->generous = true;
    act_end(&b);
    act_end(&a);
}

static void when_memory_is_short_the_pool_gives_its_back_and_the_start_is_tried_again(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[2][XEN_UUID_SIZE];
    struct act first, second;
    struct puppet *p;

    act_run(&first, s, "first", 5);
    refill(s, 10, uuid[0]);
    refill(s, 11, uuid[1]);
    s->generous = false;
    act_start(&second, s, "second", 2);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_NOMEM, "no memory", 0, -1);
    for (int n = 0; n < 2; n++) {
        p = stage_job(s, XEN_JOB_DESTROY);
        assert_true(memcmp(p->job.uuid, uuid[0], XEN_UUID_SIZE) == 0 ||
                    memcmp(p->job.uuid, uuid[1], XEN_UUID_SIZE) == 0);
        assert_int_equal(stage_count(s, XEN_JOB_CREATE), 0);
        puppet_answer(p, RC_OK, "", 0, -1);
    }
    act_create(&second, 6);
    act_launch(&second, 6);
    assert_int_equal(stage_jobs(s), 0); /* no refill either, for a while */
    s->generous = true;
    act_end(&second);
    act_end(&first);
}

static void memory_that_is_about_to_come_back_is_waited_for(void **state)
{
    struct stage *s = *state;
    struct act dead, next;
    struct puppet *p;

    s->generous = false;
    act_run(&dead, s, "dead", 5);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_NOMEM, "", 0, -1); /* the pool has none */
    stage_shut(s, 5, 0, 0);
    stage_until(s, dead.exited);
    p = stage_job(s, XEN_JOB_DESTROY);
    act_start(&next, s, "next", 2);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_NOMEM, "no memory", 0, -1);
    puppet_answer(p, RC_OK, "", 0, -1);
    act_create(&next, 6);
    act_launch(&next, 6);
    act_dispose(&dead);
    s->generous = true;
    act_end(&next);
}

static void with_nobody_to_give_any_back_the_start_fails_and_says_so(void **state)
{
    struct stage *s = *state;
    struct act a;

    act_start(&a, s, "a", 1);
    puppet_answer(stage_job(s, XEN_JOB_CREATE), RC_NOMEM, "this host has 3 MiB free", 0, -1);
    stage_until(s, a.exited);
    assert_string_equal(a.why.text, "this host has 3 MiB free");
    act_dispose(&a);
}

static void a_pool_domain_that_is_no_more_costs_a_create(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[2][XEN_UUID_SIZE];
    struct act first, second;
    struct puppet *p;

    act_run(&first, s, "first", 5);
    refill(s, 10, uuid[0]);
    refill(s, 11, uuid[1]);
    s->generous = false;
    act_start(&second, s, "second", 1);
    puppet_answer(stage_job(s, XEN_JOB_LAUNCH), RC_NOT_FOUND, "it is gone", 0, -1);
    p = stage_job(s, XEN_JOB_DESTROY);
    assert_memory_equal(p->job.uuid, uuid[0], XEN_UUID_SIZE);
    puppet_answer(p, RC_OK, "", 0, -1);
    act_create(&second, 6);
    act_launch(&second, 6);
    s->generous = true;
    act_end(&second);
    act_end(&first);
}

static void an_image_that_nobody_starts_gives_its_domains_back(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[2][XEN_UUID_SIZE];
    struct act a;

    stage_close(s);
    s->settings.pool_idle_ms = 300;
    stage_open(s);
    act_run(&a, s, "a", 5);
    refill(s, 10, uuid[0]);
    refill(s, 11, uuid[1]);
    s->generous = false;
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    s->generous = true;
    act_end(&a);
}

static void a_refill_that_dies_leaves_nothing(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[XEN_UUID_SIZE];
    struct puppet *p;
    struct act a;

    act_run(&a, s, "a", 5);
    s->generous = false;
    p = stage_job(s, XEN_JOB_CREATE);
    memcpy(uuid, p->job.uuid, sizeof uuid);
    puppet_dies(p);
    p = stage_job(s, XEN_JOB_DESTROY);
    assert_memory_equal(p->job.uuid, uuid, sizeof uuid);
    puppet_answer(p, RC_OK, "", 0, -1);
    s->generous = true;
    act_end(&a);
}

static void the_daemons_end_destroys_what_is_in_the_pool_and_what_is_being_made(void **state)
{
    struct stage *s = *state;
    uint8_t uuid[XEN_UUID_SIZE];
    struct puppet *p;
    struct act a;

    act_run(&a, s, "a", 5);
    refill(s, 10, uuid);
    p = stage_job(s, XEN_JOB_CREATE);
    s->generous = false;
    act_dispose(&a); /* which lives on */
    ops->close(s->backend);
    puppet_answer(p, RC_OK, "", 11, -1);
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    puppet_answer(stage_job(s, XEN_JOB_DESTROY), RC_OK, "", 0, -1);
    stage_ends(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_of_two, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_that_ran_has_domains_waiting_and_a_start_is_a_launch),
        TEST(another_image_or_memory_is_another_pool),
        TEST(a_refill_leaves_one_helper_free),
        TEST(when_memory_is_short_the_pool_gives_its_back_and_the_start_is_tried_again),
        TEST(memory_that_is_about_to_come_back_is_waited_for),
        TEST(with_nobody_to_give_any_back_the_start_fails_and_says_so),
        TEST(a_pool_domain_that_is_no_more_costs_a_create),
        TEST(an_image_that_nobody_starts_gives_its_domains_back),
        TEST(a_refill_that_dies_leaves_nothing),
        TEST(the_daemons_end_destroys_what_is_in_the_pool_and_what_is_being_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
