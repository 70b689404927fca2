/* The ticket secrets in a file, so that a front that is started again takes the tickets of the
 * one before it.
 *
 * The file is the parent's: mode 0600, on a file system in memory, and good for this boot
 * only, since who has it can read what TLS 1.2 connections with tickets of these two periods
 * said.  It is replaced at each step, so an older period's secret is nowhere.
 *
 * Happy path: ticket_file_load() at the start, ticket_file_save() then and at each step.
 *
 * Failure modes: RC_NOT_FOUND (nothing there that is of use: make fresh secrets),
 * RC_UNSUPPORTED (not in memory), RC_DENIED (not ours alone), RC_IO; all but the first logged. */
#ifndef TLS_FRONT_TICKET_FILE_H
#define TLS_FRONT_TICKET_FILE_H

#include <stdint.h>

#include "common/core/rc.h"
#include "tls-front/ticket.h"

/* Moves them on by the steps that were due meanwhile; *step_at is clock_us() of the next. */
RC_MUST_CHECK enum rc ticket_file_load(const char *path, uint32_t period_s,
                                       struct ticket_secrets *out, uint64_t *step_at);

RC_MUST_CHECK enum rc ticket_file_save(const char *path, const struct ticket_secrets *secrets,
                                       uint64_t step_at);

#endif
