/* What roomkeyd and its helper processes `roomkey-xen` tell each other.
 *
 * One struct a packet, over a SOCK_SEQPACKET socket pair whose one end is the
 * helper's descriptor XEN_JOB_FD.  Both sides are of the same release, so there is no
 * version and no encoding; lengths and strings are checked all the same.
 *
 * `roomkey-xen work` takes one job at a time and answers it with one XEN_DONE
 * (XEN_JOB_LIST: with one XEN_FOUND a domain before it).  `roomkey-xen watch`
 * takes XEN_JOB_WATCH and XEN_JOB_UNWATCH, which are not answered, and tells what
 * happens to those domains.  Either ends when its socket is closed. */
#ifndef XEN_JOB_H
#define XEN_JOB_H

#include <stdint.h>

#include "common/core/launch.h"

#define XEN_JOB_FD    3
#define XEN_UUID_SIZE 16
#define XEN_NAME_MAX  128
#define XEN_WORDS_MAX 1024
#define XEN_TEXT_MAX  256
#define XEN_USAGE_MS  2000                      /* between two XEN_USAGE of a domain */
#define XEN_CHANNELS  (1 + LAUNCH_CHANNELS_MAX) /* [0]: control, [1 + i]: worker i's */

enum xen_job_type {
    XEN_JOB_PROBE = 1, /* can this host do it? text: why not, or a warning */
    XEN_JOB_LIST,      /* all domains whose name begins with `name` */
    XEN_JOB_CREATE,    /* name, uuid, memory_kib; fd: the image.  Left paused.  Done: domid; fd:
                          console */
    XEN_JOB_LAUNCH,    /* domid, name (new one), words: writes the launch node, renames, unpauses */
    XEN_JOB_PAUSE,     /* domid */
    XEN_JOB_UNPAUSE,   /* domid */
    XEN_JOB_DESTROY,   /* uuid (domid 0: whichever domain has it); gone already: RC_OK */
    XEN_JOB_WATCH,     /* watch: domid */
    XEN_JOB_UNWATCH,   /* watch: domid */
};

struct xen_job {
    uint32_t type; /* enum xen_job_type */
    uint32_t domid;
    uint64_t token; /* comes back */
    uint8_t uuid[XEN_UUID_SIZE];
    uint64_t memory_kib;
    char name[XEN_NAME_MAX];
    char words[XEN_WORDS_MAX]; /* holds the seed: wiped by both sides when used */
};

enum xen_event_type {
    XEN_DONE = 1,  /* work: the job is over */
    XEN_FOUND,     /* work, LIST: one domain; fd: its console (none when it has none) */
    XEN_PUBLISHED, /* watch: all channels of domid are in xenstore */
    XEN_SHUTDOWN,  /* watch: domid has stopped running but is still there */
    XEN_GONE,      /* watch: there is no such domain any more */
    XEN_USAGE,     /* watch */
};

/* One vchan as its nodes in xenstore say: a guest's word. 0, 0: not there. */
struct xen_vchan {
    uint32_t ring_ref, port;
};

struct xen_event {
    uint32_t type; /* enum xen_event_type */
    uint32_t domid;
    uint64_t token;
    uint16_t rc;                 /* DONE: enum rc */
    uint8_t paused;              /* FOUND */
    uint8_t shutdown;            /* FOUND, SHUTDOWN: it has */
    uint8_t reason;              /* … why: SHUTDOWN_* of xen/sched.h */
    int32_t status;              /* … its exit status, a guest's word; -1: it gave none */
    uint8_t uuid[XEN_UUID_SIZE]; /* FOUND */
    uint64_t cpu_us, memory_kib; /* FOUND, USAGE */
    uint32_t channels;           /* FOUND, PUBLISHED: vchans beside control */
    struct xen_vchan vchan[XEN_CHANNELS];
    char name[XEN_NAME_MAX]; /* FOUND */
    char text[XEN_TEXT_MAX]; /* DONE: why it failed and what to do, one line; PROBE: a warning */
};

_Static_assert(sizeof(struct xen_job) <= 4096 && sizeof(struct xen_event) <= 4096,
               "a packet (PACKET_SIZE_MAX)");

#endif
