/* roomkey.toml: what an operator may set for roomkeyd (docs/CONFIG.md).
 *
 * Happy path: config_init -> config_load -> the command line overrides.
 * Failure: a refusal that names the key, what it may be, and where to read on;
 * nothing is guessed, an unknown key is refused. */
#ifndef ORCHESTRATOR_CONFIG_H
#define ORCHESTRATOR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/host/log.h"
#include "orchestrator/backend/xen/xen.h"
#include "orchestrator/fleet.h"
#include "orchestrator/refusal.h"

#define CONFIG_SIZE_MAX 65536u

struct config {
    char state[256], run[256];
    char ground[16]; /* "auto", "sandbox", "xen" */
    bool leave_instances;
    enum log_level log_level;
    struct fleet_limits limits;
    struct xen_settings xen;
};

void config_init(struct config *c);

/* `text` is changed during the call.  *c keeps what it had on a refusal. */
RC_MUST_CHECK enum rc config_parse(struct config *c, char *text, struct refusal *no);
RC_MUST_CHECK enum rc config_load(struct config *c, const char *path, struct refusal *no);

#endif
