/* What image store, certificate store and registry share: folders, whole writes, names by hash,
 * and what an errno means to a person. */
#ifndef ORCHESTRATOR_FILES_H
#define ORCHESTRATOR_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "orchestrator/refusal.h"

/* 64 lower-case hex digits: safe as a file's name. */
bool files_is_hash(const char *s);
/* `hex` holds 65. */
void files_hex(const unsigned char hash[32], char hex[65]);

/* Makes (0700) and opens a folder below STATE. */
RC_MUST_CHECK enum rc files_folder(const char *state_dir, const char *name, int *fd,
                                   struct refusal *no);
/* Why errno lets a folder not be used; `option` gives another. */
enum rc files_refuse_folder(struct refusal *no, const char *path, const char *option);
/* One roomkeyd a folder: a lock that ends with the process; *fd is the caller's. */
RC_MUST_CHECK enum rc files_lock(const char *dir, const char *option, int *fd, struct refusal *no);
/* A new file of that mode in the folder, for writing. */
RC_MUST_CHECK enum rc files_create(int dir, const char *name, unsigned mode, int *fd);
/* All of it; RC_FULL when the disk is. */
RC_MUST_CHECK enum rc files_write(int fd, const void *data, size_t len);

/* RC_FULL, RC_NOT_FOUND, RC_DENIED, RC_NOMEM or RC_IO. */
enum rc files_rc(int error);

/* Calls `cb` with each name in the folder but . and ..; the one called with may be removed. */
RC_MUST_CHECK enum rc files_each(int dir, void (*cb)(void *arg, const char *name), void *arg);

#endif
