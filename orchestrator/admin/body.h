/* The JSON body of a request: bounded, an object, with the members that this call
 * takes, each of its type and range.
 *
 * Happy path: parse, use, dispose.  Failure modes (one refusal each, which names the member):
 * no JSON, a member twice, one that this call does not take, another type, out of range. */
#ifndef ORCHESTRATOR_ADMIN_BODY_H
#define ORCHESTRATOR_ADMIN_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "orchestrator/refusal.h"
#include "orchestrator/registry.h"

#define ADMIN_BODY_MAX (64u << 10)

/* id, member of JSON, kind, largest number (or 0) */
#define ADMIN_MEMBERS(X)                                       \
    X(NAME, name, TEXT, 0)                                     \
    X(IMAGE, image, TEXT, 0)                                   \
    X(HOSTS, hosts, TEXTS, 0)                                  \
    X(CERT_FILE, cert_file, PATH, 0)                           \
    X(KEY_FILE, key_file, PATH, 0)                             \
    X(SELF_SIGNED, self_signed, FLAG, 0)                       \
    X(MEMORY, memory, NUMBER, REGISTRY_MEMORY_MAX)             \
    X(IDLE_MS, idle_ms, NUMBER, REGISTRY_IDLE_MS_MAX)          \
    X(MAX_CONNECTIONS, max_connections, NUMBER, UINT32_MAX)    \
    X(WAKE_TIMEOUT_MS, wake_timeout_ms, NUMBER, UINT32_MAX)    \
    X(MAX_WAIT_MS, max_wait_ms, NUMBER, ADMIN_MAX_WAIT_MS_MAX) \
    X(WAIT, wait, FLAG, 0)

#define ADMIN_MAX_WAIT_MS_MAX (30ull * 24 * 3600 * 1000)

enum admin_member {
#define X(id, name, kind, max) ADMIN_MEMBER_##id,
    ADMIN_MEMBERS(X)
#undef X
        ADMIN_MEMBER_NR
};

/* Sets of members, for the table of routes. */
#define ADMIN_BIT(id) (1u << ADMIN_MEMBER_##id)

struct admin_body {
    json_t *root;   /* owned; the texts are borrowed from it */
    uint32_t given; /* ADMIN_BIT set */
    const char *text[ADMIN_MEMBER_NR];
    uint64_t number[ADMIN_MEMBER_NR]; /* of a flag: 0 or 1 */
    const char *hosts[REGISTRY_HOSTS_MAX];
    size_t hosts_nr;
};

/* No bytes at all are an empty object.  `takes` and `needs`: ADMIN_BIT sets. */
RC_MUST_CHECK enum rc admin_body_parse(const void *data, size_t len, uint32_t takes, uint32_t needs,
                                       struct admin_body *out, struct refusal *no);
void admin_body_dispose(struct admin_body *b); /* zeroed or disposed of already is fine */

#endif
