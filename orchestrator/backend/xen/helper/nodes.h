/* The nodes of one domain in xenstore that Roomkey reads and writes.
 *
 * What lies below data/ is written by the guest: numbers are taken only in the
 * one form that libxenvchan writes (decimal digits), anything else counts as not
 * there.  What only dom0 writes (name, console) is taken only from nodes that no
 * other domain may write.  Nothing here waits for a guest. */
#ifndef XEN_HELPER_NODES_H
#define XEN_HELPER_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xenstore.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

#define NODES_PATH_MAX 96

/* The node that the guest writes last: see nodes_vchans(). */
void nodes_control_path(char out[NODES_PATH_MAX], uint32_t domid);

/* Fills vchan[] and `channels`; false when the control channel is not there yet,
 * and then nothing is. */
bool nodes_vchans(struct xs_handle *xs, uint32_t domid, struct xen_event *e);
/* 0..255, or -1. */
int32_t nodes_exit_status(struct xs_handle *xs, uint32_t domid);

/* RC_NOT_FOUND: it has none (that may be trusted, and is not too long). */
RC_MUST_CHECK enum rc nodes_name(struct xs_handle *xs, uint32_t domid, char out[XEN_NAME_MAX]);
/* Opens the terminal of its console; *fd is the caller's.  RC_NOT_FOUND: it has none. */
RC_MUST_CHECK enum rc nodes_console(struct xs_handle *xs, uint32_t domid, int *fd);

/* A folder that the guest may only read. */
RC_MUST_CHECK enum rc nodes_prepare(struct xs_handle *xs, uint32_t domid);
RC_MUST_CHECK enum rc nodes_launch(struct xs_handle *xs, uint32_t domid, const char *words);
/* The guest has read it, and it holds a secret. */
void nodes_forget_launch(struct xs_handle *xs, uint32_t domid);
RC_MUST_CHECK enum rc nodes_rename(struct xs_handle *xs, uint32_t domid,
                                   const uint8_t uuid[XEN_UUID_SIZE], const char *name);
/* All of a domain that libxl cannot end any more. */
void nodes_remove(struct xs_handle *xs, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE]);

#endif
