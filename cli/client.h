/* The admin API's client: HTTP over RUN/admin.sock.
 *
 * Happy path: a call gives the answer's JSON.  Anything else has been said in
 * one line on standard error when the call returns STATUS_FAILED: no daemon
 * (which socket, how to start it), no permission, the daemon's own refusal. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CLIENT_PATH_MAX 1024

/* An API path with the name in it escaped: "/v1/tenants/%s/logs". */
__attribute__((format(printf, 2, 0))) void client_path(char out[CLIENT_PATH_MAX],
                                                       const char *template, const char *name);

/* `body` is consumed and may be NULL.  `waiting`: shown on a terminal while the
 * answer is awaited; NULL for nothing.  *out is owned by the caller. */
int client_call(const char *run, const char *method, const char *path, json_t *body,
                const char *waiting, json_t **out);

/* PUTs a file, with progress on a terminal. */
int client_upload(const char *run, const char *path, const char *file, json_t **out);

/* A stream, line by line (without newline, NUL-terminated). */
int client_stream(const char *run, const char *path, void (*line)(void *arg, const char *text),
                  void *arg);

/* GET that says nothing when it fails: NULL then. */
json_t *client_try(const char *run, const char *path);

#endif
