/* `roomkey-xen watch` on a real Xen host.  What a guest would write into xenstore, the tests write
 * in its place. */
#include "helper_rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/host/fd.h"
#include "guest_elf.h"

#define QUIET_MS                                                                     \
    300 /* what has not come by then is taken not to come; fails late, never wrongly \
         */

static int idle_image = -1;
static struct helper work, watch;

static int open_all(void **state)
{
    int rc = rig_open(state);

    idle_image = guest_elf(GUEST_IDLES);
    helper_start(&work, "work");
    helper_start(&watch, "watch");
    return rc;
}

static int close_all(void **state)
{
    fd_close(&idle_image);
    if (helper_end(&watch) != 0 || helper_end(&work) != 0)
        return -1;
    return rig_close(state);
}

/* A running domain that is watched. */
static struct xen_job watched(int image)
{
    struct xen_job job = rig_create(&work, image);

    job.type = XEN_JOB_UNPAUSE;
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    job.type = XEN_JOB_WATCH;
    helper_send(&watch, &job, -1);
    return job;
}

/* Ends the domain, and the events of it. */
static void done_with(const struct xen_job *job)
{
    rig_destroy(&work, job);
    (void)helper_wait(&watch, XEN_GONE, job->domid);
}

static void assert_no(enum xen_event_type type)
{
    uint64_t end = rig_ms() + QUIET_MS;
    struct xen_event e;
    int fd;

    while (rig_ms() < end)
        if (helper_get(&watch, &e, &fd, (int)(end - rig_ms()) + 1))
            assert_int_not_equal(e.type, type);
}

/*----- published -----*/

static void published_is_told_once_with_all_channels(void **state)
{
    struct xen_job job = watched(idle_image);
    struct xen_event e;

    (void)state;
    rig_publish(job.domid, 3);
    e = helper_wait(&watch, XEN_PUBLISHED, job.domid);
    assert_int_equal(e.token, job.token);
    assert_int_equal(e.channels, 3);
    assert_int_equal(e.vchan[0].ring_ref, 99);
    assert_int_equal(e.vchan[0].port, 9);
    assert_int_equal(e.vchan[3].ring_ref, 102);
    assert_int_equal(e.vchan[3].port, 12);
    rig_publish(job.domid, 4);
    assert_no(XEN_PUBLISHED);
    done_with(&job);
}

static void what_a_launch_said_is_removed_once_it_was_read(void **state)
{
    struct xen_job job = rig_create(&work, idle_image);

    (void)state;
    job.type = XEN_JOB_LAUNCH;
    snprintf(job.words, sizeof job.words, "roomkey.seed=00");
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    assert_string_equal(rig_read(job.domid, "roomkey/launch"), "roomkey.seed=00");
    job.type = XEN_JOB_WATCH;
    helper_send(&watch, &job, -1);
    rig_publish(job.domid, 1);
    (void)helper_wait(&watch, XEN_PUBLISHED, job.domid);
    assert_string_equal(rig_read(job.domid, "roomkey/launch"), "");
    done_with(&job);
}

static void nonsense_is_not_published(void **state)
{
    static const char *const bad[] = {"",    "0",          "-1", "+5",  " 5",  "5 ",
                                      "0x5", "4294967296", "05", "5\n", "five"};
    struct xen_job job = watched(idle_image);

    (void)state;
    rig_publish(job.domid, 0);
    (void)helper_wait(&watch, XEN_PUBLISHED, job.domid);
    done_with(&job);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        job = watched(idle_image);
        rig_write(job.domid, "data/roomkey/control/ring-ref", "5");
        rig_write(job.domid, "data/roomkey/control/event-channel", bad[i]);
        assert_no(XEN_PUBLISHED);
        done_with(&job);
    }
}

static void more_channels_than_there_may_be_are_cut(void **state)
{
    struct xen_job job = watched(idle_image);

    (void)state;
    rig_publish(job.domid, LAUNCH_CHANNELS_MAX + 3);
    assert_int_equal(helper_wait(&watch, XEN_PUBLISHED, job.domid).channels, LAUNCH_CHANNELS_MAX);
    done_with(&job);
}

static void a_guest_that_writes_for_ever_keeps_nobody_from_anything(void **state)
{
    struct xen_job noisy = watched(idle_image), other;

    (void)state;
    rig_write(noisy.domid, "data/roomkey/control/ring-ref", "5");
    for (int i = 0; i < 3000; i++)
        rig_write(noisy.domid, "data/roomkey/control/event-channel", "nonsense");
    other = watched(idle_image);
    rig_publish(other.domid, 1);
    (void)helper_wait(&watch, XEN_PUBLISHED, other.domid);
    /* It had its chance. */
    rig_write(noisy.domid, "data/roomkey/control/event-channel", "6");
    assert_no(XEN_PUBLISHED);
    done_with(&other);
    done_with(&noisy);
}

/*----- the end -----*/

static void a_stop_is_told_with_reason_and_status(void **state)
{
    struct xen_job job = watched(idle_image);
    struct xen_event e;

    (void)state;
    rig_write(job.domid, "data/roomkey/exit", "134");
    assert_int_equal(xc_domain_shutdown(rig_xc, job.domid, SHUTDOWN_crash), 0);
    e = helper_wait(&watch, XEN_SHUTDOWN, job.domid);
    assert_int_equal(e.token, job.token);
    assert_int_equal(e.reason, SHUTDOWN_crash);
    assert_int_equal(e.status, 134);
    assert_no(XEN_SHUTDOWN);
    done_with(&job);
}

static void a_guest_stops_by_itself(void **state)
{
    int image = guest_elf(GUEST_STOPS);
    struct xen_job job = watched(image);
    struct xen_event e = helper_wait(&watch, XEN_SHUTDOWN, job.domid);

    (void)state;
    assert_int_equal(e.reason, SHUTDOWN_poweroff);
    assert_int_equal(e.status, -1);
    done_with(&job);
    fd_close(&image);
}

static void a_status_that_is_none_is_no_status(void **state)
{
    static const char *const bad[] = {"256", "-1", "", "x"};

    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct xen_job job = watched(idle_image);

        rig_write(job.domid, "data/roomkey/exit", bad[i]);
        assert_int_equal(xc_domain_shutdown(rig_xc, job.domid, SHUTDOWN_crash), 0);
        assert_int_equal(helper_wait(&watch, XEN_SHUTDOWN, job.domid).status, -1);
        done_with(&job);
    }
}

static void what_holds_already_is_told_at_once_and_in_order(void **state)
{
    struct xen_job job = rig_create(&work, idle_image);
    struct xen_event e;
    int fd;

    (void)state;
    rig_publish(job.domid, 2);
    assert_int_equal(xc_domain_shutdown(rig_xc, job.domid, SHUTDOWN_poweroff), 0);
    job.type = XEN_JOB_WATCH;
    helper_send(&watch, &job, -1);
    assert_true(helper_get(&watch, &e, &fd, RIG_DEADLINE));
    assert_int_equal(e.type, XEN_PUBLISHED);
    assert_true(helper_get(&watch, &e, &fd, RIG_DEADLINE));
    assert_int_equal(e.type, XEN_SHUTDOWN);
    done_with(&job);
}

static void a_domain_destroyed_behind_our_back_is_gone(void **state)
{
    struct xen_job job = watched(idle_image);

    (void)state;
    assert_int_equal(xc_domain_destroy(rig_xc, job.domid), 0);
    (void)helper_wait(&watch, XEN_GONE, job.domid);
    rig_destroy(&work, &job); /* its nodes stay: that is what `xl destroy` would have done */
}

static void another_uuid_is_gone_at_once(void **state)
{
    struct xen_job job = rig_create(&work, idle_image), other = job;

    (void)state;
    other.type = XEN_JOB_WATCH;
    other.uuid[XEN_UUID_SIZE - 1] ^= 1;
    helper_send(&watch, &other, -1);
    (void)helper_wait(&watch, XEN_GONE, job.domid);
    rig_destroy(&work, &job);
}

static void what_is_not_watched_is_not_told(void **state)
{
    struct xen_job job = watched(idle_image), next;

    (void)state;
    job.type = XEN_JOB_UNWATCH;
    helper_send(&watch, &job, -1);
    next = watched(idle_image);
    (void)helper_wait(&watch, XEN_USAGE, next.domid); /* so the job before has been done */
    assert_int_equal(xc_domain_shutdown(rig_xc, job.domid, SHUTDOWN_poweroff), 0);
    assert_no(XEN_SHUTDOWN);
    rig_destroy(&work, &job);
    assert_no(XEN_GONE);
    done_with(&next);
}

/*----- usage -----*/

static void usage_grows_with_work_and_not_with_idling(void **state)
{
    int image = guest_elf(GUEST_SPINS);
    struct xen_job spins = watched(image), idles = watched(idle_image);
    struct xen_event first, last;

    (void)state;
    first = helper_wait(&watch, XEN_USAGE, spins.domid);
    assert_true(first.memory_kib >= RIG_MEMORY);
    assert_int_equal(first.token, spins.token);
    (void)helper_wait(&watch, XEN_USAGE, spins.domid);
    last = helper_wait(&watch, XEN_USAGE, spins.domid);
    assert_true(last.cpu_us > first.cpu_us);
    first = helper_wait(&watch, XEN_USAGE, idles.domid);
    last = helper_wait(&watch, XEN_USAGE, idles.domid);
    print_message("  an idle guest: %" PRIu64 " us, then %" PRIu64 " us\n", first.cpu_us,
                  last.cpu_us);
    done_with(&spins);
    done_with(&idles);
    fd_close(&image);
}

/* With an argument: only those of that name; * may be any text. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_is_told_once_with_all_channels),
        cmocka_unit_test(what_a_launch_said_is_removed_once_it_was_read),
        cmocka_unit_test(nonsense_is_not_published),
        cmocka_unit_test(more_channels_than_there_may_be_are_cut),
        cmocka_unit_test(a_guest_that_writes_for_ever_keeps_nobody_from_anything),
        cmocka_unit_test(a_stop_is_told_with_reason_and_status),
        cmocka_unit_test(a_guest_stops_by_itself),
        cmocka_unit_test(a_status_that_is_none_is_no_status),
        cmocka_unit_test(what_holds_already_is_told_at_once_and_in_order),
        cmocka_unit_test(a_domain_destroyed_behind_our_back_is_gone),
        cmocka_unit_test(another_uuid_is_gone_at_once),
        cmocka_unit_test(what_is_not_watched_is_not_told),
        cmocka_unit_test(usage_grows_with_work_and_not_with_idling),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
