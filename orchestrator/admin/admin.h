/* The admin API's server: HTTP and JSON on RUN/admin.sock (docs/ADMIN-API.md).
 *
 * libmicrohttpd does HTTP; its epoll descriptor is polled by the uv loop, so that every handler
 * runs on the loop thread and may use registry and fleet.
 *
 * Happy path: admin_open -> requests -> admin_close, then run the loop dry.
 * Failure modes: the socket cannot be made, or another roomkeyd has it: a refusal. */
#ifndef ORCHESTRATOR_ADMIN_H
#define ORCHESTRATOR_ADMIN_H

#include <stdint.h>
#include <uv.h>

#include "common/core/rc.h"
#include "orchestrator/admin/doctor.h"
#include "orchestrator/refusal.h"

struct admin;
struct cert_store;
struct fleet;
struct image_store;
struct registry;

/* What the handlers work with; all borrowed until admin_close(). */
struct admin_house {
    uv_loop_t *loop;
    struct registry *registry;
    struct image_store *images;
    struct cert_store *certs;
    struct fleet *fleet;
    struct doctor_host host;
    int64_t started_at;  /* ms UTC */
    uint64_t started_us; /* clock_us(): a clock that is set is no uptime */
};

RC_MUST_CHECK enum rc admin_open(const struct admin_house *house, struct admin **out,
                                 struct refusal *no);
/* No request is taken any more, clients that wait are let go.  Whatever owes a request an answer
 * (fleet, stores) must have been ended, and told so, before the loop is run dry.  NULL is fine. */
void admin_close(struct admin *a);

#endif
