#include "orchestrator/admin/body.h"

#include <stdio.h>
#include <string.h>

enum kind { KIND_TEXT, KIND_TEXTS, KIND_PATH, KIND_NUMBER, KIND_FLAG };

static const struct member {
    const char *name;
    enum kind kind;
    uint64_t max;
} members[ADMIN_MEMBER_NR] = {
#define X(id, name, kind, max) [ADMIN_MEMBER_##id] = {#name, KIND_##kind, max},
    ADMIN_MEMBERS(X)
#undef X
};

static enum rc malformed(struct refusal *no, const char *why)
{
    refusal_what(no, RC_INVAL, "the request's body is refused");
    refusal_why(no, "%s", why);
    return refusal_todo(no, "send one JSON object as docs/ADMIN-API.md describes it");
}

static enum rc unknown(struct refusal *no, const char *name, uint32_t takes)
{
    char list[REFUSAL_TEXT_MAX] = "";

    for (unsigned i = 0; i < ADMIN_MEMBER_NR; i++) {
        if (takes & (1u << i)) {
            size_t used = strlen(list);

            snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", members[i].name);
        }
    }
    refusal_what(no, RC_INVAL, "member %s of the request is refused", name);
    refusal_why(no, "this call does not take it");
    return refusal_todo(no, "it takes: %s", *list ? list : "none");
}

static enum rc wrong(struct refusal *no, const char *name, const char *want)
{
    refusal_what(no, RC_INVAL, "member %s of the request is refused", name);
    return refusal_why(no, "it must be %s", want);
}

static enum rc read_texts(const json_t *value, struct admin_body *out, struct refusal *no,
                          const char *name)
{
    json_t *item;
    size_t i;

    if (!json_is_array(value) || json_array_size(value) == 0 ||
        json_array_size(value) > REGISTRY_HOSTS_MAX)
        return wrong(no, name, "an array of 1 to 64 texts");
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item))
            return wrong(no, name, "an array of 1 to 64 texts");
        out->hosts[i] = json_string_value(item);
    }
    out->hosts_nr = json_array_size(value);
    return RC_OK;
}

static enum rc read_number(const json_t *value, const struct member *m, uint64_t *out,
                           struct refusal *no)
{
    char want[64];

    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > m->max) {
        snprintf(want, sizeof want, "a whole number from 0 to %llu", (unsigned long long)m->max);
        return wrong(no, m->name, want);
    }
    *out = (uint64_t)json_integer_value(value);
    return RC_OK;
}

static enum rc read_member(const json_t *value, unsigned index, struct admin_body *out,
                           struct refusal *no)
{
    const struct member *m = &members[index];

    out->given |= 1u << index;
    switch (m->kind) {
    case KIND_TEXTS:
        return read_texts(value, out, no, m->name);
    case KIND_NUMBER:
        return read_number(value, m, &out->number[index], no);
    case KIND_FLAG:
        out->number[index] = json_is_true(value);
        return json_is_boolean(value) ? RC_OK : wrong(no, m->name, "true or false");
    case KIND_TEXT:
    case KIND_PATH:
        out->text[index] = json_string_value(value);
        if (!out->text[index] || !*out->text[index])
            return wrong(no, m->name, "a text");
        if (m->kind == KIND_PATH && *out->text[index] != '/')
            return wrong(no, m->name, "an absolute path");
        return RC_OK;
    }
    return RC_INVAL;
}

static enum rc read_object(json_t *root, uint32_t takes, uint32_t needs, struct admin_body *out,
                           struct refusal *no)
{
    const char *key;
    json_t *value;
    unsigned i;
    enum rc rc;

    json_object_foreach(root, key, value)
    {
        for (i = 0; i < ADMIN_MEMBER_NR && strcmp(members[i].name, key) != 0; i++)
            ;
        if (i == ADMIN_MEMBER_NR || !(takes & (1u << i)))
            return unknown(no, key, takes);
        rc = read_member(value, i, out, no);
        if (rc)
            return rc;
    }
    for (i = 0; i < ADMIN_MEMBER_NR; i++) {
        if (needs & ~out->given & (1u << i)) {
            refusal_what(no, RC_INVAL, "the request is refused");
            refusal_why(no, "it has no %s", members[i].name);
            return refusal_todo(no, "add it");
        }
    }
    return RC_OK;
}

enum rc admin_body_parse(const void *data, size_t len, uint32_t takes, uint32_t needs,
                         struct admin_body *out, struct refusal *no)
{
    struct admin_body body = {0};
    json_error_t error;
    enum rc rc;

    if (len > ADMIN_BODY_MAX) {
        refusal_what(no, RC_TOO_LARGE, "the request's body is refused");
        refusal_why(no, "it has more than %u bytes", ADMIN_BODY_MAX);
        return refusal_todo(no, "send less");
    }
    body.root = len ? json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error)
                    : json_object();
    if (!body.root)
        return malformed(no, len ? error.text : rc_text(RC_NOMEM));
    rc = json_is_object(body.root) ? read_object(body.root, takes, needs, &body, no)
                                   : malformed(no, "it is not an object");
    if (rc) {
        admin_body_dispose(&body);
        return rc;
    }
    *out = body;
    return RC_OK;
}

void admin_body_dispose(struct admin_body *b)
{
    json_decref(b->root);
    b->root = NULL;
}
