/* What roomkeyd and its helper processes `roomkey-xen` tell each other.
 *
 * One struct a packet, over a SOCK_SEQPACKET socket pair whose one end is the
 * helper's descriptor XEN_JOB_FD.  Both sides are of the same release, so there is no
 * version and no encoding; lengths and strings are checked all the same.
 *
 * `roomkey-xen work` takes one job at a time and answers it with one XEN_DONE
 * (XEN_JOB_LIST: with one XEN_FOUND a domain before it; XEN_JOB_PROBE: with one
 * XEN_CHECK a fact).  `roomkey-xen watch` takes XEN_JOB_WATCH and XEN_JOB_UNWATCH,
 * which are not answered, and tells what happens to those domains.  Either ends
 * when its socket is closed; a domain whose CREATE could not be answered is
 * destroyed first.
 *
 * A domain is meant by its uuid: where there is a domid beside it, that is only
 * where to look, and a domain there with another uuid is as good as none
 * (RC_NOT_FOUND, XEN_GONE). */
#ifndef XEN_JOB_H
#define XEN_JOB_H

#include <stdint.h>

#include "common/core/launch.h"

#define XEN_JOB_FD    3
#define XEN_UUID_SIZE 16
#define XEN_UUID_TAG  4 /* first bytes of a uuid that may say whose it is */
#define XEN_NAME_MAX  128
#define XEN_WORDS_MAX 1024
#define XEN_TEXT_MAX  256
#define XEN_USAGE_MS  2000                      /* between two XEN_USAGE of a domain */
#define XEN_CHANNELS  (1 + LAUNCH_CHANNELS_MAX) /* [0]: control, [1 + i]: worker i's */

enum xen_job_type {
    XEN_JOB_PROBE = 1, /* can this host do it? text: the first fault (then not RC_OK), or the
                          first warning, or empty */
    XEN_JOB_LIST,      /* all domains whose name begins with `name`, and half-built ones without a
                          name whose uuid begins with the first XEN_UUID_TAG bytes of `uuid`, if
                          those are not all 0 */
    XEN_JOB_CREATE,    /* name, uuid, memory_kib (rounded up to a MiB); fd: the image.  Left paused.
                          Done: domid; fd: console.  RC_NOMEM: the host has not enough */
    XEN_JOB_LAUNCH,    /* domid, uuid, name (new one), words: writes the launch node, renames,
                          unpauses */
    XEN_JOB_PAUSE,     /* domid, uuid */
    XEN_JOB_UNPAUSE,   /* domid, uuid */
    XEN_JOB_DESTROY,   /* uuid (domid is not looked at); gone already: RC_OK */
    XEN_JOB_WATCH,     /* watch: domid, uuid */
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
    XEN_CHECK,     /* work, PROBE: one fact about this host: name, level, text */
    XEN_PUBLISHED, /* watch, once: all channels of domid are in xenstore */
    XEN_SHUTDOWN,  /* watch, once: domid has stopped running but is still there */
    XEN_GONE,      /* watch, once: there is no such domain any more, or it is being destroyed; it
                      is no longer watched */
    XEN_USAGE,     /* watch, every XEN_USAGE_MS */
};

enum xen_level { XEN_LEVEL_OK, XEN_LEVEL_WARN, XEN_LEVEL_FAULT };

/* One vchan as its nodes in xenstore say: a guest's word. 0, 0: not there. */
struct xen_vchan {
    uint32_t ring_ref, port;
};

struct xen_event {
    uint32_t type; /* enum xen_event_type */
    uint32_t domid;
    uint64_t token;
    uint16_t rc;                 /* DONE: enum rc */
    uint8_t level;               /* CHECK: enum xen_level */
    uint8_t paused;              /* FOUND */
    uint8_t shutdown;            /* FOUND, SHUTDOWN: it has */
    uint8_t reason;              /* … why: SHUTDOWN_* of xen/sched.h */
    int32_t status;              /* … its exit status, a guest's word; -1: it gave none */
    uint8_t uuid[XEN_UUID_SIZE]; /* FOUND */
    uint64_t cpu_us, memory_kib; /* FOUND, USAGE; DONE: of CREATE with RC_NOMEM, what is lacking;
                                    of DESTROY, what is not free yet since somebody maps it */
    uint32_t channels;           /* FOUND, PUBLISHED: vchans beside control */
    struct xen_vchan vchan[XEN_CHANNELS];
    char name[XEN_NAME_MAX]; /* FOUND; CHECK: what was looked at ("dom0 memory") */
    char text[XEN_TEXT_MAX]; /* DONE: why it failed and what to do, one line; CHECK: what was seen
                                and what to do */
};

_Static_assert(sizeof(struct xen_job) <= 4096 && sizeof(struct xen_event) <= 4096,
               "a packet (PACKET_SIZE_MAX)");

#endif
