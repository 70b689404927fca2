/* The sockets in RUN on which roomkeyd waits for its own front: SOCK_SEQPACKET, mode
 * 0600, for root and our own user. */
#ifndef ORCHESTRATOR_LOCAL_SOCKET_H
#define ORCHESTRATOR_LOCAL_SOCKET_H

#include <stdbool.h>

/* Listens, not blocking, at `path`, which fits a sockaddr_un; what was there goes.  -1
 * with errno set. */
int local_socket_listen(const char *path);

/* Whether the peer was root or our own user when it connected. */
bool local_socket_trusted(int fd);

#endif
