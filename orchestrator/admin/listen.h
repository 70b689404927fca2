/* The admin socket: RUN/admin.sock, and who may talk on it. */
#ifndef ORCHESTRATOR_ADMIN_LISTEN_H
#define ORCHESTRATOR_ADMIN_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/core/rc.h"
#include "orchestrator/refusal.h"

#define ADMIN_GROUP "roomkey"

struct admin_peer {
    uid_t uid;
    gid_t gid;
    bool allowed;
};

/* A non-blocking listener, mode 0660, of the group roomkey where there is one.  A socket file
 * that nobody answers at is removed; one that somebody answers at is a refusal (RC_EXISTS). */
RC_MUST_CHECK enum rc admin_listen(const char *path, int *fd, struct refusal *no);

/* By the socket's credentials: allowed are root, our own user and members of the group
 * roomkey, by the groups that the peer had when it connected. */
void admin_peer_read(int fd, struct admin_peer *out);

#endif
