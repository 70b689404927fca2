/* The sandbox of the key agent: as user roomkey-keys, or AGENT_UID without one; no
 * system call that opens, connects or starts anything, or makes a descriptor but by
 * taking one from its parent or roomkeyd. */
#ifndef TLS_FRONT_AGENT_SANDBOX_H
#define TLS_FRONT_AGENT_SANDBOX_H

#include "common/core/rc.h"

#define AGENT_USER "roomkey-keys"
#define AGENT_UID  64322u /* next to WORKER_UID */

RC_MUST_CHECK enum rc agent_sandbox_enter(void);

#endif
