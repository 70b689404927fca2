/* What `roomkey-xen work` does with domains: one function a job, each synchronous,
 * each filling done->text when it does not return RC_OK.  All but the listing go
 * by uuid: a domain with another one is never touched, nor is dom0. */
#ifndef XEN_HELPER_DOMAIN_H
#define XEN_HELPER_DOMAIN_H

#include "orchestrator/backend/xen/helper/host.h"

/* A paused domain without devices, running `image` (borrowed); done->domid, and
 * its console's terminal in *console (the caller's).  Failed: nothing is left.
 * RC_NOMEM: the host has not enough memory; RC_EXISTS: the uuid is taken. */
RC_MUST_CHECK enum rc domain_create(struct host *h, const struct xen_job *job, int image,
                                    struct xen_event *done, int *console);

/* Gives it its words and its name, and lets it run. */
RC_MUST_CHECK enum rc domain_launch(struct host *h, const struct xen_job *job,
                                    struct xen_event *done);
/* Both may be asked for again. */
RC_MUST_CHECK enum rc domain_pause(struct host *h, const struct xen_job *job,
                                   struct xen_event *done);
RC_MUST_CHECK enum rc domain_unpause(struct host *h, const struct xen_job *job,
                                     struct xen_event *done);

/* Also a half-built one.  RC_OK when there is none; done->memory_kib: what it keeps although it is
 * destroyed, because somebody maps it. */
RC_MUST_CHECK enum rc domain_destroy(struct host *h, const uint8_t uuid[XEN_UUID_SIZE],
                                     struct xen_event *done);

/* Sends one XEN_FOUND a domain. */
RC_MUST_CHECK enum rc domain_list(struct host *h, const struct xen_job *job,
                                  struct xen_event *done);

#endif
