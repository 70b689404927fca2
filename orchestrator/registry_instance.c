#include <stdio.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/registry_db.h"

static const char *const state_texts[] = {
    [REGISTRY_INSTANCE_STARTING] = "starting", [REGISTRY_INSTANCE_READY] = "ready",
    [REGISTRY_INSTANCE_DRAINING] = "draining", [REGISTRY_INSTANCE_STOPPING] = "stopping",
    [REGISTRY_INSTANCE_ENDED] = "ended",
};

const char *registry_instance_state_text(enum registry_instance_state state)
{
    CHECK((unsigned)state <= REGISTRY_INSTANCE_ENDED);
    return state_texts[state];
}

static enum registry_instance_state state_of(const char *text)
{
    unsigned s = 0;

    /* The table's CHECK allows no other text. */
    while (s < REGISTRY_INSTANCE_ENDED && strcmp(text, state_texts[s]) != 0)
        s++;
    return (enum registry_instance_state)s;
}

#define SELECT_INSTANCE                                                                     \
    "SELECT n.id, n.tenant, n.image, n.generation, t.name, n.image_ref, n.ground, n.state," \
    " n.handle, n.started_at, n.ready_at, n.ended_at, n.why"                                \
    " FROM instance n JOIN tenant t ON t.id = n.tenant "

static void read_instance(sqlite3_stmt *stmt, struct registry_instance *out)
{
    char state[16];

    out->id = db_u64(stmt, 0);
    out->tenant = db_u64(stmt, 1);
    out->image = db_u64(stmt, 2);
    out->generation = db_u64(stmt, 3);
    db_text(stmt, 4, out->tenant_name, sizeof out->tenant_name);
    db_text(stmt, 5, out->image_ref, sizeof out->image_ref);
    db_text(stmt, 6, out->ground, sizeof out->ground);
    db_text(stmt, 7, state, sizeof state);
    out->state = state_of(state);
    db_text(stmt, 8, out->handle, sizeof out->handle);
    out->started_at = sqlite3_column_int64(stmt, 9);
    out->ready_at = sqlite3_column_int64(stmt, 10);
    out->ended_at = sqlite3_column_int64(stmt, 11);
    db_text(stmt, 12, out->why, sizeof out->why);
}

enum rc registry_instance(struct registry *r, uint64_t id, struct registry_instance *out)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, SELECT_INSTANCE "WHERE n.id = ?", "u", id);

    if (!rc)
        rc = db_row(r, stmt);
    if (rc)
        return rc;
    read_instance(stmt, out);
    db_done(stmt);
    return RC_OK;
}

static enum rc begin(struct registry *r, uint64_t tenant, uint64_t image, const char *ground,
                     int64_t now, struct registry_instance *out)
{
    unsigned changed;
    enum rc rc = db_run(r, &changed, "UPDATE tenant SET generation = generation + 1 WHERE id = ?",
                        "u", tenant);

    if (rc)
        return rc;
    if (changed == 0)
        return RC_NOT_FOUND;
    rc = db_run(r, &changed,
                "INSERT INTO instance (tenant, image, image_ref, generation, ground, state,"
                " started_at) SELECT t.id, i.id, i.name || ':' || i.version, t.generation, ?3,"
                " 'starting', ?4 FROM tenant t, image i WHERE t.id = ?1 AND i.id = ?2",
                "uuti", tenant, image, ground, now);
    if (rc)
        return rc;
    if (changed == 0)
        return RC_NOT_FOUND;
    return registry_instance(r, (uint64_t)sqlite3_last_insert_rowid(r->db), out);
}

enum rc registry_instance_begin(struct registry *r, uint64_t tenant, uint64_t image,
                                const char *ground, int64_t now, struct registry_instance *out)
{
    enum rc rc = db_begin(r, DB_LAZY);

    return rc ? rc : db_end(r, begin(r, tenant, image, ground, now, out));
}

enum rc registry_instance_handle(struct registry *r, uint64_t id, const char *handle)
{
    unsigned changed = 0;
    enum rc rc = db_begin(r, DB_LAZY);

    if (rc)
        return rc;
    rc = db_run(r, &changed, "UPDATE instance SET handle = ?2 WHERE id = ?1", "ut", id, handle);
    return db_end(r, rc || changed ? rc : RC_NOT_FOUND);
}

enum rc registry_instance_state(struct registry *r, uint64_t id, enum registry_instance_state state,
                                int64_t now)
{
    unsigned changed = 0;
    enum rc rc;

    CHECK(state != REGISTRY_INSTANCE_ENDED);
    rc = db_begin(r, DB_LAZY);
    if (rc)
        return rc;
    rc = db_run(r, &changed,
                "UPDATE instance SET state = ?2, ready_at ="
                " CASE WHEN ?2 = 'ready' AND ready_at = 0 THEN ?3 ELSE ready_at END"
                " WHERE id = ?1 AND state <> 'ended'",
                "uti", id, registry_instance_state_text(state), now);
    return db_end(r, rc || changed ? rc : RC_NOT_FOUND);
}

static enum rc end(struct registry *r, uint64_t id, const char *why, int64_t now)
{
    unsigned changed;
    enum rc rc = db_run(r, &changed,
                        "UPDATE instance SET state = 'ended', ended_at = max(?2, 1), why = ?3"
                        " WHERE id = ?1 AND state <> 'ended'",
                        "uit", id, now, why);

    if (rc)
        return rc;
    if (changed == 0)
        return RC_NOT_FOUND;
    return db_run(r, NULL,
                  "DELETE FROM instance WHERE state = 'ended'"
                  " AND tenant = (SELECT tenant FROM instance WHERE id = ?1)"
                  " AND generation <= (SELECT generation FROM instance"
                  "  WHERE tenant = (SELECT tenant FROM instance WHERE id = ?1)"
                  "  AND state = 'ended' ORDER BY generation DESC LIMIT 1 OFFSET ?2)",
                  "ui", id, (int64_t)REGISTRY_INSTANCES_KEPT);
}

enum rc registry_instance_end(struct registry *r, uint64_t id, const char *why, int64_t now)
{
    enum rc rc = db_begin(r, DB_LAZY);

    return rc ? rc : db_end(r, end(r, id, why, now));
}

enum rc registry_instances_alive(struct registry *r, registry_instance_cb *cb, void *arg)
{
    struct registry_instance instance;
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, SELECT_INSTANCE "WHERE n.state <> 'ended' ORDER BY n.id", "");

    if (rc)
        return rc;
    while (!(rc = db_row(r, stmt))) {
        read_instance(stmt, &instance);
        if (!cb(arg, &instance)) {
            db_done(stmt);
            return RC_OK;
        }
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}
