/* What a tenant says, as STATE/logs/<tenant>.log: one line each, with time,
 * generation and level; the file is set aside as .log.1 when it is full.
 *
 * Failure (disk full, no folder): lines are lost and counted, nothing else. */
#ifndef ORCHESTRATOR_TENANT_LOG_H
#define ORCHESTRATOR_TENANT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"

#define TENANT_LOG_LINE_MAX 1280

struct tenant_log;

RC_MUST_CHECK enum rc tenant_log_path(const char *state_dir, const char *tenant, bool old,
                                      char *out, size_t size);
/* "2026-01-31T12:00:00.000Z 7 info text", cut to fit; `text` is clean. */
void tenant_log_line(char *out, size_t size, int64_t utc_ms, uint64_t generation, int level,
                     const char *text);

RC_MUST_CHECK enum rc tenant_log_open(const char *state_dir, const char *tenant, uint64_t size_max,
                                      struct tenant_log **out);
/* Adds a newline. */
RC_MUST_CHECK enum rc tenant_log_write(struct tenant_log *l, const char *line);
void tenant_log_close(struct tenant_log *l); /* NULL is fine */

#endif
