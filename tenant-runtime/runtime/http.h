/* HTTP/1.1, the server's side (RFC 9112), on llhttp.
 *
 * The happy path is: http_input feeds plaintext to the parser until a request's
 * head is whole and sound, then starts a fiber, which calls the app's on_request;
 * the app reads the body (http_read_body) and answers (answer.h); the fiber drains
 * what was not read, and the connection goes back to waiting for a head, or ends.
 *
 * Possible failure modes are a head that is wrong, too large or too slow, which
 * gets its 4xx or 5xx and ends the connection, and a client that goes away. */
#ifndef RUNTIME_HTTP_H
#define RUNTIME_HTTP_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "tenant-runtime/runtime/limits.h"

struct conn;

enum http_state {
    HTTP_WAITING, /* no byte of a next request */
    HTTP_READING, /* in the middle of a head */
    HTTP_QUEUED,  /* head is whole, waiting for its turn */
    HTTP_SERVING, /* a fiber serves it */
    HTTP_OVER,    /* no further request on this connection */
};

enum answer_state {
    ANSWER_NONE,
    ANSWER_HEAD, /* begun; fields may be set */
    ANSWER_BODY,
    ANSWER_DONE,
};

struct rk_request {
    struct conn *conn;       /* borrowed */
    struct rk_request *next; /* in one of http.c's lists */

    /* The head: offsets into `text`, where the target is first. */
    struct {
        uint16_t name, value;
    } field[LIMIT_FIELDS];
    uint16_t fields, path, query, text_len;
    uint16_t head_bytes; /* as they came */
    char first[24];      /* the request line's first, for what llhttp does not tell */
    uint8_t method;
    bool in_field, head_over;
    int refusal; /* status that the runtime answers with; 0: it is the app's turn */
    bool http10, head_only, keep_alive, expect_continue;

    /* The body. */
    bool body_over;
    int body_fault;     /* status of what is wrong with it; 0: nothing */
    int64_t length;     /* -1: chunked */
    uint64_t body_read; /* bytes */
    uint32_t body_ms;   /* that may still be waited for more of it */
    uint32_t overhead;  /* bytes of framing since the last byte of body */
    uint8_t *sink;      /* where the parser puts body bytes; borrowed for one call */
    size_t sink_len;

    /* The answer. */
    enum answer_state answer;
    bool chunked, no_body, answer_sent; /* _sent: in part at least */
    int64_t left;                       /* bytes of body still due; -1: not known */
    uint32_t out_len;                   /* of `out`: waiting to be sent */

    /* Not zeroed when it is made: only what is used is touched. */
    char text[LIMIT_HEAD + LIMIT_TARGET + LIMIT_FIELDS];
    uint8_t out[LIMIT_ANSWER];
};

struct http {
    enum http_state state;
    bool asked; /* at least one request has begun */
    llhttp_t parser;
    struct rk_request *req; /* owned; from the first byte of a head to its end */
};

void http_init(struct conn *c);
/* Takes what it can of the plaintext that is there.  In the loop, not in a fiber. */
void http_input(struct conn *c);
/* The deadline of HTTP_WAITING or HTTP_READING has passed. */
void http_deadline(struct conn *c);
/* Frees the request, if there is one. */
void http_dispose(struct conn *c);
/* Goes on with connections whose request has ended, and starts requests that
 * waited for their turn.  True when there was one. */
bool http_run(void);

/* In the request's fiber: up to `size` bytes of body.  RC_OK with *n == 0: its
 * end.  RC_CLOSED, RC_TIMEDOUT; RC_MALFORMED: the body is cut off or malformed;
 * RC_TOO_LARGE: past the app's max_body. */
RC_MUST_CHECK enum rc http_read_body(struct rk_request *req, void *buf, size_t size, size_t *n);

#endif
