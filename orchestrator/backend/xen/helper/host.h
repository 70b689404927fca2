/* This host as one process has it open: the hypervisor, xenstore, and for work
 * libxl; and finding domains on it.
 *
 * Happy path: host_open(), host_open_xl() where domains are made or ended, jobs,
 * end of the process (nothing is closed before).
 * Failure modes: no Xen, no right, no xenstored: RC_UNSUPPORTED or RC_DENIED from
 * host_open(); later everything that these libraries fail at is RC_IO. */
#ifndef XEN_HELPER_HOST_H
#define XEN_HELPER_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <libxl.h>
#include <libxl_utils.h>
#include <xenctrl.h>
#include <xenstore.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/helper/xl_log.h"
#include "orchestrator/backend/xen/xen_job.h"

#define HOST_CHUNK 256 /* domains asked for in one hypercall */

struct host {
    struct xl_log log;
    xc_interface *xc;     /* owned; NULL: not open */
    struct xs_handle *xs; /* owned; NULL: not open */
    libxl_ctx *xl;        /* owned; NULL: not open */
};

/* Each may be called again, and does what is left to be done. */
RC_MUST_CHECK enum rc host_open(struct host *h);
RC_MUST_CHECK enum rc host_open_xl(struct host *h);
/* Whether xenstored, which was open, has hung up: no library opens it again.  Asks it, and waits.
 */
bool host_cut_off(const struct host *h);
/* Lets go of xenstored and libxenlight, for the next to open them anew. */
void host_close(struct host *h);

/* Up to HOST_CHUNK domains from `first` on, by domid; their number, or -1. */
int host_domains(struct host *h, uint32_t first, xc_domaininfo_t *out);

/* The domain of that uuid, other than dom0 and those being destroyed.
 * RC_NOT_FOUND: there is none. */
RC_MUST_CHECK enum rc host_find(struct host *h, const uint8_t uuid[XEN_UUID_SIZE], uint32_t *domid);
/* What the hypervisor says of that domain, if it has that uuid and is not being
 * destroyed; RC_NOT_FOUND otherwise. */
RC_MUST_CHECK enum rc host_look(struct host *h, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE],
                                xc_domaininfo_t *out);
bool host_is(const xc_domaininfo_t *info, const uint8_t uuid[XEN_UUID_SIZE]);

/* Translates what a foreign library left in errno. */
enum rc host_rc(int error);

#endif
