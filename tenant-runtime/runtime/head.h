/* What a request's head must be beyond its grammar: version, host, body framing,
 * method.  Sets what the rest of the runtime goes by. */
#ifndef RUNTIME_HEAD_H
#define RUNTIME_HEAD_H

#include "tenant-runtime/runtime/http.h"

/* 0, or the status to refuse it with. */
int head_check(struct rk_request *req, const llhttp_t *parser);

/* The value of the first field of that name, in any case; NULL: none. */
const char *head_field(const struct rk_request *req, const char *name);

#endif
