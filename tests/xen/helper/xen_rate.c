/* How fast domains are made and ended: xen_rate ROUNDS [IMAGE [MEMORY_KIB [HELPERS]]]
 *
 * Creates and destroys ROUNDS domains with 1, 2 and 4 helpers at once (or with so
 * many), and prints domains a second, and the median of a single create, launch
 * and destroy.  IMAGE "-": the smallest that idles.  On an emulated host the shape
 * counts, not the speed. */
#include "helper_rig.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/host/fd.h"
#include "guest_elf.h"

#define HELPERS_MAX 4
#define ROUNDS_MAX  256

static struct helper helpers[HELPERS_MAX];
static struct xen_job jobs[ROUNDS_MAX];
static double took[ROUNDS_MAX];

static double ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(unsigned n)
{
    qsort(took, n, sizeof *took, ascending);
    return took[n / 2];
}

/* Does jobs[0..n) of that type, each on whichever helper is free; took[] says how long each was. */
static double all(enum xen_job_type type, unsigned n, unsigned at_once, int image)
{
    unsigned busy[HELPERS_MAX], next = 0, done = 0;
    bool is_busy[HELPERS_MAX] = {false};
    double since[HELPERS_MAX] = {0}, start = ms();

    while (done < n) {
        struct pollfd p[HELPERS_MAX];

        for (unsigned h = 0; h < at_once; h++) {
            if (!is_busy[h] && next < n) {
                busy[h] = next++;
                jobs[busy[h]].type = type;
                since[h] = ms();
                helper_send(&helpers[h], &jobs[busy[h]], type == XEN_JOB_CREATE ? image : -1);
                is_busy[h] = true;
            }
            p[h] = (struct pollfd){.fd = is_busy[h] ? helpers[h].fd : -1, .events = POLLIN};
        }
        assert_true(poll(p, at_once, RIG_DEADLINE) > 0);
        for (unsigned h = 0; h < at_once; h++) {
            struct xen_event e;
            int fd = -1;

            if (!p[h].revents)
                continue;
            assert_true(helper_get(&helpers[h], &e, &fd, 0));
            fd_close(&fd);
            if (e.rc) {
                fprintf(stderr, "%s\n", e.text);
                exit(1);
            }
            if (type == XEN_JOB_CREATE)
                jobs[busy[h]].domid = e.domid;
            took[busy[h]] = ms() - since[h];
            is_busy[h] = false;
            done++;
        }
    }
    return ms() - start;
}

static uint64_t free_kib(void)
{
    xc_physinfo_t info = {0};

    assert_int_equal(xc_physinfo(rig_xc, &info), 0);
    return (info.free_pages + info.scrub_pages) * 4;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 12;
    int image = argc > 2 && strcmp(argv[2], "-") != 0 ? open(argv[2], O_RDONLY | O_CLOEXEC)
                                                      : guest_elf(GUEST_IDLES);
    unsigned only = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
    uint64_t memory = argc > 3 ? strtoull(argv[3], NULL, 10) : RIG_MEMORY, before;
    double t;

    if (rig_open(NULL) != 0 || image < 0 || rounds == 0 || rounds > ROUNDS_MAX)
        return 2;
    for (unsigned h = 0; h < HELPERS_MAX; h++)
        helper_start(&helpers[h], "work");
    for (unsigned at_once = 1; at_once <= HELPERS_MAX; at_once *= 2) {
        if (only && at_once != only)
            continue;
        for (unsigned i = 0; i < rounds; i++) {
            jobs[i] = rig_job(XEN_JOB_CREATE);
            jobs[i].memory_kib = memory;
            snprintf(jobs[i].words, sizeof jobs[i].words, "roomkey.tenant=rate");
        }
        before = free_kib();
        t = all(XEN_JOB_CREATE, rounds, at_once, image);
        printf("%u helpers: %.2f creates/s, each %.1f ms; a domain of %" PRIu64
               " KiB takes %" PRIu64 " KiB\n",
               at_once, rounds * 1e3 / t, median(rounds), memory, (before - free_kib()) / rounds);
        t = all(XEN_JOB_LAUNCH, rounds, at_once, -1);
        printf("%u helpers: %.2f launches/s, each %.1f ms\n", at_once, rounds * 1e3 / t,
               median(rounds));
        t = all(XEN_JOB_DESTROY, rounds, at_once, -1);
        printf("%u helpers: %.2f destroys/s, each %.1f ms\n", at_once, rounds * 1e3 / t,
               median(rounds));
        rig_wait_domains(0);
    }
    for (unsigned h = 0; h < HELPERS_MAX; h++)
        (void)helper_end(&helpers[h]);
    return rig_close(NULL);
}
