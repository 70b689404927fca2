/* Tenants: what an admin changes. */
#include <inttypes.h>
#include <string.h>

#include "orchestrator/registry_db.h"
#include "orchestrator/registry_tenant_db.h"

static enum rc check_name(const char *name, struct refusal *no)
{
    size_t len = strlen(name);

    if (len > 0 && len < REGISTRY_NAME_SIZE && name[0] != '-' &&
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len)
        return RC_OK;
    refusal_what(no, RC_INVAL, "\"%.80s\" is not a name for a tenant", name);
    refusal_why(no, "a name has 1 to 63 of a-z, 0-9 and -, and does not start with -");
    return refusal_todo(no, "choose such a name");
}

static enum rc check_range(const char *what, uint64_t value, uint64_t low, uint64_t high,
                           const char *unit, struct refusal *no)
{
    if (value >= low && value <= high)
        return RC_OK;
    refusal_what(no, RC_INVAL, "%s of %" PRIu64 "%s is out of range", what, value, unit);
    refusal_why(no, "it may be %" PRIu64 "%s to %" PRIu64 "%s", low, unit, high, unit);
    return refusal_todo(no, "choose a value in between");
}

static enum rc check_settings(const struct registry_wish *w, struct refusal *no)
{
    enum rc rc = RC_OK;

    if (w->has_memory && w->memory != 0)
        rc = check_range("memory", w->memory, REGISTRY_MEMORY_MIN, REGISTRY_MEMORY_MAX, " bytes",
                         no);
    if (!rc && w->has_idle_ms)
        rc = check_range("an idle time", w->idle_ms, 1, REGISTRY_IDLE_MS_MAX, " ms", no);
    if (!rc && w->has_max_connections)
        rc = check_range("a connection limit", w->max_connections, 0, REGISTRY_MAX_CONNECTIONS_MAX,
                         "", no);
    if (!rc && w->has_wake_timeout_ms)
        rc = check_range("a wake timeout", w->wake_timeout_ms, 1, REGISTRY_WAKE_TIMEOUT_MS_MAX,
                         " ms", no);
    return rc;
}

static enum rc check_memory(uint64_t memory, const struct registry_image *image, struct refusal *no)
{
    if (memory == 0 || memory >= (uint64_t)image->memory_kib * 1024)
        return RC_OK;
    refusal_what(no, RC_INVAL, "%" PRIu64 " KiB of memory are too little", memory / 1024);
    refusal_why(no, "image %s:%s needs at least %" PRIu32 " KiB", image->name, image->version,
                image->memory_kib);
    return refusal_todo(no, "give it that with --memory");
}

static enum rc reread(struct registry *r, uint64_t id, struct registry_tenant *out,
                      struct refusal *no)
{
    enum rc rc = registry_tenant(r, id, out);

    return rc ? db_refuse(r, rc, no) : RC_OK;
}

/*----- add -----*/

static enum rc insert(struct registry *r, const char *name, const struct registry_wish *w,
                      const struct registry_image *image, int64_t now, struct registry_tenant *out,
                      struct refusal *no)
{
    enum rc rc = db_run(
        r, NULL,
        "INSERT INTO tenant (name, image, memory, idle_ms, max_connections, wake_timeout_ms,"
        " revision, created_at) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        "tuuiiii", name, image->id, w->has_memory ? w->memory : 0,
        (int64_t)(w->has_idle_ms ? w->idle_ms : REGISTRY_IDLE_MS),
        (int64_t)(w->has_max_connections ? w->max_connections : 0),
        (int64_t)(w->has_wake_timeout_ms ? w->wake_timeout_ms : REGISTRY_WAKE_TIMEOUT_MS), now);

    return rc ? db_refuse(r, rc, no)
              : reread(r, (uint64_t)sqlite3_last_insert_rowid(r->db), out, no);
}

static enum rc add(struct registry *r, const char *name, const struct registry_wish *w, int64_t now,
                   struct registry_tenant *out, struct refusal *no)
{
    struct registry_dropped none = {.nr = 0};
    struct registry_image image;
    enum rc rc = registry_tenant_by_name(r, name, out, no);

    if (rc == RC_OK) {
        refusal_what(no, RC_EXISTS, "tenant %s is there already", name);
        refusal_why(no, "names are unique");
        return refusal_todo(no, "choose another, or change it with `roomkey tenant set %s`", name);
    }
    if (rc != RC_NOT_FOUND)
        return rc;
    if (!w->image || w->hosts_nr == 0 || !w->cert) {
        refusal_what(no, RC_INVAL, "cannot add tenant %s", name);
        refusal_why(no, "a tenant needs an image, a host name and a certificate");
        return refusal_todo(no, "give --image, --host, and --cert with --key or --self-signed");
    }
    rc = registry_image_by_ref(r, w->image, &image, no);
    if (!rc)
        rc = check_memory(w->has_memory ? w->memory : 0, &image, no);
    if (!rc)
        rc = insert(r, name, w, &image, now, out, no);
    if (!rc)
        rc = tenant_set_hosts(r, out, w, no);
    if (!rc)
        rc = tenant_set_cert(r, out, w->cert, now, &none, no);
    if (!rc)
        rc = tenant_check_cover(r, out, w->cert, &none, no);
    if (rc)
        return rc;
    rc = tenant_revise(r, out->id);
    if (!rc)
        rc =
            db_event(r, name, "tenant added", now, "tenant %s added with image %s", name, w->image);
    return rc ? db_refuse(r, rc, no) : reread(r, out->id, out, no);
}

enum rc registry_tenant_add(struct registry *r, const char *name, const struct registry_wish *wish,
                            int64_t now, struct registry_tenant *out, struct refusal *no)
{
    enum rc rc = check_name(name, no);

    if (!rc)
        rc = check_settings(wish, no);
    if (rc)
        return rc;
    rc = db_begin(r, DB_FULL);
    return rc ? db_refuse(r, rc, no) : db_settle(r, add(r, name, wish, now, out, no), no);
}

/*----- set -----*/

static enum rc update_settings(struct registry *r, uint64_t id, const struct registry_wish *w)
{
    return db_run(r, NULL,
                  "UPDATE tenant SET memory = CASE WHEN ?2 THEN ?3 ELSE memory END,"
                  " idle_ms = CASE WHEN ?4 THEN ?5 ELSE idle_ms END,"
                  " max_connections = CASE WHEN ?6 THEN ?7 ELSE max_connections END,"
                  " wake_timeout_ms = CASE WHEN ?8 THEN ?9 ELSE wake_timeout_ms END WHERE id = ?1",
                  "uiuiiiiii", id, (int64_t)w->has_memory, w->memory, (int64_t)w->has_idle_ms,
                  (int64_t)w->idle_ms, (int64_t)w->has_max_connections, (int64_t)w->max_connections,
                  (int64_t)w->has_wake_timeout_ms, (int64_t)w->wake_timeout_ms);
}

static enum rc set(struct registry *r, const char *name, const struct registry_wish *w, int64_t now,
                   struct registry_tenant *out, struct registry_dropped *dropped,
                   struct refusal *no)
{
    struct registry_image image;
    enum rc rc = registry_tenant_by_name(r, name, out, no);

    if (rc)
        return rc;
    if (w->has_memory) {
        rc = registry_image(r, out->image, &image);
        rc = rc ? db_refuse(r, rc, no) : check_memory(w->memory, &image, no);
    }
    if (!rc && w->hosts_nr > 0)
        rc = tenant_set_hosts(r, out, w, no);
    if (!rc && w->cert)
        rc = tenant_set_cert(r, out, w->cert, now, dropped, no);
    if (!rc && (w->hosts_nr > 0 || w->cert))
        rc = tenant_check_cover(r, out, w->cert, dropped, no);
    if (rc)
        return rc;
    rc = update_settings(r, out->id, w);
    if (!rc)
        rc = tenant_revise(r, out->id);
    if (!rc && w->cert)
        rc = db_event(r, name, "certificate set", now, "certificate %.16s… (%s) set",
                      w->cert->fingerprint, w->cert->key_type);
    if (!rc && (w->hosts_nr > 0 || w->has_memory || w->has_idle_ms || w->has_max_connections ||
                w->has_wake_timeout_ms))
        rc = db_event(r, name, "tenant changed", now, "settings of tenant %s changed", name);
    return rc ? db_refuse(r, rc, no) : reread(r, out->id, out, no);
}

enum rc registry_tenant_set(struct registry *r, const char *name, const struct registry_wish *wish,
                            int64_t now, struct registry_tenant *out,
                            struct registry_dropped *dropped, struct refusal *no)
{
    enum rc rc = check_settings(wish, no);

    dropped->nr = 0;
    if (rc)
        return rc;
    rc = db_begin(r, DB_FULL);
    if (rc)
        return db_refuse(r, rc, no);
    rc = db_settle(r, set(r, name, wish, now, out, dropped, no), no);
    if (rc)
        dropped->nr = 0;
    return rc;
}

/*----- suspend, upgrade, remove -----*/

static enum rc suspend(struct registry *r, const char *name, bool suspended, int64_t now,
                       struct registry_tenant *out, struct refusal *no)
{
    enum rc rc = registry_tenant_by_name(r, name, out, no);

    if (rc || out->suspended == suspended)
        return rc;
    rc = db_run(r, NULL, "UPDATE tenant SET suspended = ?2 WHERE id = ?1", "ui", out->id,
                (int64_t)suspended);
    if (!rc)
        rc = tenant_revise(r, out->id);
    if (!rc)
        rc = db_event(r, name, suspended ? "suspended" : "resumed", now, "tenant %s %s", name,
                      suspended ? "suspended" : "resumed");
    return rc ? db_refuse(r, rc, no) : reread(r, out->id, out, no);
}

enum rc registry_tenant_suspend(struct registry *r, const char *name, bool suspended, int64_t now,
                                struct registry_tenant *out, struct refusal *no)
{
    enum rc rc = db_begin(r, DB_FULL);

    return rc ? db_refuse(r, rc, no) : db_settle(r, suspend(r, name, suspended, now, out, no), no);
}

static enum rc upgrade(struct registry *r, const char *name, const char *ref, int64_t deadline,
                       int64_t now, struct registry_tenant *out, struct refusal *no)
{
    struct registry_image image;
    bool moves;
    enum rc rc = registry_tenant_by_name(r, name, out, no);

    if (!rc)
        rc = registry_image_by_ref(r, ref, &image, no);
    if (!rc)
        rc = check_memory(out->memory, &image, no);
    if (rc)
        return rc;
    moves = out->image != image.id;
    if (!moves && out->upgrade == REGISTRY_UPGRADE_NONE)
        return RC_OK;
    /* Back to what is known to be good: nothing is left to be proved.  A tenant that has
     * never run can still go back to what it was made with, unless that has failed. */
    rc = db_run(r, NULL,
                "UPDATE tenant SET image = ?2, upgrade_deadline = ?3,"
                " last_good = CASE WHEN last_good IS NULL AND failed_ref = ''"
                "  AND image <> ?2 THEN image"
                "  ELSE last_good END,"
                " upgrade = CASE WHEN last_good IS ?2 THEN 'none' WHEN image = ?2 THEN upgrade"
                "  ELSE 'waiting' END,"
                " failed_ref = '', failed_why = '', failed_at = 0 WHERE id = ?1",
                "uui", out->id, image.id, deadline);
    if (!rc && moves)
        rc = tenant_revise(r, out->id);
    if (!rc && moves)
        rc = db_event(r, name, "upgrade asked", now, "upgrade from %s to %s asked for",
                      out->image_ref, ref);
    return rc ? db_refuse(r, rc, no) : reread(r, out->id, out, no);
}

enum rc registry_tenant_upgrade(struct registry *r, const char *name, const char *ref,
                                int64_t deadline, int64_t now, struct registry_tenant *out,
                                struct refusal *no)
{
    enum rc rc = db_begin(r, DB_FULL);

    return rc ? db_refuse(r, rc, no)
              : db_settle(r, upgrade(r, name, ref, deadline, now, out, no), no);
}

static enum rc remove_tenant(struct registry *r, const char *name, int64_t now,
                             struct registry_dropped *dropped, struct refusal *no)
{
    struct registry_tenant t;
    int64_t alive;
    enum rc rc = registry_tenant_by_name(r, name, &t, no);

    if (rc)
        return rc;
    rc = db_number(r, &alive,
                   "SELECT EXISTS (SELECT 1 FROM instance WHERE tenant = ? AND state <> 'ended')",
                   "u", t.id);
    if (!rc && alive) {
        refusal_what(no, RC_BUSY, "cannot remove tenant %s", name);
        refusal_why(no, "an instance of it has not ended yet");
        return refusal_todo(no, "`roomkey instance stop %s`, then try again", name);
    }
    if (!rc)
        rc = tenant_list_certs(r, t.id, dropped);
    if (!rc)
        rc = db_run(r, NULL, "DELETE FROM tenant WHERE id = ?", "u", t.id);
    if (!rc)
        rc = db_event(r, name, "tenant removed", now, "tenant %s removed", name);
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

enum rc registry_tenant_remove(struct registry *r, const char *name, int64_t now,
                               struct registry_dropped *dropped, struct refusal *no)
{
    enum rc rc = db_begin(r, DB_FULL);

    dropped->nr = 0;
    if (rc)
        return db_refuse(r, rc, no);
    rc = db_settle(r, remove_tenant(r, name, now, dropped, no), no);
    if (rc)
        dropped->nr = 0;
    return rc;
}
