/* systemd's notify protocol (sd_notify(3)): one datagram to $NOTIFY_SOCKET. */
#ifndef COMMON_HOST_NOTIFY_H
#define COMMON_HOST_NOTIFY_H

/* `state` is "READY=1", "STOPPING=1", "STATUS=…".  Does nothing when there is no
 * socket to tell; a failure is logged, never fatal: the service still works. */
void notify_send(const char *state);

#endif
