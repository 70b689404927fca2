#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "elf_fixture.h"
#include "orchestrator/image_check.h"
#include "orchestrator/image_store.h"
#include "scratch.h"

static time_t behind; /* s that the host's clock is, of the disk's */

/* libc's, for this program. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, clock, t);

    if (clock == CLOCK_REALTIME)
        t->tv_sec -= behind;
    return r;
}

/* A file that is cut to nothing by somebody else, once its last byte is read. */
static char cut[PATH_MAX];

ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    ssize_t got = __real_pread(fd, buf, n, at);

    if (got == 0 && cut[0] && truncate(cut, 0) == 0)
        cut[0] = '\0';
    return got;
}

struct house {
    struct scratch scratch;
    uv_loop_t loop;
    struct image_store *store;
    struct refusal no;
    struct elf_fixture elf;
    unsigned called;
    enum rc rc;
    struct image_facts facts;
};

static void open_store(struct house *h)
{
    if (image_store_open(&h->loop, h->scratch.dir, &h->store, &h->no) != RC_OK)
        fail_msg("%s: %s", h->no.what, h->no.why);
}

static int set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);
    const struct manifest m = {.abi = MANIFEST_ABI,
                               .memory_kib = 4096,
                               .name = "hello",
                               .version = "1.0.0",
                               .alpn = "http/1.1"};

    scratch_make(&h->scratch);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    assert_true(elf_make(&h->elf, &m));
    open_store(h);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct house *h = *state;

    image_store_close(h->store);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

static void must_say(const struct house *h, const char *words)
{
    char line[2048];

    if (!strstr(refusal_line(&h->no, line, sizeof line), words))
        fail_msg("\"%s\" is not in: %s", words, line);
    assert_string_not_equal(h->no.todo, "");
}

static unsigned files(const struct house *h)
{
    char n[16];

    scratch_out(&h->scratch, n, sizeof n, "ls -A images/sha256 | wc -l");
    return (unsigned)atoi(n);
}

static void on_added(void *arg, enum rc rc, const struct image_facts *facts,
                     const struct refusal *no)
{
    struct house *h = arg;

    h->called++;
    h->rc = rc;
    if (rc)
        h->no = *no;
    else
        h->facts = *facts;
}

static struct image_add *begin(struct house *h)
{
    struct image_add *add;

    assert_int_equal(image_add_begin(h->store, "hello", "1.0.0", &add, &h->no), RC_OK);
    return add;
}

static enum rc finish(struct house *h, struct image_add *add)
{
    h->called = 0;
    image_add_finish(add, on_added, h);
    assert_int_equal(h->called, 0);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->called, 1);
    return h->rc;
}

/* In pieces, as it comes from a socket. */
static enum rc add_bytes(struct house *h, const unsigned char *bytes, size_t len)
{
    struct image_add *add = begin(h);

    for (size_t n; len > 0; bytes += n, len -= n) {
        n = len < 1000 ? len : 1000;
        assert_int_equal(image_add_write(add, bytes, n, &h->no), RC_OK);
    }
    return finish(h, add);
}

/* When it was looked at. */
static int fd_of(struct house *h)
{
    enum rc rc;
    int fd;

    while ((rc = image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd)) == RC_AGAIN)
        uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(rc, RC_OK);
    return fd;
}

static void an_image_is_kept_under_its_hash(void **state)
{
    struct house *h = *state;
    char hash[80];
    unsigned char back[sizeof h->elf.bytes];
    struct stat st;
    int fd;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    scratch_out(&h->scratch, hash, sizeof hash, "sha256sum images/sha256/* | cut -c1-64");
    assert_string_equal(h->facts.sha256, hash);
    assert_string_equal(h->facts.manifest.version, "1.0.0");
    assert_int_equal(h->facts.size, h->elf.len);
    fd = fd_of(h);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0555);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(read(fd, back, sizeof back), h->elf.len);
    assert_memory_equal(back, h->elf.bytes, h->elf.len);
    close(fd);
    assert_int_equal(files(h), 1);
    assert_int_equal(image_store_fd(h->store, hash, h->elf.len + 1, &fd), RC_MALFORMED);
    assert_int_equal(fd, -1);
}

static void the_same_content_twice_is_one_file(void **state)
{
    struct house *h = *state;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(files(h), 1);
    assert_int_equal(image_store_remove(h->store, h->facts.sha256), RC_OK);
    assert_int_equal(image_store_remove(h->store, h->facts.sha256), RC_OK);
    assert_int_equal(files(h), 0);
    int fd;
    assert_int_equal(image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd), RC_NOT_FOUND);
}

static void what_is_no_image_leaves_nothing_behind(void **state)
{
    struct house *h = *state;

    assert_int_equal(add_bytes(h, (const unsigned char *)"hello", 5), RC_INVAL);
    must_say(h, "ELF");
    assert_int_equal(add_bytes(h, h->elf.bytes, 0), RC_INVAL);
    must_say(h, "empty");
    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len - 1), RC_INVAL);
    must_say(h, "truncated");
    assert_int_equal(files(h), 0);
}

static void another_name_than_the_manifest_s_is_refused(void **state)
{
    struct house *h = *state;
    struct image_add *add;

    assert_int_equal(image_add_begin(h->store, "hello", "2.0.0", &add, &h->no), RC_OK);
    assert_int_equal(image_add_write(add, h->elf.bytes, h->elf.len, &h->no), RC_OK);
    assert_int_equal(finish(h, add), RC_INVAL);
    must_say(h, "hello:1.0.0");
    assert_int_equal(image_add_begin(h->store, "hel/lo", "2.0.0", &add, &h->no), RC_INVAL);
    assert_int_equal(image_add_begin(h->store, "hello", "../1", &add, &h->no), RC_INVAL);
    must_say(h, "NAME:VERSION");
    assert_int_equal(files(h), 0);
}

static void an_aborted_add_leaves_nothing_behind(void **state)
{
    struct house *h = *state;
    struct image_add *add = begin(h);

    assert_int_equal(image_add_write(add, h->elf.bytes, 100, &h->no), RC_OK);
    assert_int_equal(files(h), 1);
    image_add_abort(add);
    assert_int_equal(files(h), 0);
}

static void two_adds_at_once_do_not_mix(void **state)
{
    struct house *h = *state;
    struct image_add *a = begin(h), *b = begin(h);

    assert_int_equal(image_add_write(a, h->elf.bytes, h->elf.len, &h->no), RC_OK);
    assert_int_equal(image_add_write(b, "garbage", 7, &h->no), RC_OK);
    h->called = 0;
    image_add_finish(a, on_added, h);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->rc, RC_OK);
    image_add_finish(b, on_added, h);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->rc, RC_INVAL);
    assert_int_equal(files(h), 1);
}

static void more_than_the_limit_is_refused(void **state)
{
    struct house *h = *state;
    struct image_add *add = begin(h);
    char byte = 0;

    /* A size that no memory is read of: it is refused before. */
    assert_int_equal(image_add_write(add, &byte, IMAGE_SIZE_MAX + 1, &h->no), RC_TOO_LARGE);
    must_say(h, "256 MiB");
    assert_int_equal(image_add_write(add, &byte, 1, &h->no), RC_OK);
    assert_int_equal(image_add_write(add, &byte, IMAGE_SIZE_MAX, &h->no), RC_TOO_LARGE);
    image_add_abort(add);
}

/* /dev/full in place of the temporary file is a disk without room. */
static void a_full_disk_is_said_and_leaves_nothing_behind(void **state)
{
    struct house *h = *state;
    struct image_add *add = begin(h);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char target[128], path[160];

    assert_true(full >= 0);
    for (int fd = 3; fd < 256; fd++) {
        ssize_t n;

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        n = readlink(path, target, sizeof target - 1);
        if (n < 0)
            continue;
        target[n] = '\0';
        if (strstr(target, h->scratch.dir) && strstr(target, ".add-"))
            assert_int_equal(dup2(full, fd), fd);
    }
    close(full);
    assert_int_equal(image_add_write(add, h->elf.bytes, h->elf.len, &h->no), RC_FULL);
    must_say(h, "full");
    image_add_abort(add);
    assert_int_equal(files(h), 0);
}

static void a_crash_before_the_rename_is_swept_at_the_next_start(void **state)
{
    struct house *h = *state;
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct image_add *add = begin(h);

        if (image_add_write(add, h->elf.bytes, h->elf.len, &h->no) != RC_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(files(h), 1);
    image_store_close(h->store);
    open_store(h);
    assert_int_equal(files(h), 0);
    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
}

static bool nobody(void *arg, const char *sha256)
{
    (void)sha256;
    ++*(unsigned *)arg;
    return false;
}

static bool somebody(void *arg, const char *sha256)
{
    ++*(unsigned *)arg;
    return sha256[0] != '\0';
}

static void an_image_that_no_row_knows_is_swept(void **state)
{
    struct house *h = *state;
    unsigned asked = 0;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(image_store_sweep(h->store, somebody, &asked), RC_OK);
    assert_int_equal(files(h), 1);
    assert_int_equal(image_store_sweep(h->store, nobody, &asked), RC_OK);
    assert_int_equal(asked, 2);
    assert_int_equal(files(h), 0);
}

static void an_image_removed_while_it_is_added_is_not_said_to_be_there(void **state)
{
    struct house *h = *state;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    struct image_add *add = begin(h);
    assert_int_equal(image_add_write(add, h->elf.bytes, h->elf.len, &h->no), RC_OK);
    image_add_finish(add, on_added, h);
    /* The pool has renamed it when the temporary file is gone; the loop has not run. */
    while (scratch_sh(&h->scratch, "ls -A images/sha256 | grep -q add") == 0)
        ;
    assert_int_equal(image_store_remove(h->store, h->facts.sha256), RC_OK);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->rc, RC_AGAIN);
    must_say(h, "again");
}

/*----- content -----*/

static void on_looked(void *arg)
{
    ++*(unsigned *)arg;
}

/* What a start is told at last; *looks is how many looks that took. */
static enum rc ask(struct house *h, unsigned *looks)
{
    enum rc rc;
    int fd;

    *looks = 0;
    image_store_watch(h->store, on_looked, looks);
    while ((rc = image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd)) == RC_AGAIN) {
        unsigned before = *looks;

        assert_int_equal(fd, -1);
        assert_int_equal(image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd), RC_AGAIN);
        uv_run(&h->loop, UV_RUN_DEFAULT);
        assert_int_equal(*looks, before + 1);
    }
    if (rc == RC_OK)
        close(fd);
    else
        assert_int_equal(fd, -1);
    return rc;
}

static void write_byte(const struct house *h, size_t at, unsigned char byte)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/images/sha256/%s", h->scratch.dir, h->facts.sha256);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* Until a change of the file would show. */
static void let_it_settle(struct house *h)
{
    unsigned looks = 1;

    while (looks > 0)
        (void)ask(h, &looks);
}

static void content_is_looked_at_once_and_after_each_change(void **state)
{
    struct house *h = *state;
    unsigned looks;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(scratch_sh(&h->scratch, "touch images/sha256/*"), 0);
    let_it_settle(h);
    for (int n = 0; n < 3; n++) {
        assert_int_equal(ask(h, &looks), RC_OK);
        assert_int_equal(looks, 0);
    }
    assert_int_equal(scratch_sh(&h->scratch, "touch images/sha256/*"), 0);
    assert_int_equal(ask(h, &looks), RC_OK);
    assert_int_equal(looks, 1);
    image_store_close(h->store);
    open_store(h);
    assert_int_equal(ask(h, &looks), RC_OK);
    assert_int_equal(looks, 1);
}

/* Seen to fail with files of the past alone. */
static void a_file_of_the_future_is_looked_at_once(void **state)
{
    struct house *h = *state;
    unsigned looks;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    behind = 3600;
    assert_int_equal(ask(h, &looks), RC_OK);
    assert_int_equal(looks, 1);
    assert_int_equal(ask(h, &looks), RC_OK);
    behind = 0;
    assert_int_equal(looks, 0);
}

static void other_content_of_the_same_size_is_damage_until_it_is_added_again(void **state)
{
    struct house *h = *state;
    size_t last = h->elf.len - 1;
    unsigned looks;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    let_it_settle(h);
    write_byte(h, last, h->elf.bytes[last] ^ 1);
    assert_int_equal(ask(h, &looks), RC_MALFORMED);
    assert_int_equal(looks, 1);
    let_it_settle(h);
    assert_int_equal(ask(h, &looks), RC_MALFORMED);
    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(ask(h, &looks), RC_OK);
}

/* As fast as it can be: before Linux 6.13 an inode's times do not tell such changes apart. */
static void changes_in_a_row_are_each_seen(void **state)
{
    struct house *h = *state;
    unsigned looks;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    for (int n = 0; n < 50; n++) {
        write_byte(h, 0, h->elf.bytes[0] ^ 1);
        assert_int_equal(ask(h, &looks), RC_MALFORMED);
        write_byte(h, 0, h->elf.bytes[0]);
        assert_int_equal(ask(h, &looks), RC_OK);
    }
}

/* A file may have 256 MiB, and nobody waits for those at the end.  Seen to fail: with NULL for the
 * stop in look_work(). */
static void a_look_ends_when_it_is_stopped(void **state)
{
    struct house *h = *state;
    unsigned looks;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(image_store_room(h->store, h->facts.sha256), 0);
    assert_int_equal(ask(h, &looks), RC_OK);
    assert_int_equal(image_store_room(h->store, h->facts.sha256),
                     image_room(h->elf.bytes, h->elf.bytes + IMAGE_START, h->elf.len));
    assert_int_equal(scratch_sh(&h->scratch, "touch images/sha256/*"), 0);
    image_store_stop(h->store);
    assert_int_equal(ask(h, &looks), RC_CANCELED);
}

/* Seen to fail, by a SIGBUS, with the file mapped to be measured. */
static void a_file_that_is_cut_while_it_is_looked_at_is_damage(void **state)
{
    struct house *h = *state;
    int fd;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(scratch_sh(&h->scratch, "touch images/sha256/*"), 0);
    snprintf(cut, sizeof cut, "%s/images/sha256/%s", h->scratch.dir, h->facts.sha256);
    assert_int_equal(image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd), RC_AGAIN);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_string_equal(cut, "");
    assert_int_equal(image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd), RC_MALFORMED);
}

static void an_image_may_go_or_be_added_again_while_it_is_looked_at(void **state)
{
    struct house *h = *state;
    unsigned looks;
    int fd;

    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    write_byte(h, 0, 0);
    assert_int_equal(image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd), RC_AGAIN);
    assert_int_equal(image_store_remove(h->store, h->facts.sha256), RC_OK);
    assert_int_equal(add_bytes(h, h->elf.bytes, h->elf.len), RC_OK);
    assert_int_equal(ask(h, &looks), RC_OK);
    write_byte(h, 0, 0);
    assert_int_equal(image_store_fd(h->store, h->facts.sha256, h->elf.len, &fd), RC_AGAIN);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(image_store_remove(h->store, h->facts.sha256), RC_OK);
    assert_int_equal(ask(h, &looks), RC_NOT_FOUND);
}

static void a_name_that_is_no_hash_is_never_opened(void **state)
{
    struct house *h = *state;
    int fd;

    assert_int_equal(image_store_fd(h->store, "../../roomkey.db", 1, &fd), RC_INVAL);
    assert_int_equal(image_store_remove(h->store, ".."), RC_INVAL);
}

static void a_state_folder_that_is_not_there_is_said(void **state)
{
    struct house *h = *state;
    struct image_store *s;

    assert_int_equal(image_store_open(&h->loop, "/nonexistent-folder", &s, &h->no), RC_NOT_FOUND);
    must_say(h, "/nonexistent-folder");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_is_kept_under_its_hash),
        TEST(the_same_content_twice_is_one_file),
        TEST(what_is_no_image_leaves_nothing_behind),
        TEST(another_name_than_the_manifest_s_is_refused),
        TEST(an_aborted_add_leaves_nothing_behind),
        TEST(two_adds_at_once_do_not_mix),
        TEST(more_than_the_limit_is_refused),
        TEST(a_full_disk_is_said_and_leaves_nothing_behind),
        TEST(a_crash_before_the_rename_is_swept_at_the_next_start),
        TEST(an_image_that_no_row_knows_is_swept),
        TEST(an_image_removed_while_it_is_added_is_not_said_to_be_there),
        TEST(content_is_looked_at_once_and_after_each_change),
        TEST(a_file_of_the_future_is_looked_at_once),
        TEST(other_content_of_the_same_size_is_damage_until_it_is_added_again),
        TEST(changes_in_a_row_are_each_seen),
        TEST(a_look_ends_when_it_is_stopped),
        TEST(a_file_that_is_cut_while_it_is_looked_at_is_damage),
        TEST(an_image_may_go_or_be_added_again_while_it_is_looked_at),
        TEST(a_name_that_is_no_hash_is_never_opened),
        TEST(a_state_folder_that_is_not_there_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
