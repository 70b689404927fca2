/* The single checks of probe.h. */
#ifndef XEN_HELPER_PROBE_CHECKS_H
#define XEN_HELPER_PROBE_CHECKS_H

#include <stdbool.h>

#include "orchestrator/backend/xen/helper/host.h"

struct probe {
    struct host *host;
    void (*tell)(struct probe *p, const struct xen_event *check);
    struct xen_event *done; /* its text: the first fault, else the first warning */
    uint64_t token;
    bool fault;
};

/* Whether this is a dom0 at all, by what the kernel says: without it nothing else
 * makes sense, and Xen's libraries would only complain. */
bool probe_is_dom0(struct probe *p);
void probe_devices(struct probe *p);
/* Opens the hypervisor, xenstore and libxl; false when that cannot be had. */
bool probe_open(struct probe *p);
void probe_version(struct probe *p);
void probe_pvh(struct probe *p);
void probe_memory(struct probe *p);
void probe_grants(struct probe *p);
void probe_console(struct probe *p);

/* For the above: tells one check. */
void probe_say(struct probe *p, const char *name, enum xen_level level, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
