/* Answers that are there as a whole: JSON, a text, a refusal with HTTP's status for it. */
#include "common/core/check.h"
#include "common/host/log.h"
#include "orchestrator/admin/server.h"

static struct MHD_Response *response_of(const char *type, struct admin_text *text)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(text->len, text->p, MHD_RESPMEM_MUST_FREE);

    CHECK(r);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    *text = (struct admin_text){0};
    return r;
}

void admin_answer_text(struct admin_request *q, const char *type, struct admin_text *text)
{
    admin_respond(q, MHD_HTTP_OK, response_of(type, text));
}

void admin_answer(struct admin_request *q, unsigned status, json_t *value)
{
    struct admin_text text = {0};

    admin_text_json(&text, value);
    admin_text_add(&text, "\n");
    admin_respond(q, status, response_of("application/json", &text));
}

/* HTTP's. */
static unsigned status_of(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return MHD_HTTP_OK;
    case RC_INVAL:
    case RC_MALFORMED:
    case RC_VERSION:
    case RC_UNSUPPORTED:
    case RC_CRYPTO:
        return MHD_HTTP_BAD_REQUEST;
    case RC_DENIED:
        return MHD_HTTP_FORBIDDEN;
    case RC_NOT_FOUND:
        return MHD_HTTP_NOT_FOUND;
    case RC_EXISTS:
    case RC_BUSY:
        return MHD_HTTP_CONFLICT;
    case RC_TOO_LARGE:
        return MHD_HTTP_CONTENT_TOO_LARGE;
    case RC_AGAIN:
    case RC_CLOSED:
    case RC_CANCELED:
    case RC_TIMEDOUT:
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    default:
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
}

void admin_refuse_as(struct admin_request *q, unsigned status, const struct refusal *no)
{
    char line[3 * REFUSAL_TEXT_MAX];

    admin_answer(q, status, json_pack("{s:s}", "error", refusal_line(no, line, sizeof line)));
}

void admin_refuse(struct admin_request *q, const struct refusal *no)
{
    admin_refuse_as(q, status_of(no->rc), no);
}

void admin_fail(struct admin_request *q, enum rc rc, const char *what)
{
    struct refusal no;

    log_warning("%s: %s", what, rc_text(rc));
    refusal_what(&no, rc, "%s", what);
    refusal_why(&no, "%s", rc_text(rc));
    refusal_todo(&no, "look at roomkeyd's log");
    admin_refuse(q, &no);
}
