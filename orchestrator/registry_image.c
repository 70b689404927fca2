#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/registry_db.h"

#define SELECT_IMAGE \
    "SELECT id, name, version, alpn, sha256, abi, memory_kib, size, added_at FROM image "

#define USERS_WHERE " WHERE image = ?1 OR last_good = ?1 "
#define USERS_NAMED 3 /* in a refusal */

static void read_image(sqlite3_stmt *stmt, struct registry_image *out)
{
    out->id = db_u64(stmt, 0);
    db_text(stmt, 1, out->name, sizeof out->name);
    db_text(stmt, 2, out->version, sizeof out->version);
    db_text(stmt, 3, out->alpn, sizeof out->alpn);
    db_text(stmt, 4, out->sha256, sizeof out->sha256);
    out->abi = (uint16_t)sqlite3_column_int(stmt, 5);
    out->memory_kib = (uint32_t)sqlite3_column_int64(stmt, 6);
    out->size = db_u64(stmt, 7);
    out->added_at = sqlite3_column_int64(stmt, 8);
}

static enum rc one_image(struct registry *r, sqlite3_stmt *stmt, struct registry_image *out)
{
    enum rc rc = db_row(r, stmt);

    if (rc)
        return rc;
    read_image(stmt, out);
    db_done(stmt);
    return RC_OK;
}

enum rc registry_image(struct registry *r, uint64_t id, struct registry_image *out)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, SELECT_IMAGE "WHERE id = ?", "u", id);

    return rc ? rc : one_image(r, stmt, out);
}

static enum rc find(struct registry *r, const char *name, const char *version,
                    struct registry_image *out)
{
    sqlite3_stmt *stmt;
    enum rc rc =
        db_query(r, &stmt, SELECT_IMAGE "WHERE name = ? AND version = ?", "tt", name, version);

    return rc ? rc : one_image(r, stmt, out);
}

/* "name:version" in two; false when there is no colon or it is too long for any image. */
static bool split(const char *ref, char name[REGISTRY_NAME_SIZE], char version[REGISTRY_NAME_SIZE])
{
    const char *colon = strchr(ref, ':');

    if (!colon || (size_t)(colon - ref) >= REGISTRY_NAME_SIZE ||
        strlen(colon + 1) >= REGISTRY_NAME_SIZE)
        return false;
    memcpy(name, ref, (size_t)(colon - ref));
    name[colon - ref] = '\0';
    strcpy(version, colon + 1);
    return true;
}

enum rc registry_image_by_ref(struct registry *r, const char *ref, struct registry_image *out,
                              struct refusal *no)
{
    char name[REGISTRY_NAME_SIZE], version[REGISTRY_NAME_SIZE];
    enum rc rc;

    if (!split(ref, name, version)) {
        refusal_what(no, RC_INVAL, "\"%.140s\" is not an image", ref);
        refusal_why(no, "an image is written NAME:VERSION");
        return refusal_todo(no, "see `roomkey image list`");
    }
    rc = find(r, name, version, out);
    if (rc == RC_NOT_FOUND) {
        refusal_what(no, rc, "there is no image %s", ref);
        refusal_why(no, "none was added under that name and version");
        return refusal_todo(no,
                            "see `roomkey image list`, or add it: "
                            "`roomkey image add %s FILE`",
                            ref);
    }
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

static enum rc add(struct registry *r, const struct registry_image *image, int64_t now,
                   uint64_t *id, struct refusal *no)
{
    struct registry_image there;
    enum rc rc = find(r, image->name, image->version, &there);

    if (rc == RC_OK && strcmp(there.sha256, image->sha256) == 0) {
        *id = there.id;
        return RC_OK;
    }
    if (rc == RC_OK) {
        refusal_what(no, RC_EXISTS, "image %s:%s is there already, with other content", image->name,
                     image->version);
        refusal_why(no, "the file that was added has SHA-256 %.12s…, this one %.12s…", there.sha256,
                    image->sha256);
        return refusal_todo(no, "give this one a new version, and build it again");
    }
    if (rc != RC_NOT_FOUND)
        return db_refuse(r, rc, no);
    rc = db_run(r, NULL,
                "INSERT INTO image (name, version, alpn, sha256, abi, memory_kib, size, added_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                "ttttiiui", image->name, image->version, image->alpn, image->sha256,
                (int64_t)image->abi, (int64_t)image->memory_kib, image->size, now);
    if (!rc) {
        *id = (uint64_t)sqlite3_last_insert_rowid(r->db);
        rc =
            db_event(r, NULL, "image added", now, "image %s:%s added", image->name, image->version);
    }
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

enum rc registry_image_add(struct registry *r, const struct registry_image *image, int64_t now,
                           uint64_t *id, struct refusal *no)
{
    enum rc rc = db_begin(r, DB_FULL);

    if (rc)
        return db_refuse(r, rc, no);
    return db_settle(r, add(r, image, now, id, no), no);
}

enum rc registry_images(struct registry *r, const char *after, unsigned limit,
                        registry_image_cb *cb, void *arg)
{
    char name[REGISTRY_NAME_SIZE] = "", version[REGISTRY_NAME_SIZE] = "";
    struct registry_image image;
    sqlite3_stmt *stmt;
    enum rc rc;

    if (after && !split(after, name, version))
        return RC_INVAL;
    rc = db_query(r, &stmt,
                  SELECT_IMAGE "WHERE (name, version) > (?, ?) ORDER BY name, version LIMIT ?",
                  "tti", name, version, (int64_t)limit);
    if (rc)
        return rc;
    while (!(rc = db_row(r, stmt))) {
        read_image(stmt, &image);
        if (!cb(arg, &image)) {
            db_done(stmt);
            return RC_OK;
        }
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc registry_image_users_count(struct registry *r, uint64_t image, uint64_t *count)
{
    int64_t n;
    enum rc rc = db_number(r, &n, "SELECT count(*) FROM tenant" USERS_WHERE, "u", image);

    if (!rc)
        *count = (uint64_t)n;
    return rc;
}

/* "acme, globex and 4 more", in *out; *count is 0 when nobody needs it. */
static enum rc name_users(struct registry *r, uint64_t image, char *out, size_t size,
                          uint64_t *count)
{
    sqlite3_stmt *stmt;
    size_t used = 0;
    uint64_t named = 0;
    char name[REGISTRY_NAME_SIZE];
    enum rc rc = registry_image_users_count(r, image, count);

    if (rc || *count == 0)
        return rc;
    rc = db_query(r, &stmt, "SELECT name FROM tenant" USERS_WHERE "ORDER BY name LIMIT ?2", "ui",
                  image, (int64_t)USERS_NAMED);
    if (rc)
        return rc;
    out[0] = '\0';
    while (!(rc = db_row(r, stmt))) {
        db_text(stmt, 0, name, sizeof name);
        used += (size_t)snprintf(out + used, size - used, "%s%s", named++ ? ", " : "", name);
    }
    if (rc == RC_NOT_FOUND && *count > named)
        snprintf(out + used, size - used, " and %" PRIu64 " more", *count - named);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc remove_image(struct registry *r, const char *ref, int64_t now,
                            struct registry_image *out, struct refusal *no)
{
    char users[(USERS_NAMED + 1) * REGISTRY_NAME_SIZE], tenant[REGISTRY_NAME_SIZE];
    uint64_t count;
    sqlite3_stmt *stmt;
    enum rc rc = registry_image_by_ref(r, ref, out, no);

    if (rc)
        return rc;
    rc = name_users(r, out->id, users, sizeof users, &count);
    if (rc)
        return db_refuse(r, rc, no);
    if (count > 0) {
        refusal_what(no, RC_BUSY, "image %s is in use", ref);
        refusal_why(no, "tenant%s %s run%s it or would be rolled back to it", count > 1 ? "s" : "",
                    users, count > 1 ? "" : "s");
        return refusal_todo(no, "upgrade or remove %s first", count > 1 ? "them" : "it");
    }
    /* An upgraded tenant's old instance may still be finishing its connections. */
    rc = db_query(r, &stmt,
                  "SELECT t.name FROM instance n JOIN tenant t ON t.id = n.tenant"
                  " WHERE n.image = ? AND n.state <> 'ended' LIMIT 1",
                  "u", out->id);
    if (!rc)
        rc = db_row(r, stmt);
    if (!rc) {
        db_text(stmt, 0, tenant, sizeof tenant);
        db_done(stmt);
        refusal_what(no, RC_BUSY, "image %s is in use", ref);
        refusal_why(no, "an instance of tenant %s still runs it", tenant);
        return refusal_todo(no, "wait until it has ended, or `roomkey instance stop %s`", tenant);
    }
    if (rc == RC_NOT_FOUND)
        rc = db_run(r, NULL, "DELETE FROM image WHERE id = ?", "u", out->id);
    if (!rc)
        rc = db_event(r, NULL, "image removed", now, "image %s removed", ref);
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

enum rc registry_image_remove(struct registry *r, const char *ref, int64_t now,
                              struct registry_image *out, struct refusal *no)
{
    enum rc rc = db_begin(r, DB_FULL);

    if (rc)
        return db_refuse(r, rc, no);
    return db_settle(r, remove_image(r, ref, now, out, no), no);
}

enum rc registry_image_used(struct registry *r, const char *sha256, bool *used)
{
    return db_exists(r, used, "SELECT EXISTS (SELECT 1 FROM image WHERE sha256 = ?)", sha256);
}
