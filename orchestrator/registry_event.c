#include <stdarg.h>
#include <stdio.h>

#include "orchestrator/registry_db.h"

/* Pruned once in so many: one delete by id range, not one a row.  Then those of the tenant of that
 * event are, too: of one that brings about a part 1/n of all events there are until then some 60
 * more than it may have, and longer only if it keeps out of step with this. */
#define PRUNE_EVERY 61

/* Counted, as ids of what was pruned before leave gaps. */
#define PRUNE_ALL                                                                               \
    "DELETE FROM event WHERE id <= (SELECT id FROM event WHERE id > 0 ORDER BY id DESC LIMIT 1" \
    " OFFSET ?)"
#define PRUNE_ONE                                                                                  \
    "DELETE FROM event WHERE tenant = ? AND id <= (SELECT id FROM event WHERE tenant = ? ORDER BY" \
    " id DESC LIMIT 1 OFFSET ?)"

static enum rc append(struct registry *r, const char *tenant, const char *kind, int64_t now,
                      const char *text)
{
    enum rc rc = db_run(r, NULL, "INSERT INTO event (at, tenant, kind, text) VALUES (?, ?, ?, ?)",
                        "ittt", now, tenant ? tenant : "", kind, text);

    if (rc || r->events_since_prune++ % PRUNE_EVERY != 0)
        return rc;
    if (tenant)
        rc = db_run(r, NULL, PRUNE_ONE, "tti", tenant, tenant, (int64_t)REGISTRY_EVENTS_EACH);
    return rc ? rc : db_run(r, NULL, PRUNE_ALL, "i", (int64_t)REGISTRY_EVENTS_KEPT);
}

enum rc db_event(struct registry *r, const char *tenant, const char *kind, int64_t now,
                 const char *fmt, ...)
{
    char text[REGISTRY_TEXT_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return append(r, tenant, kind, now, text);
}

enum rc registry_event(struct registry *r, const char *tenant, const char *kind, int64_t now,
                       const char *fmt, ...)
{
    char text[REGISTRY_TEXT_SIZE];
    va_list args;
    enum rc rc;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    rc = db_begin(r, DB_LAZY);
    if (rc)
        return rc;
    return db_end(r, append(r, tenant, kind, now, text));
}

#define EVENT_COLUMNS "SELECT id, at, tenant, kind, text FROM event"

enum rc registry_events(struct registry *r, const char *tenant, uint64_t after, unsigned limit,
                        registry_event_cb *cb, void *arg)
{
    struct registry_event e;
    sqlite3_stmt *stmt;
    enum rc rc;

    if (tenant)
        rc = db_query(r, &stmt, EVENT_COLUMNS " WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
                      "tui", tenant, after, (int64_t)limit);
    else
        rc = db_query(r, &stmt, EVENT_COLUMNS " WHERE id > ? ORDER BY id LIMIT ?", "ui", after,
                      (int64_t)limit);
    if (rc)
        return rc;
    while (!(rc = db_row(r, stmt))) {
        e.id = db_u64(stmt, 0);
        e.at = sqlite3_column_int64(stmt, 1);
        db_text(stmt, 2, e.tenant, sizeof e.tenant);
        db_text(stmt, 3, e.kind, sizeof e.kind);
        db_text(stmt, 4, e.text, sizeof e.text);
        if (!cb(arg, &e)) {
            db_done(stmt);
            return RC_OK;
        }
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc registry_events_last(struct registry *r, uint64_t *id)
{
    int64_t last;
    enum rc rc = db_number(r, &last, "SELECT ifnull(max(id), 0) FROM event", "");

    if (!rc)
        *id = (uint64_t)last;
    return rc;
}
