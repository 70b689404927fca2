/* The answer to a request: status line, fields, body, in the framing that the
 * request allows.  All in the request's fiber.
 *
 * Happy path: answer_begin, answer_set …, answer_write …, answer_end.  What is
 * written is collected and sent when there is a record's worth, when the fiber is
 * about to wait (answer_flush), and at the end. */
#ifndef RUNTIME_ANSWER_H
#define RUNTIME_ANSWER_H

#include "tenant-runtime/runtime/http.h"

/* RC_INVAL: begun already, or a status outside 200 … 599, or a type with CR, LF
 * or NUL.  RC_TOO_LARGE: fields past LIMIT_ANSWER. */
RC_MUST_CHECK enum rc answer_begin(struct rk_request *req, int status, const char *content_type,
                                   int64_t length);
RC_MUST_CHECK enum rc answer_set(struct rk_request *req, const char *name, const char *value);
/* RC_INVAL: not begun, or more than the length promised.  RC_CLOSED. */
RC_MUST_CHECK enum rc answer_write(struct rk_request *req, const void *buf, size_t len);
RC_MUST_CHECK enum rc answer_flush(struct rk_request *req);
/* RC_FAILED: less than the length promised was written: the connection is to be
 * reset, so that the client does not take it for whole. */
RC_MUST_CHECK enum rc answer_end(struct rk_request *req);
/* "HTTP/1.1 100 Continue", now. */
RC_MUST_CHECK enum rc answer_continue(struct rk_request *req);

/* The runtime's own answer: what is wrong, as text; ends the connection. */
void answer_refuse(struct rk_request *req, int status);

#endif
