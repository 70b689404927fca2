/* `roomkey-xen work` on a real Xen host. */
#include "helper_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/host/fd.h"
#include "guest_elf.h"

static int idle_image = -1;
static struct helper work;

static int open_all(void **state)
{
    int rc = rig_open(state);

    idle_image = guest_elf(GUEST_IDLES);
    helper_start(&work, "work");
    return rc;
}

static int close_all(void **state)
{
    fd_close(&idle_image);
    if (helper_end(&work) != 0)
        return -1;
    return rig_close(state);
}

static bool node_exists(const char *path)
{
    unsigned n;
    char **names = xs_directory(rig_xs, XBT_NULL, path, &n);

    free(names);
    return names != NULL;
}

static void uuid_text(const uint8_t u[XEN_UUID_SIZE], char out[40])
{
    snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
             u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
             u[14], u[15]);
}

static bool files_exist(const struct xen_job *job)
{
    char uuid[40], pattern[96];
    glob_t found;
    bool any;

    uuid_text(job->uuid, uuid);
    snprintf(pattern, sizeof pattern, "/var/lib/xen/*%s*", uuid);
    any = glob(pattern, 0, NULL, &found) == 0;
    if (any)
        globfree(&found);
    return any;
}

static void assert_nothing_is_left(const struct xen_job *job, uint32_t domid)
{
    char uuid[40], path[64];

    rig_wait_gone(job->uuid);
    uuid_text(job->uuid, uuid);
    snprintf(path, sizeof path, "/vm/%s", uuid);
    assert_false(node_exists(path));
    if (domid) {
        snprintf(path, sizeof path, "/local/domain/%" PRIu32, domid);
        assert_false(node_exists(path));
        snprintf(path, sizeof path, "/libxl/%" PRIu32, domid);
        assert_false(node_exists(path));
    }
    assert_false(files_exist(job));
}

/*----- probe -----*/

static void the_probe_finds_nothing_missing_on_a_xen_host(void **state)
{
    static const char *const wanted[] = {"devices",     "xenstore",    "version", "pvh",
                                         "dom0 memory", "free memory", "grants",  "console"};
    struct xen_job job = {.type = XEN_JOB_PROBE, .token = 77};
    struct xen_event e;
    unsigned seen = 0;
    int fd;

    (void)state;
    helper_send(&work, &job, -1);
    while (helper_get(&work, &e, &fd, RIG_DEADLINE) && e.type == XEN_CHECK) {
        print_message("  %u %s: %s\n", e.level, e.name, e.text);
        for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strcmp(e.name, wanted[i]) == 0)
                seen |= 1u << i;
        assert_int_not_equal(e.level, XEN_LEVEL_FAULT);
        assert_true(e.text[0]);
    }
    assert_int_equal(e.type, XEN_DONE);
    assert_int_equal(e.rc, RC_OK);
    assert_int_equal(e.token, 77);
    assert_int_equal(seen, (1u << (sizeof wanted / sizeof *wanted)) - 1);
}

/*----- create and destroy -----*/

static void a_new_domain_is_paused_and_has_a_console(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_CREATE);
    struct xen_event e;
    xc_domaininfo_t info;
    int console = -1;

    (void)state;
    e = helper_call(&work, &job, idle_image, &console);
    assert_string_equal(e.text, "");
    assert_int_equal(e.rc, RC_OK);
    assert_true(console >= 0 && isatty(console));
    assert_true(fcntl(console, F_GETFL) & O_NONBLOCK);
    job.domid = e.domid;
    assert_true(rig_info(&job, &info));
    assert_true(info.flags & XEN_DOMINF_paused);
    assert_true(info.flags & XEN_DOMINF_hvm_guest);
    assert_true(info.tot_pages * 4 <= job.memory_kib + 256);
    assert_string_equal(rig_read(job.domid, "name"), job.name);
    rig_destroy(&work, &job);
    fd_close(&console);
}

static void a_destroyed_domain_leaves_nothing(void **state)
{
    struct xen_job job = rig_create(&work, idle_image);

    (void)state;
    assert_true(files_exist(&job)); /* else this test looks in the wrong place */
    rig_destroy(&work, &job);
    assert_nothing_is_left(&job, job.domid);
    rig_wait_domains(0);
}

static void destroying_what_is_gone_is_no_error(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_DESTROY);

    (void)state;
    rig_destroy(&work, &job);
}

static void destroying_needs_a_uuid(void **state)
{
    struct xen_job job = {.type = XEN_JOB_DESTROY, .domid = 0};

    (void)state;
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_INVAL);
}

static void a_domain_that_libxl_hardly_began_is_destroyed(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_DESTROY);
    struct xen_domctl_createdomain config = {
        .flags = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap,
        .max_vcpus = 1,
        .max_evtchn_port = 63,
        .max_grant_frames = 4,
        .max_maptrack_frames = 0,
        .grant_opts = XEN_DOMCTL_GRANT_version(1),
        .arch.emulation_flags = XEN_X86_EMU_LAPIC,
    };
    uint32_t domid = 0;

    (void)state;
    memcpy(config.handle, job.uuid, sizeof config.handle);
    assert_int_equal(xc_domain_create(rig_xc, &domid, &config), 0);
    rig_destroy(&work, &job);
    assert_nothing_is_left(&job, domid);
    rig_wait_domains(0);
}

static void a_domain_that_libxl_will_not_destroy_is_destroyed(void **state)
{
    struct xen_job job = rig_create(&work, idle_image);
    char uuid[40], lock[128];

    (void)state;
    uuid_text(job.uuid, uuid);
    snprintf(lock, sizeof lock, "/var/lib/xen/userdata-l.%" PRIu32 ".%s.domain-userdata-lock",
             job.domid, uuid);
    assert_int_equal(unlink(lock) == 0 || errno == ENOENT, true);
    assert_int_equal(mkdir(lock, 0700), 0); /* that it cannot lock */
    rig_destroy(&work, &job);
    rig_wait_gone(job.uuid);
    assert_int_equal(rmdir(lock), 0);
}

static void a_uuid_is_given_once(void **state)
{
    struct xen_job job = rig_create(&work, idle_image), again = job;
    int console = -1;

    (void)state;
    again.domid = 0;
    snprintf(again.name, sizeof again.name, RIG_PREFIX "again");
    assert_int_equal(helper_call(&work, &again, idle_image, &console).rc, RC_EXISTS);
    assert_int_equal(console, -1);
    rig_destroy(&work, &job);
}

static void what_is_no_image_is_refused_and_leaves_nothing(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_CREATE);
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC), console = -1;
    struct xen_event e;

    (void)state;
    e = helper_call(&work, &job, file, &console);
    print_message("  %s\n", e.text);
    assert_int_equal(e.rc, RC_FAILED);
    assert_true(strstr(e.text, "cannot create the domain: "));
    assert_int_equal(console, -1);
    assert_nothing_is_left(&job, 0);
    rig_wait_domains(0);
    fd_close(&file);
}

static void too_little_memory_is_said_with_numbers(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_CREATE);
    struct xen_event e;
    int console = -1;

    (void)state;
    job.memory_kib = 1ull << 30;
    e = helper_call(&work, &job, idle_image, &console);
    print_message("  %s\n", e.text);
    assert_int_equal(e.rc, RC_NOMEM);
    assert_true(strstr(e.text, "KiB are free"));
    assert_nothing_is_left(&job, 0);
}

/* Both look at the free memory before either has taken any. */
static void of_two_that_do_not_fit_one_is_created(void **state)
{
    struct xen_job job[2] = {rig_job(XEN_JOB_CREATE), rig_job(XEN_JOB_CREATE)};
    struct helper second;
    xc_physinfo_t info = {0};
    struct xen_event e[2];
    int console[2];

    (void)state;
    assert_int_equal(xc_physinfo(rig_xc, &info), 0);
    helper_start(&second, "work");
    for (int i = 0; i < 2; i++)
        job[i].memory_kib = (info.free_pages + info.scrub_pages) * 4 / 10 * 6;
    helper_send(&work, &job[0], idle_image);
    helper_send(&second, &job[1], idle_image);
    assert_true(helper_get(&work, &e[0], &console[0], RIG_DEADLINE));
    assert_true(helper_get(&second, &e[1], &console[1], RIG_DEADLINE));
    print_message("  %s%s\n", e[0].text, e[1].text);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(e[i].rc, e[1 - i].rc ? RC_OK : RC_NOMEM);
        fd_close(&console[i]);
        rig_destroy(&work, &job[i]);
        assert_nothing_is_left(&job[i], e[i].domid);
    }
    assert_int_equal(helper_end(&second), 0);
}

static void a_job_that_makes_no_sense_is_refused(void **state)
{
    struct xen_job bad[6];
    int console = -1;

    (void)state;
    for (int i = 0; i < 6; i++)
        bad[i] = rig_job(XEN_JOB_CREATE);
    memset(bad[0].name, 'x', sizeof bad[0].name);
    snprintf(bad[1].name, sizeof bad[1].name, "../evil");
    bad[2].memory_kib = 0;
    memset(bad[3].uuid, 0, sizeof bad[3].uuid);
    bad[4].type = 4711;
    for (int i = 0; i < 5; i++)
        assert_int_equal(helper_call(&work, &bad[i], idle_image, &console).rc, RC_INVAL);
    assert_int_equal(helper_call(&work, &bad[5], -1, &console).rc, RC_INVAL); /* no image */
    assert_int_equal(rig_domains(), 0);
}

/*----- launch, pause, unpause -----*/

/* Whether `what` lies anywhere in the helper's memory. */
static bool remembers(const struct helper *h, const char *what)
{
    char path[64], line[512];
    size_t len = strlen(what);
    bool found = false;
    FILE *maps;
    int mem;

    snprintf(path, sizeof path, "/proc/%d/mem", h->pid);
    mem = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/maps", h->pid);
    maps = fopen(path, "re");
    assert_true(mem >= 0 && maps);
    while (!found && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[8];
        char *copy;

        assert_int_equal(sscanf(line, "%lx-%lx %7s", &from, &to, mode), 3);
        if (mode[1] != 'w' || !(copy = malloc(to - from)))
            continue;
        if (pread(mem, copy, to - from, (off_t)from) == (ssize_t)(to - from))
            found = memmem(copy, to - from, what, len) != NULL;
        free(copy);
    }
    fclose(maps);
    close(mem);
    return found;
}

static void a_launch_gives_words_and_name_and_runs(void **state)
{
    static const char seed[] = "0123456789abcdeffedcba98765432100123456789abcdeffedcba9876543210";
    struct xen_job job = rig_create(&work, idle_image);
    struct xs_permissions *perms;
    char path[96];
    unsigned n = 0;
    xc_domaininfo_t info;

    (void)state;
    assert_false(remembers(&work, seed));
    job.type = XEN_JOB_LAUNCH;
    snprintf(job.name, sizeof job.name, RIG_PREFIX "tenant-1");
    snprintf(job.words, sizeof job.words, "roomkey.tenant=t roomkey.seed=%s", seed);
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    assert_string_equal(rig_read(job.domid, "roomkey/launch"), job.words);
    assert_string_equal(rig_read(job.domid, "name"), job.name);
    assert_true(rig_info(&job, &info));
    assert_false(info.flags & XEN_DOMINF_paused);
    assert_false(remembers(&work, seed));

    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "/roomkey/launch", job.domid);
    perms = xs_get_permissions(rig_xs, XBT_NULL, path, &n);
    assert_non_null(perms);
    assert_int_equal(n, 2);
    assert_int_equal(perms[0].id, 0);
    assert_int_equal(perms[0].perms, XS_PERM_NONE);
    assert_int_equal(perms[1].id, job.domid);
    assert_int_equal(perms[1].perms, XS_PERM_READ);
    free(perms);
    rig_destroy(&work, &job);
}

static void pausing_twice_needs_one_unpause(void **state)
{
    struct xen_job job = rig_create(&work, idle_image);
    xc_domaininfo_t info;

    (void)state;
    job.type = XEN_JOB_UNPAUSE;
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    assert_true(rig_info(&job, &info) && !(info.flags & XEN_DOMINF_paused));
    job.type = XEN_JOB_PAUSE;
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    assert_true(rig_info(&job, &info) && info.flags & XEN_DOMINF_paused);
    assert_int_equal(xc_domain_pause(rig_xc, job.domid), 0); /* as an operator does it */
    job.type = XEN_JOB_UNPAUSE;
    assert_int_equal(helper_call(&work, &job, -1, NULL).rc, RC_OK);
    assert_true(rig_info(&job, &info) && !(info.flags & XEN_DOMINF_paused));
    rig_destroy(&work, &job);
}

static void a_domain_with_another_uuid_is_never_touched(void **state)
{
    static const enum xen_job_type types[] = {XEN_JOB_LAUNCH, XEN_JOB_UNPAUSE, XEN_JOB_PAUSE};
    struct xen_job job = rig_create(&work, idle_image), other = rig_job(XEN_JOB_LAUNCH);
    xc_domaininfo_t info;

    (void)state;
    other.domid = job.domid;
    snprintf(other.words, sizeof other.words, "roomkey.tenant=other");
    for (unsigned i = 0; i < 3; i++) {
        other.type = types[i];
        assert_int_equal(helper_call(&work, &other, -1, NULL).rc, RC_NOT_FOUND);
    }
    rig_destroy(&work, &other);
    assert_true(rig_info(&job, &info) && info.flags & XEN_DOMINF_paused);
    assert_string_equal(rig_read(job.domid, "name"), job.name);
    assert_string_equal(rig_read(job.domid, "roomkey/launch"), "");
    other.domid = 0; /* dom0 has the uuid 0 */
    memset(other.uuid, 0, sizeof other.uuid);
    other.type = XEN_JOB_PAUSE;
    assert_int_equal(helper_call(&work, &other, -1, NULL).rc, RC_NOT_FOUND);
    rig_destroy(&work, &job);
}

/*----- list -----*/

static unsigned list(const struct xen_job *job, struct xen_event *out, int *consoles, unsigned max)
{
    unsigned n = 0;
    struct xen_event e;
    int fd;

    helper_send(&work, job, -1);
    while (helper_get(&work, &e, &fd, RIG_DEADLINE) && e.type == XEN_FOUND) {
        assert_true(n < max);
        assert_int_equal(e.token, job->token);
        out[n] = e;
        consoles[n++] = fd;
    }
    assert_int_equal(e.type, XEN_DONE);
    assert_int_equal(e.rc, RC_OK);
    return n;
}

static void the_list_tells_all_of_a_domain(void **state)
{
    struct xen_job a = rig_create(&work, idle_image), b = rig_create(&work, idle_image);
    struct xen_job job = {.type = XEN_JOB_LIST, .token = 5, .name = RIG_PREFIX};
    struct xen_event e[4];
    int console[4];

    (void)state;
    rig_publish(b.domid, 2);
    rig_write(b.domid, "data/roomkey/exit", "65");
    b.type = XEN_JOB_UNPAUSE;
    assert_int_equal(helper_call(&work, &b, -1, NULL).rc, RC_OK);
    assert_int_equal(xc_domain_shutdown(rig_xc, b.domid, SHUTDOWN_crash), 0);

    assert_int_equal(list(&job, e, console, 4), 2);
    assert_int_equal(e[0].domid, a.domid);
    assert_string_equal(e[0].name, a.name);
    assert_memory_equal(e[0].uuid, a.uuid, XEN_UUID_SIZE);
    assert_true(e[0].paused && !e[0].shutdown);
    assert_int_equal(e[0].channels, 0);
    assert_int_equal(e[0].vchan[0].port, 0);
    assert_int_equal(e[0].status, -1);
    assert_true(e[0].memory_kib >= RIG_MEMORY);
    assert_true(console[0] >= 0 && isatty(console[0]));

    assert_int_equal(e[1].domid, b.domid);
    assert_true(!e[1].paused && e[1].shutdown);
    assert_int_equal(e[1].reason, SHUTDOWN_crash);
    assert_int_equal(e[1].status, 65);
    assert_int_equal(e[1].channels, 2);
    assert_int_equal(e[1].vchan[0].ring_ref, 99);
    assert_int_equal(e[1].vchan[0].port, 9);
    assert_int_equal(e[1].vchan[2].ring_ref, 101);
    assert_int_equal(e[1].vchan[2].port, 11);
    assert_true(console[1] >= 0);

    fd_close(&console[0]);
    fd_close(&console[1]);
    snprintf(job.name, sizeof job.name, "other");
    assert_int_equal(list(&job, e, console, 4), 0);
    rig_destroy(&work, &a);
    rig_destroy(&work, &b);
}

static void a_guest_cannot_make_us_open_a_terminal_of_its_choice(void **state)
{
    struct xen_job a = rig_create(&work, idle_image);
    struct xen_job job = {.type = XEN_JOB_LIST, .token = 5, .name = RIG_PREFIX};
    struct xs_permissions perms[] = {{.id = a.domid, .perms = XS_PERM_NONE}};
    char path[64];
    struct xen_event e[2];
    int console[2];

    (void)state;
    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "/console/tty", a.domid);
    assert_true(xs_set_permissions(rig_xs, XBT_NULL, path, perms, 1));
    assert_int_equal(list(&job, e, console, 2), 1);
    assert_int_equal(console[0], -1);
    rig_destroy(&work, &a);
}

static void a_nameless_domain_is_listed_by_its_tag(void **state)
{
    struct xen_job a = rig_create(&work, idle_image);
    struct xen_job job = {.type = XEN_JOB_LIST, .token = 5, .name = RIG_PREFIX};
    char path[64];
    struct xen_event e[2];
    int console[2];

    (void)state;
    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "/name", a.domid);
    assert_true(xs_rm(rig_xs, XBT_NULL, path));
    assert_int_equal(list(&job, e, console, 2), 0);
    memcpy(job.uuid, RIG_TAG, XEN_UUID_TAG);
    assert_int_equal(list(&job, e, console, 2), 1);
    assert_string_equal(e[0].name, "");
    assert_memory_equal(e[0].uuid, a.uuid, XEN_UUID_SIZE);
    fd_close(&console[0]);
    rig_destroy(&work, &a);
}

/*----- deaths -----*/

static void a_helper_killed_in_mid_create_leaves_what_destroy_cleans(void **state)
{
    unsigned half = 0;
    uint64_t whole;

    (void)state;
    whole = rig_ms();
    {
        struct xen_job job = rig_create(&work, idle_image);

        whole = rig_ms() - whole;
        rig_destroy(&work, &job);
    }
    for (unsigned i = 0; i < 12; i++) {
        struct xen_job job = rig_job(XEN_JOB_CREATE);
        struct helper victim;
        uint32_t domid = 0;
        uint64_t end = rig_ms() + RIG_DEADLINE;

        helper_start(&victim, "work");
        helper_send(&victim, &job, idle_image);
        while (!rig_find(job.uuid, &domid) && rig_ms() < end)
            usleep(500);
        usleep((useconds_t)(whole * i * 1000 / 12));
        helper_kill(&victim);
        half += rig_find(job.uuid, &domid);
        rig_destroy(&work, &job);
        assert_nothing_is_left(&job, domid);
    }
    assert_true(half > 0);
    rig_wait_domains(0);
}

static void a_create_ends_when_no_console_comes(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_CREATE);
    FILE *out = popen("pidof xenconsoled", "re");
    int console = -1, pid = 0;
    struct xen_event e;

    (void)state;
    assert_true(out && fscanf(out, "%d", &pid) == 1 && pclose(out) == 0);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    e = helper_call(&work, &job, idle_image, &console);
    assert_int_equal(kill(pid, SIGCONT), 0);
    print_message("  %s\n", e.text);
    assert_int_equal(e.rc, RC_FAILED);
    assert_true(strstr(e.text, "console"));
    assert_nothing_is_left(&job, 0);
}

static void a_domain_that_nobody_is_told_of_is_destroyed(void **state)
{
    struct xen_job job = rig_job(XEN_JOB_CREATE);
    struct helper orphan;
    uint32_t domid = 0;
    uint64_t end = rig_ms() + RIG_DEADLINE;

    (void)state;
    helper_start(&orphan, "work");
    helper_send(&orphan, &job, idle_image);
    while (!rig_find(job.uuid, &domid) && rig_ms() < end)
        usleep(500);
    assert_true(domid > 0);
    assert_int_equal(helper_end(&orphan), 0);
    assert_nothing_is_left(&job, domid);
}

static void a_helper_ends_quietly_with_its_socket(void **state)
{
    struct helper h;

    (void)state;
    helper_start(&h, "work");
    assert_int_equal(helper_end(&h), 0);
    helper_start(&h, "watch");
    assert_int_equal(helper_end(&h), 0);
}

/* With an argument: only those of that name; * may be any text. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_probe_finds_nothing_missing_on_a_xen_host),
        cmocka_unit_test(a_new_domain_is_paused_and_has_a_console),
        cmocka_unit_test(a_destroyed_domain_leaves_nothing),
        cmocka_unit_test(destroying_what_is_gone_is_no_error),
        cmocka_unit_test(destroying_needs_a_uuid),
        cmocka_unit_test(a_domain_that_libxl_hardly_began_is_destroyed),
        cmocka_unit_test(a_domain_that_libxl_will_not_destroy_is_destroyed),
        cmocka_unit_test(a_uuid_is_given_once),
        cmocka_unit_test(what_is_no_image_is_refused_and_leaves_nothing),
        cmocka_unit_test(too_little_memory_is_said_with_numbers),
        cmocka_unit_test(of_two_that_do_not_fit_one_is_created),
        cmocka_unit_test(a_job_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_launch_gives_words_and_name_and_runs),
        cmocka_unit_test(pausing_twice_needs_one_unpause),
        cmocka_unit_test(a_domain_with_another_uuid_is_never_touched),
        cmocka_unit_test(the_list_tells_all_of_a_domain),
        cmocka_unit_test(a_guest_cannot_make_us_open_a_terminal_of_its_choice),
        cmocka_unit_test(a_nameless_domain_is_listed_by_its_tag),
        cmocka_unit_test(a_helper_killed_in_mid_create_leaves_what_destroy_cleans),
        cmocka_unit_test(a_create_ends_when_no_console_comes),
        cmocka_unit_test(a_domain_that_nobody_is_told_of_is_destroyed),
        cmocka_unit_test(a_helper_ends_quietly_with_its_socket),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
