/* Whose doing it is that a tenant's memory cannot be mapped: what of it is granted, and how, and
 * how many mappings this host has are the test's.
 *
 * Seen to fail with the copy alone: what is granted for reading is taken for a lack of mappings. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "orchestrator/backend/xen/xen_channel.h"
#include "tests/unit/unit.h"

typedef uint16_t domid_t;
typedef uint32_t grant_ref_t;
#include <xen/gntdev.h>

static bool granted, writable; /* by the tenant */
static unsigned tries, room;   /* there are mappings from that try on */

int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);

int __wrap_open(const char *path, int flags, ...)
{
    assert_string_equal(path, "/dev/xen/gntdev");
    return memfd_create("gntdev", flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (request == IOCTL_GNTDEV_GRANT_COPY) {
        const struct ioctl_gntdev_grant_copy *op = arg;

        for (unsigned n = 0; n < op->count; n++)
            op->segments[n].status = (int16_t)(granted ? 0 : -3);
        return 0;
    }
    assert_int_equal(request, IOCTL_GNTDEV_MAP_GRANT_REF);
    ((struct ioctl_gntdev_map_grant_ref *)arg)->index = 0;
    return ftruncate(fd, RING_PAGE_SIZE);
}

/* As Linux does: EINVAL whatever it is that Xen does not like. */
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (fd < 0)
        return __real_mmap(at, len, prot, flags, fd, offset);
    if (tries++ >= room && granted && (writable || !(prot & PROT_WRITE)))
        return __real_mmap(at, len, prot, flags, fd, offset);
    errno = EINVAL;
    return MAP_FAILED;
}

static void are_lacking_only_when_all_is_granted_for_writing(void **state)
{
    static const struct {
        bool granted, writable;
        unsigned room;
        bool lacks;
    } cases[] = {
        {false, false, 0, false}, {false, false, 9, false},
        {true, false, 0, false},  {true, true, 9, true}, /* there are none */
        {true, true, 0, true}, /* there are again: at the first, second, and third look */
        {true, true, 1, true},    {true, true, 2, true},
    };
    const struct xen_grants g = {.ref = {8}, .nr = 1, .bytes = RING_PAGE_SIZE};

    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        granted = cases[n].granted;
        writable = cases[n].writable;
        room = cases[n].room;
        tries = 0;
        if (xen_channel_lacks_mappings(7, &g) != cases[n].lacks)
            fail_msg("case %zu", n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(are_lacking_only_when_all_is_granted_for_writing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
