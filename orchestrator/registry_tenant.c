/* Tenants: reading, and what the fleet changes.  What an admin changes: registry_wish.c. */
#include <stdio.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/registry_db.h"
#include "orchestrator/registry_tenant_db.h"

static const char *const upgrade_texts[] = {
    [REGISTRY_UPGRADE_NONE] = "none",
    [REGISTRY_UPGRADE_WAITING] = "waiting",
    [REGISTRY_UPGRADE_DRAINING] = "draining",
};

const char *registry_upgrade_text(enum registry_upgrade state)
{
    CHECK((unsigned)state <= REGISTRY_UPGRADE_DRAINING);
    return upgrade_texts[state];
}

static enum registry_upgrade upgrade_of(const char *text)
{
    unsigned s = REGISTRY_UPGRADE_DRAINING;

    while (s > 0 && strcmp(text, upgrade_texts[s]) != 0)
        s--;
    return (enum registry_upgrade)s;
}

#define SELECT_TENANT                                                                            \
    "SELECT t.id, t.name, t.suspended, t.image, t.last_good, i.name || ':' || i.version,"        \
    " g.name || ':' || g.version, t.failed_ref, t.failed_why, t.failed_at, t.memory, t.idle_ms," \
    " t.max_connections, t.wake_timeout_ms, t.upgrade, t.upgrade_deadline, t.generation,"        \
    " t.revision, t.created_at"                                                                  \
    " FROM tenant t JOIN image i ON i.id = t.image LEFT JOIN image g ON g.id = t.last_good "

static void read_tenant(sqlite3_stmt *stmt, struct registry_tenant *out)
{
    char upgrade[16];

    out->id = db_u64(stmt, 0);
    db_text(stmt, 1, out->name, sizeof out->name);
    out->suspended = sqlite3_column_int(stmt, 2) != 0;
    out->image = db_u64(stmt, 3);
    out->last_good = db_u64(stmt, 4);
    db_text(stmt, 5, out->image_ref, sizeof out->image_ref);
    db_text(stmt, 6, out->last_good_ref, sizeof out->last_good_ref);
    db_text(stmt, 7, out->failed_ref, sizeof out->failed_ref);
    db_text(stmt, 8, out->failed_why, sizeof out->failed_why);
    out->failed_at = sqlite3_column_int64(stmt, 9);
    out->memory = db_u64(stmt, 10);
    out->idle_ms = (uint32_t)sqlite3_column_int64(stmt, 11);
    out->max_connections = (uint32_t)sqlite3_column_int64(stmt, 12);
    out->wake_timeout_ms = (uint32_t)sqlite3_column_int64(stmt, 13);
    db_text(stmt, 14, upgrade, sizeof upgrade);
    out->upgrade = upgrade_of(upgrade);
    out->upgrade_deadline = sqlite3_column_int64(stmt, 15);
    out->generation = db_u64(stmt, 16);
    out->revision = db_u64(stmt, 17);
    out->created_at = sqlite3_column_int64(stmt, 18);
}

/*----- look-ups -----*/

static enum rc one_tenant(struct registry *r, sqlite3_stmt *stmt, struct registry_tenant *out)
{
    enum rc rc = db_row(r, stmt);

    if (rc)
        return rc;
    read_tenant(stmt, out);
    db_done(stmt);
    return RC_OK;
}

enum rc registry_tenant(struct registry *r, uint64_t id, struct registry_tenant *out)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, SELECT_TENANT "WHERE t.id = ?", "u", id);

    return rc ? rc : one_tenant(r, stmt, out);
}

enum rc registry_tenant_by_name(struct registry *r, const char *name, struct registry_tenant *out,
                                struct refusal *no)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, SELECT_TENANT "WHERE t.name = ?", "t", name);

    if (!rc)
        rc = one_tenant(r, stmt, out);
    if (rc == RC_NOT_FOUND) {
        refusal_what(no, rc, "there is no tenant %.64s", name);
        refusal_why(no, "none was added under that name");
        return refusal_todo(no, "see `roomkey tenant list`");
    }
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

static enum rc each(struct registry *r, sqlite3_stmt *stmt, registry_tenant_cb *cb, void *arg)
{
    struct registry_tenant tenant;
    enum rc rc;

    while (!(rc = db_row(r, stmt))) {
        read_tenant(stmt, &tenant);
        if (!cb(arg, &tenant)) {
            db_done(stmt);
            return RC_OK;
        }
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc registry_tenants(struct registry *r, const char *after, unsigned limit,
                         registry_tenant_cb *cb, void *arg)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, SELECT_TENANT "WHERE t.name > ? ORDER BY t.name LIMIT ?", "ti",
                          after ? after : "", (int64_t)limit);

    return rc ? rc : each(r, stmt, cb, arg);
}

enum rc registry_image_users(struct registry *r, uint64_t image, unsigned limit,
                             registry_tenant_cb *cb, void *arg)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(
        r, &stmt, SELECT_TENANT "WHERE t.image = ?1 OR t.last_good = ?1 ORDER BY t.name LIMIT ?2",
        "ui", image, (int64_t)limit);

    return rc ? rc : each(r, stmt, cb, arg);
}

enum rc registry_hosts(struct registry *r, uint64_t tenant, registry_host_cb *cb, void *arg)
{
    char host[HOSTNAME_SIZE];
    sqlite3_stmt *stmt;
    enum rc rc =
        db_query(r, &stmt, "SELECT name FROM hostname WHERE tenant = ? ORDER BY name", "u", tenant);

    if (rc)
        return rc;
    while (!(rc = db_row(r, stmt))) {
        db_text(stmt, 0, host, sizeof host);
        if (!cb(arg, host)) {
            db_done(stmt);
            return RC_OK;
        }
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

/*----- the route -----*/

enum rc registry_route_of(struct registry *r, uint64_t tenant, struct registry_route *out)
{
    sqlite3_stmt *stmt;
    enum rc rc = registry_tenant(r, tenant, &out->tenant);

    if (!rc)
        rc = registry_image(r, out->tenant.image, &out->image);
    if (!rc)
        rc = db_query(r, &stmt,
                      "SELECT fingerprint, key_id FROM certificate WHERE tenant = ? ORDER BY kind",
                      "u", tenant);
    if (rc)
        return rc;
    out->certs = 0;
    while (!(rc = db_row(r, stmt))) {
        CHECK(out->certs < REGISTRY_CERTS_MAX);
        db_text(stmt, 0, out->cert[out->certs].fingerprint, REGISTRY_HASH_SIZE);
        db_text(stmt, 1, out->cert[out->certs].key_id, REGISTRY_HASH_SIZE);
        out->certs++;
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc registry_route(struct registry *r, const char *host, struct registry_route *out)
{
    char wildcard[HOSTNAME_SIZE];
    int64_t tenant;
    enum rc rc;

    if (!hostname_wildcard(host, wildcard))
        wildcard[0] = '\0';
    rc = db_number(r, &tenant,
                   "SELECT tenant FROM hostname WHERE name IN (?1, ?2) ORDER BY name <> ?1 LIMIT 1",
                   "tt", host, wildcard);
    return rc ? rc : registry_route_of(r, (uint64_t)tenant, out);
}

enum rc tenant_revise(struct registry *r, uint64_t tenant)
{
    enum rc rc = db_run(r, NULL, "UPDATE route_revision SET last = last + 1", "");

    if (rc)
        return rc;
    return db_run(r, NULL,
                  "UPDATE tenant SET revision = (SELECT last FROM route_revision) WHERE id = ?",
                  "u", tenant);
}

/*----- what an instance proves of an image -----*/

static enum rc good(struct registry *r, uint64_t tenant, uint64_t image, int64_t now)
{
    struct registry_tenant t;
    enum rc rc = registry_tenant(r, tenant, &t);

    if (rc || t.image != image)
        return rc;
    rc = db_run(r, NULL,
                "UPDATE tenant SET last_good = image, upgrade = 'none', upgrade_deadline = 0,"
                " failed_at = CASE failed_ref WHEN ?2 THEN 0 ELSE failed_at END,"
                " failed_why = CASE failed_ref WHEN ?2 THEN '' ELSE failed_why END,"
                " failed_ref = CASE failed_ref WHEN ?2 THEN '' ELSE failed_ref END WHERE id = ?1",
                "ut", tenant, t.image_ref);
    if (rc || t.last_good == 0 || t.last_good == image)
        return rc;
    return db_event(r, t.name, "upgraded", now, "upgraded from %s to %s", t.last_good_ref,
                    t.image_ref);
}

enum rc registry_tenant_good(struct registry *r, uint64_t tenant, uint64_t image, int64_t now)
{
    struct registry_tenant t;
    enum rc rc = registry_tenant(r, tenant, &t);

    if (rc || t.image != image ||
        (t.last_good == image && t.upgrade == REGISTRY_UPGRADE_NONE &&
         strcmp(t.failed_ref, t.image_ref) != 0))
        return rc;
    rc = db_begin(r, DB_LAZY);
    return rc ? rc : db_end(r, good(r, tenant, image, now));
}

static enum rc rollback(struct registry *r, uint64_t tenant, uint64_t image, const char *why,
                        int64_t now, bool *back)
{
    struct registry_tenant t;
    enum rc rc = registry_tenant(r, tenant, &t);

    if (rc || t.image != image)
        return rc;
    rc = db_run(r, NULL,
                "UPDATE tenant SET failed_ref = ?2, failed_why = ?3, failed_at = ?4 WHERE id = ?1",
                "utti", tenant, t.image_ref, why, now);
    if (rc || t.last_good == 0 || t.last_good == image)
        return rc;
    *back = true;
    rc = db_run(r, NULL,
                "UPDATE tenant SET image = last_good, upgrade = 'none', upgrade_deadline = 0"
                " WHERE id = ?",
                "u", tenant);
    if (!rc)
        rc = tenant_revise(r, tenant);
    if (!rc)
        rc = db_event(r, t.name, "rolled back", now, "rolled back from %s to %s: %s", t.image_ref,
                      t.last_good_ref, why);
    return rc;
}

enum rc registry_tenant_rollback(struct registry *r, uint64_t tenant, uint64_t image,
                                 const char *why, int64_t now, bool *back)
{
    bool moved = false;
    enum rc rc = db_begin(r, DB_LAZY);

    if (!rc)
        rc = db_end(r, rollback(r, tenant, image, why, now, &moved));
    *back = !rc && moved;
    return rc;
}

enum rc registry_tenant_upgrade_state(struct registry *r, uint64_t tenant,
                                      enum registry_upgrade state)
{
    unsigned changed = 0;
    enum rc rc = db_begin(r, DB_LAZY);

    if (rc)
        return rc;
    rc = db_run(r, &changed, "UPDATE tenant SET upgrade = ?2 WHERE id = ?1", "ut", tenant,
                registry_upgrade_text(state));
    return db_end(r, rc || changed ? rc : RC_NOT_FOUND);
}
