/* A refusal as a person reads it: what, why, what to do.
 *
 * Filled by whoever refuses, with the result code beside it for programs:
 *
 *     refusal_what(no, RC_EXISTS, "host name %s is taken", host);
 *     refusal_why(no, "tenant %s has it", tenant);
 *     return refusal_todo(no, "choose another, or remove it there");
 *
 * Texts are cut to fit, and control characters in them become '?': they may
 * hold what a stranger wrote.  Nothing is allocated. */
#ifndef ORCHESTRATOR_REFUSAL_H
#define ORCHESTRATOR_REFUSAL_H

#include <stddef.h>

#include "common/core/rc.h"

#define REFUSAL_TEXT_MAX 512

struct refusal {
    enum rc rc;
    char what[REFUSAL_TEXT_MAX];
    char why[REFUSAL_TEXT_MAX];
    char todo[REFUSAL_TEXT_MAX]; /* may be empty */
};

/* Starts a refusal: clears why and todo.  All three return the refusal's rc. */
enum rc refusal_what(struct refusal *no, enum rc rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum rc refusal_why(struct refusal *no, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
enum rc refusal_todo(struct refusal *no, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* All in one line: "what: why; todo".  Returns `buf`. */
const char *refusal_line(const struct refusal *no, char *buf, size_t size);

#endif
