/* One request to the admin API, as its handler sees it.
 *
 * Happy path: the route's handler is called once with the whole body and answers exactly
 * once: at once, or later after admin_later(), or by a stream.
 * Failure modes: the client goes while an answer is awaited: the answer is dropped, what was
 * asked for goes on; it goes during a stream: the stream is closed. */
#ifndef ORCHESTRATOR_ADMIN_REQUEST_H
#define ORCHESTRATOR_ADMIN_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "orchestrator/admin/body.h"
#include "orchestrator/admin/listen.h"
#include "orchestrator/refusal.h"

#define ADMIN_PATH_NAME_SIZE 256

struct admin_house;
struct admin_request;

/* A text that grows; owned by whoever holds it. */
struct admin_text {
    char *p;
    size_t len, room;
};

__attribute__((format(printf, 2, 3))) void admin_text_add(struct admin_text *t, const char *fmt,
                                                          ...);
void admin_text_bytes(struct admin_text *t, const void *data, size_t len);
/* Compact JSON; consumes `value`. */
void admin_text_json(struct admin_text *t, json_t *value);
void admin_text_dispose(struct admin_text *t);

enum admin_next {
    ADMIN_MORE, /* ask again when what was put into *out is sent */
    ADMIN_WAIT, /* nothing for now: admin_wake() when there is */
    ADMIN_END,
};

/* An answer that is made piece by piece, each bounded, as fast as the client takes it. */
struct admin_stream {
    const char *content_type;
    enum admin_next (*next)(struct admin_request *q, void *state, struct admin_text *out);
    void (*close)(void *state); /* exactly once */
};

struct admin_route {
    const char *method;    /* NULL ends the table */
    const char *path;      /* "/v1/tenants/{}/suspend": {} stands for one name */
    uint32_t takes, needs; /* of the body: ADMIN_BIT sets; 0: no body */
    void (*handle)(struct admin_request *q);
    /* For a body that is not JSON: each piece as it comes, then handle().  NULL: JSON. */
    void (*upload)(struct admin_request *q, const void *data, size_t len);
    void (*abort)(struct admin_request *q); /* of upload: handle() will not come */
};

extern const struct admin_route admin_routes[];

/* What a handler may know.  All borrowed. */
struct admin_house *admin_of(const struct admin_request *q);
const struct admin_peer *admin_peer(const struct admin_request *q);
const struct admin_body *admin_body(const struct admin_request *q);
const char *admin_name(const struct admin_request *q);                     /* of the path */
const char *admin_argument(struct admin_request *q, const char *argument); /* ?x=; may be NULL */
bool admin_follows(struct admin_request *q);                               /* ?follow=1 */
/* All of the text is a number from 0 to INT64_MAX. */
bool admin_number(const char *text, uint64_t *out);

/* A place for the handler's own state between its calls; freed by nobody. */
void **admin_slot(struct admin_request *q);

/* The answers; each ends the handler's part, and the request may be gone then. */
void admin_answer(struct admin_request *q, unsigned status, json_t *value); /* consumes */
void admin_answer_text(struct admin_request *q, const char *type, struct admin_text *text);
void admin_refuse(struct admin_request *q, const struct refusal *no);
void admin_refuse_as(struct admin_request *q, unsigned status, const struct refusal *no);
/* A refusal whose cause is inside the house: rc with what was tried. */
void admin_fail(struct admin_request *q, enum rc rc, const char *what);
void admin_stream(struct admin_request *q, const struct admin_stream *stream, void *state);

/* Who follows holds a connection for as long as it likes: half of them are kept for the others.
 * True also when it does not ask to.  False: refused, return. */
bool admin_may_follow(struct admin_request *q);

/* The API is closed: fleet and registry may not be used any more.  True: refused, return. */
bool admin_refused_closed(struct admin_request *q);

/* The answer comes from a callback, for which the request is kept. */
void admin_later(struct admin_request *q);
/* A stream that said ADMIN_WAIT has something now (or should look). */
void admin_wake(struct admin_request *q);

#endif
