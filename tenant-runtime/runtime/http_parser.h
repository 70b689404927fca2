/* Where llhttp is called: bytes in, a request's texts and body out.
 *
 * Happy path: http_parser_init, http_parser_head until RC_OK, then
 * http_parser_body until req->body_over.  Failure modes: RC_MALFORMED with
 * req->refusal set to the status that the fault deserves. */
#ifndef RUNTIME_HTTP_PARSER_H
#define RUNTIME_HTTP_PARSER_H

#include "tenant-runtime/runtime/http.h"

void http_parser_init(llhttp_t *parser, struct rk_request *req);

/* RC_AGAIN: took all, more is needed.  RC_OK: the head is whole, *used bytes in. */
RC_MUST_CHECK enum rc http_parser_head(llhttp_t *parser, struct rk_request *req,
                                       const uint8_t *data, size_t len, size_t *used);

/* Puts the body bytes among `len` at `data` into `sink`, which has room for `len`. */
RC_MUST_CHECK enum rc http_parser_body(llhttp_t *parser, struct rk_request *req,
                                       const uint8_t *data, size_t len, size_t *used, uint8_t *sink,
                                       size_t *sink_len);

#endif
