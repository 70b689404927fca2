/* What a helper says, as it comes out of its socket. */
#ifndef XEN_EVENT_H
#define XEN_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "orchestrator/backend/xen/xen_job.h"

/* Copies and checks one packet: false when it is none of ours. */
bool xen_event_take(const void *buf, size_t len, struct xen_event *out);

/* A uuid as people and the registry write it: 36 characters and a NUL. */
#define XEN_UUID_TEXT 37
void xen_uuid_text(const uint8_t uuid[XEN_UUID_SIZE], char out[XEN_UUID_TEXT]);
/* The same and nothing after it. */
bool xen_uuid_parse(const char *text, uint8_t uuid[XEN_UUID_SIZE]);

#endif
