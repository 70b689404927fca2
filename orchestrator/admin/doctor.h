/* What of this host lets Roomkey work, and what does not: facts with advice.
 *
 * Used by /v1/doctor, and by `roomkeyd --doctor` where no daemon runs.  Looks, tries and
 * changes nothing.  Blocks, for the time of a hash of all images (some ms a MiB) or until it is
 * stopped: for libuv's pool. */
#ifndef ORCHESTRATOR_ADMIN_DOCTOR_H
#define ORCHESTRATOR_ADMIN_DOCTOR_H

#include <jansson.h>
#include <stdatomic.h>

#include "orchestrator/backend/backend.h"

#define DOCTOR_NO_DAEMON (-1)

struct doctor_host {
    const char *state_dir, *run_dir;
    const struct backend_ops *const *grounds; /* that are built in; ends with NULL */
    const char *ground;                       /* the chosen one; NULL: none yet */
    const char *wish;                         /* … then the configured one, or "auto" */
    const char *ground_why;                   /* it was chosen; NULL: none was */
    int workers;             /* of the front, connected; DOCTOR_NO_DAEMON: nobody knows */
    const json_t *gone;      /* texts: the files of images that are not there; NULL: nobody knows */
    const atomic_bool *stop; /* the answer is not needed any more; NULL: it always is */
};

/* [{"check","ok","level","text"}], owned by the caller. */
json_t *doctor_look(const struct doctor_host *host);

#endif
