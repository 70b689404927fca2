/* The rig's certificates, and the part of the fake roomkeyd that gives the key agent
 * their keys: RUN/agent.sock, served by a process of its own, so that tests go on step by
 * step. */
#ifndef TESTS_FRONT_KEYS_H
#define TESTS_FRONT_KEYS_H

#include <sys/types.h>

/* NAME.crt, NAME.key, NAME.id and ID.pem, for each name of rig_certs, into `dir`.  Made
 * once in a program, as an RSA key takes its time. */
void keys_make(const char *dir);

/* Gives `dir`/ID.pem for each KEY, or REFUSED.  Back when it listens. */
pid_t keys_start(const char *dir);
void keys_stop(pid_t pid); /* and its socket is gone */

#endif
