/* For tests inside dom0: a `roomkey-xen` as roomkeyd starts it, and a look at the
 * host past it.  Waits have deadlines; what goes wrong fails the test. */
#ifndef TESTS_XEN_HELPER_RIG_H
#define TESTS_XEN_HELPER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <xenctrl.h>
#include <xenstore.h>

#include <cmocka.h>

#include "common/core/rc.h"
#include "orchestrator/backend/xen/xen_job.h"

#define RIG_PREFIX   "rk-7e57-"
#define RIG_TAG      "\x7e\x57\xaa\x01" /* each uuid of a test begins with it */
#define RIG_DEADLINE 60000              /* ms; emulated hosts are slow */
#define RIG_MEMORY   4096               /* KiB */

struct helper {
    pid_t pid;
    int fd;
};

extern xc_interface *rig_xc;
extern struct xs_handle *rig_xs;

/* Group setup and teardown: opens the host, and destroys what a test has left. */
int rig_open(void **state);
int rig_close(void **state);

void helper_start(struct helper *h, const char *mode);
/* Closes the socket and waits; its wait status. */
int helper_end(struct helper *h);
/* kill -9. */
void helper_kill(struct helper *h);

void helper_send(struct helper *h, const struct xen_job *job, int fd);
/* The next event; *fd: what came with it (the caller's), or -1.  false: none within `ms`. */
bool helper_get(struct helper *h, struct xen_event *e, int *fd, int ms);
/* Sends and takes the XEN_DONE; what came with it goes to *fd (NULL: must be nothing). */
struct xen_event helper_call(struct helper *h, const struct xen_job *job, int give, int *fd);
/* The next event of that type; others before it, of that domain or not, are passed over. */
struct xen_event helper_wait(struct helper *h, enum xen_event_type type, uint32_t domid);

/* A CREATE with a new uuid and a name of its own. */
struct xen_job rig_job(enum xen_job_type type);
/* An idle domain, as a LAUNCH, PAUSE, … of it begins: domid and uuid are set. */
struct xen_job rig_create(struct helper *h, int image);
void rig_destroy(struct helper *h, const struct xen_job *job);

/* false: no such domain, or it is being destroyed. */
bool rig_info(const struct xen_job *job, xc_domaininfo_t *out);
bool rig_find(const uint8_t uuid[XEN_UUID_SIZE], uint32_t *domid);
/* Destroyed domains stay until those have let go who had mapped their memory: xenstored and
 * xenconsoled do it when they are told, soon after. */
void rig_wait_gone(const uint8_t uuid[XEN_UUID_SIZE]);
/* Domains beside dom0. */
unsigned rig_domains(void);
/* Waits until there are no more than that. */
void rig_wait_domains(unsigned max);

/* Text of a node of the domain; "" when there is none.  Static. */
const char *rig_read(uint32_t domid, const char *node);
/* As if the guest did it. */
void rig_write(uint32_t domid, const char *node, const char *text);
void rig_publish(uint32_t domid, unsigned channels);

uint64_t rig_ms(void);

#endif
