#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/domain.h"
#include "orchestrator/backend/xen/helper/node_text.h"
#include "orchestrator/backend/xen/helper/nodes.h"

/* KiB that Xen takes for a domain beside its memory. */
#define OVERHEAD_KIB 512  /* its own records of the domain, its vcpu and its tables */
#define RESERVE_KIB  4096 /* left to Xen itself */
#define MEMORY_MAX   (1ull << 32)

/* The pool that Xen takes the tables of a guest's memory from.  libxl's own rule, a MiB and more,
 * is for guests of all kinds and sizes.  Ours have no devices and all their memory in one piece: 2
 * KiB a MiB at worst, of which we give twice that, and about 40 pages beside. */
static uint64_t paging_kib(uint64_t memory_kib)
{
    return 384 + 4 * (memory_kib / 1024);
}

/* libxl_domain_create_new() finds out only half-way, and then says less. */
static enum rc check_room(struct host *h, uint64_t memory_kib, struct xen_event *done)
{
    uint64_t need = memory_kib + paging_kib(memory_kib) + OVERHEAD_KIB + RESERVE_KIB, free_kib;
    libxl_physinfo info;

    libxl_physinfo_init(&info);
    if (libxl_get_physinfo(h->xl, &info) != 0) {
        libxl_physinfo_dispose(&info);
        return answer_text(done, RC_IO, "cannot ask Xen for its free memory: %s",
                           xl_log_cause(&h->log));
    }
    free_kib = (info.free_pages + info.scrub_pages) * 4;
    free_kib -= info.outstanding_pages * 4 < free_kib ? info.outstanding_pages * 4 : free_kib;
    libxl_physinfo_dispose(&info);
    if (free_kib >= need)
        return RC_OK;
    done->memory_kib = need - free_kib;
    return answer_text(done, RC_NOMEM,
                       "the host has not enough memory: a domain of %" PRIu64 " KiB needs %" PRIu64
                       " KiB and %" PRIu64
                       " KiB are free; stop tenants, or give dom0 less (dom0_mem=)",
                       memory_kib, need, free_kib);
}

/* libxl would look for the name among those of all domains, one by one; ours is unique by itself.
 * So it is made without one, and the node of the name is written beside, in the same transaction.
 */
static enum rc set_name(libxl_domain_create_info *c, const char *name)
{
    c->name = strdup("");
    c->xsdata = calloc(3, sizeof *c->xsdata); /* pairs, and NULL */
    if (!c->name || !c->xsdata)
        return RC_NOMEM;
    c->xsdata[0] = strdup("name");
    c->xsdata[1] = c->xsdata[0] ? strdup(name) : NULL;
    return c->xsdata[1] ? RC_OK : RC_NOMEM;
}

/* Its strings become the configuration's. */
static enum rc configure(struct host *h, const struct xen_job *job, uint64_t memory_kib,
                         const char *kernel, libxl_domain_config *c)
{
    libxl_domain_build_info *b = &c->b_info;

    c->c_info.type = LIBXL_DOMAIN_TYPE_PVH;
    memcpy(c->c_info.uuid.uuid, job->uuid, XEN_UUID_SIZE);
    libxl_defbool_set(&c->c_info.run_hotplug_scripts, false);

    libxl_domain_build_info_init_type(b, LIBXL_DOMAIN_TYPE_PVH);
    b->kernel = strdup(kernel);
    b->max_memkb = b->target_memkb = memory_kib;
    b->shadow_memkb = paging_kib(memory_kib);
    b->max_vcpus = 1;
    libxl_defbool_set(&b->numa_placement, false);
    /* All of its memory or none, at once: others are created at the same time. */
    libxl_defbool_set(&b->claim_mode, true);
    /* Never migrated: it may read the clock without a trap. */
    b->tsc_mode = LIBXL_TSC_MODE_NATIVE;
    libxl_defbool_set(&b->disable_migrate, true);
    /* It maps nobody's memory, and has no use for the newer grants. */
    b->max_grant_version = 1;
    b->max_maptrack_frames = 0;
    if (set_name(&c->c_info, job->name) || !b->kernel ||
        libxl_cpu_bitmap_alloc(h->xl, &b->avail_vcpus, 1) != 0)
        return RC_NOMEM;
    libxl_bitmap_set(&b->avail_vcpus, 0);

    /* roomkeyd reads the console before it destroys. */
    c->on_poweroff = c->on_reboot = c->on_crash = c->on_watchdog = c->on_soft_reset =
        LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    return RC_OK;
}

static enum rc build(struct host *h, const struct xen_job *job, uint64_t memory_kib, int image,
                     struct xen_event *done)
{
    libxl_domain_config config;
    char kernel[32];
    uint32_t domid = 0;
    enum rc rc;

    /* What was hashed is what boots: libxl opens this very file again. */
    snprintf(kernel, sizeof kernel, "/proc/self/fd/%d", image);
    libxl_domain_config_init(&config);
    rc = configure(h, job, memory_kib, kernel, &config);
    if (rc)
        answer_text(done, rc, "cannot create the domain: out of memory in dom0");
    else if (libxl_domain_create_new(h->xl, &config, &domid, NULL, NULL) != 0)
        rc = answer_text(done, RC_FAILED,
                         "cannot create the domain: %s; see xl dmesg and /var/log/xen",
                         xl_log_cause(&h->log));
    libxl_domain_config_dispose(&config);
    done->domid = domid;
    return rc;
}

/* What libxl does not know of. */
static enum rc complete(struct host *h, const struct xen_job *job, struct xen_event *done,
                        int *console)
{
    enum rc rc = nodes_prepare(h->xs, done->domid);

    if (!rc)
        rc = nodes_rename(h->xs, done->domid, job->uuid, job->name);
    if (rc)
        return answer_text(done, rc, "cannot write the domain's nodes: xenstore: %s", rc_text(rc));
    rc = nodes_console(h->xs, done->domid, console);
    if (rc)
        return answer_text(done, rc,
                           "the domain has no console terminal; see whether xenconsoled runs");
    return RC_OK;
}

static bool is_complete(const struct xen_job *job, int image)
{
    static const uint8_t none[XEN_UUID_SIZE];

    return image >= 0 && memcmp(job->uuid, none, XEN_UUID_SIZE) != 0 && job->memory_kib > 0 &&
           job->memory_kib < MEMORY_MAX && node_text_is_name(job->name, sizeof job->name);
}

enum rc domain_create(struct host *h, const struct xen_job *job, int image, struct xen_event *done,
                      int *console)
{
    /* libxl counts whole MiB in one place and KiB in another, and fails where they differ. */
    const uint64_t memory_kib = (job->memory_kib + 1023) / 1024 * 1024;
    struct xen_event ignored;
    uint32_t other;
    enum rc rc;

    if (!is_complete(job, image))
        return answer_text(done, RC_INVAL, "cannot create a domain: the job makes no sense");
    rc = host_find(h, job->uuid, &other);
    if (rc != RC_NOT_FOUND)
        return answer_text(done, rc ? rc : RC_EXISTS, "cannot create the domain: %s",
                           rc ? rc_text(rc) : "its uuid is taken");
    rc = check_room(h, memory_kib, done);
    if (rc)
        return rc;
    rc = build(h, job, memory_kib, image, done);
    if (!rc)
        rc = complete(h, job, done, console);
    if (rc) {
        if (domain_destroy(h, job->uuid, &ignored))
            fprintf(stderr, "roomkey-xen: %s\n", ignored.text);
        done->domid = 0;
    }
    /* Somebody else may have taken the room meanwhile; libxl is not clear about that. */
    if (rc == RC_FAILED && check_room(h, memory_kib, done))
        rc = RC_NOMEM;
    return rc;
}
