/* What is to be started, and the jobs by which a helper does it: create a domain, launch it.
 * Their answers are facts of the instance: xen_instance.c decides. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/core/container_of.h"
#include "common/core/launch.h"
#include "common/core/secret.h"
#include "orchestrator/backend/xen/xen_instance.h"

enum rc xen_start_fill(struct backend_instance *i, const struct backend_spec *spec)
{
    uint64_t usable_kib = i->memory_kib - i->memory_kib / 8; /* the rest are its channels */
    int n = snprintf(i->words, sizeof i->words,
                     LAUNCH_ARG_TENANT "%s " LAUNCH_ARG_GENERATION "%" PRIu64
                                       " " LAUNCH_ARG_CHANNELS "%u " LAUNCH_ARG_MEMORY "%" PRIu64,
                     spec->tenant, spec->generation, spec->channels, usable_kib);

    if (n < 0 || (size_t)n >= sizeof i->words - sizeof LAUNCH_ARG_SEED - 2ul * LAUNCH_SEED_SIZE)
        return RC_INVAL;
    i->image_fd = fcntl(spec->image_fd, F_DUPFD_CLOEXEC, 0);
    if (i->image_fd < 0)
        return RC_FULL;
    return xen_name_instance(&i->backend->house, spec->tenant, spec->generation, i->name);
}

static void on_answer(struct xen_task *t, const struct xen_event *answer, int *fd)
{
    struct backend_instance *i = CONTAINER_OF(t, struct backend_instance, task);

    i->answered = true;
    i->answer = *answer;
    if (t->job.type == XEN_JOB_CREATE && answer->rc == RC_OK) {
        i->domain.domid = answer->domid;
        i->domain.console = *fd;
        *fd = -1;
    }
    xen_instance_step(i); /* must be last */
}

static void give_job(struct backend_instance *i, enum xen_job_type type)
{
    struct xen_task *t = &i->task;

    t->job.type = type;
    t->job.domid = i->domain.domid;
    memcpy(t->job.uuid, i->domain.uuid, XEN_UUID_SIZE);
    memcpy(t->job.name, i->name, XEN_NAME_MAX);
    t->job.memory_kib = i->memory_kib;
    t->fd = type == XEN_JOB_CREATE ? i->image_fd : -1;
    t->priority = XEN_START;
    t->done = on_answer;
    xen_helpers_do(&i->backend->helpers, t);
}

static bool add_seed(struct backend_instance *i)
{
    char *words = i->task.job.words;
    uint8_t seed[LAUNCH_SEED_SIZE];
    size_t len = strlen(i->words);
    bool good = getrandom(seed, sizeof seed, 0) == sizeof seed &&
                len + sizeof LAUNCH_ARG_SEED + 1 + 2 * sizeof seed < XEN_WORDS_MAX;

    if (good) {
        memcpy(words, i->words, len);
        len += (size_t)sprintf(words + len, " " LAUNCH_ARG_SEED);
        for (size_t n = 0; n < sizeof seed; n++)
            len += (size_t)sprintf(words + len, "%02x", seed[n]);
    }
    secret_wipe(seed, sizeof seed);
    return good;
}

/* An answer that needs no helper; from the loop, as any other. */
static void have_no_randomness(struct backend_instance *i)
{
    i->answered = true;
    i->answer = (struct xen_event){.rc = RC_CRYPTO};
    snprintf(i->answer.text, sizeof i->answer.text, "this host has no randomness");
    alarm_set(&i->backend->alarms, &i->alarm, 0);
}

void xen_start_create(struct backend_instance *i)
{
    i->pooled = false;
    memset(&i->domain, 0, sizeof i->domain);
    i->domain.console = -1;
    if (xen_uuid_new(&i->backend->house, i->domain.uuid)) {
        have_no_randomness(i);
        return;
    }
    i->reaped = i->backend->reaper.reaped;
    give_job(i, XEN_JOB_CREATE);
}

void xen_start_launch(struct backend_instance *i)
{
    if (add_seed(i))
        give_job(i, XEN_JOB_LAUNCH);
    else
        have_no_randomness(i);
}
