/* Plain HTTP, for those who come without TLS: a redirect to https, and the
 * challenge files of ACME (RFC 8555, 8.3).  Nothing else.
 *
 * Happy path: one request a connection, at most HTTP_REQUEST_MAX bytes in
 * HTTP_SECONDS; GET /.well-known/acme-challenge/TOKEN gives the file TOKEN of
 * --acme-dir, every other path a 308 to https://HOST/…, and then the end.
 *
 * Failure modes: 400 for what is no request or has no usable Host, 404 for a token
 * that is not there, 405; too long: 414, 431; too late, too often (--rate), or the oldest of too
 * many: closed. */
#ifndef TLS_FRONT_HTTP_H
#define TLS_FRONT_HTTP_H

#include "common/core/rc.h"

#define HTTP_REQUEST_MAX 8192u
#define HTTP_SECONDS     10u
#define HTTP_CONNS_MAX   256u

struct worker;

/* `listener` is consumed; `acme` is an open folder, or -1. */
RC_MUST_CHECK enum rc http_listen(struct worker *w, int listener, int acme);
/* No new ones; the open ones end within their time. */
void http_close(struct worker *w);

#endif
