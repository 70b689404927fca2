#include "orchestrator/registry_db.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/core/check.h"

enum rc db_error(struct registry *r)
{
    int code = sqlite3_extended_errcode(r->db);

    snprintf(r->error, sizeof r->error, "%s (SQLite code %d)", sqlite3_errmsg(r->db), code);
    switch (code & 0xff) {
    case SQLITE_FULL:
        return RC_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return RC_BUSY;
    case SQLITE_NOMEM:
        return RC_NOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return RC_DENIED;
    case SQLITE_IOERR:
        return sqlite3_system_errno(r->db) == ENOSPC ? RC_FULL : RC_IO;
    default:
        return RC_DB;
    }
}

enum rc db_advise(enum rc rc, struct refusal *no)
{
    switch (rc) {
    case RC_FULL:
        return refusal_todo(no, "make room on the disk of the state folder, then try again");
    case RC_BUSY:
        return refusal_todo(no, "another program has roomkey.db open for writing (a sqlite3 "
                                "shell?): close it, then try again");
    case RC_DENIED:
        return refusal_todo(no, "see to it that the user of roomkeyd may write the state folder "
                                "and the disk is not mounted read-only");
    case RC_DB:
        return refusal_todo(no, "if it says that the database is malformed or not one, restore "
                                "roomkey.db from a backup");
    case RC_IO:
        return refusal_todo(no, "the disk of the state folder fails: see the kernel's log");
    default:
        return refusal_todo(no, "see the log of roomkeyd");
    }
}

enum rc db_refuse(const struct registry *r, enum rc rc, struct refusal *no)
{
    refusal_what(no, rc, "the registry could not do it");
    refusal_why(no, "%s", r->error);
    return db_advise(rc, no);
}

/*----- statements -----*/

static sqlite3_stmt *prepared(struct registry *r, const char *sql)
{
    size_t i = ((uintptr_t)sql >> 3) * 0x9e3779b97f4a7c15u >> 57;

    for (size_t n = 0; n < DB_STATEMENTS; n++, i = (i + 1) % DB_STATEMENTS) {
        if (!r->kept[i].sql) {
            if (sqlite3_prepare_v3(r->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &r->kept[i].stmt,
                                   NULL) != SQLITE_OK)
                return NULL;
            r->kept[i].sql = sql;
        }
        if (r->kept[i].sql == sql)
            return r->kept[i].stmt;
    }
    check_failed(__FILE__, __LINE__, "more statements than slots");
}

static enum rc bind(struct registry *r, sqlite3_stmt *stmt, const char *types, va_list args)
{
    for (int i = 1; *types; i++, types++) {
        int rv;

        if (*types == 't')
            rv = sqlite3_bind_text(stmt, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        else if (*types == 'u')
            rv = sqlite3_bind_int64(stmt, i, (sqlite3_int64)va_arg(args, uint64_t));
        else
            rv = sqlite3_bind_int64(stmt, i, va_arg(args, int64_t));
        if (rv != SQLITE_OK)
            return db_error(r);
    }
    return RC_OK;
}

static enum rc query(struct registry *r, sqlite3_stmt **stmt, const char *sql, const char *types,
                     va_list args)
{
    enum rc rc;

    *stmt = prepared(r, sql);
    if (!*stmt)
        return db_error(r);
    CHECK(!sqlite3_stmt_busy(*stmt)); /* a list's callback must not ask for that list */
    rc = bind(r, *stmt, types, args);
    if (rc)
        db_done(*stmt);
    return rc;
}

enum rc db_query(struct registry *r, sqlite3_stmt **stmt, const char *sql, const char *types, ...)
{
    va_list args;
    enum rc rc;

    va_start(args, types);
    rc = query(r, stmt, sql, types, args);
    va_end(args);
    return rc;
}

enum rc db_row(struct registry *r, sqlite3_stmt *stmt)
{
    int rv = sqlite3_step(stmt);
    enum rc rc;

    if (rv == SQLITE_ROW)
        return RC_OK;
    rc = rv == SQLITE_DONE ? RC_NOT_FOUND : db_error(r);
    db_done(stmt);
    return rc;
}

void db_done(sqlite3_stmt *stmt)
{
    /* Repeats the error of the last step, which was looked at there. */
    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
}

enum rc db_run(struct registry *r, unsigned *changed, const char *sql, const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    enum rc rc;

    va_start(args, types);
    rc = query(r, &stmt, sql, types, args);
    va_end(args);
    if (rc)
        return rc;
    rc = db_row(r, stmt);
    if (rc != RC_NOT_FOUND)
        return rc;
    if (changed)
        *changed = (unsigned)sqlite3_changes(r->db);
    return RC_OK;
}

enum rc db_number(struct registry *r, int64_t *out, const char *sql, const char *types, ...)
{
    sqlite3_stmt *stmt;
    va_list args;
    enum rc rc;

    va_start(args, types);
    rc = query(r, &stmt, sql, types, args);
    va_end(args);
    if (!rc)
        rc = db_row(r, stmt);
    if (rc)
        return rc;
    *out = sqlite3_column_int64(stmt, 0);
    db_done(stmt);
    return RC_OK;
}

enum rc db_exists(struct registry *r, bool *out, const char *sql, const char *text)
{
    int64_t n;
    enum rc rc = r->doubt ? RC_DB : db_number(r, &n, sql, "t", text);

    if (!rc)
        *out = n != 0;
    return rc;
}

void db_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
    const char *s = (const char *)sqlite3_column_text(stmt, column);

    snprintf(out, size, "%s", s ? s : "");
}

uint64_t db_u64(sqlite3_stmt *stmt, int column)
{
    return (uint64_t)sqlite3_column_int64(stmt, column);
}

/*----- transactions -----*/

enum rc db_begin(struct registry *r, enum db_sync sync)
{
    bool lazy = sync == DB_LAZY;

    CHECK(sqlite3_get_autocommit(r->db));
    if (lazy != r->lazy) {
        if (sqlite3_exec(r->db, lazy ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL",
                         NULL, NULL, NULL) != SQLITE_OK)
            return db_error(r);
        r->lazy = lazy;
    }
    return db_run(r, NULL, "BEGIN IMMEDIATE", "");
}

/* A commit that failed at its last step lies whole in the log, where the next start would find it.
 * Another one takes its place; until one has, nothing is said to be needed by nobody. */
static void bury_commit(struct registry *r)
{
    static const char over[] = "BEGIN IMMEDIATE; UPDATE route_revision SET last = last + 1; COMMIT";

    r->doubt = sqlite3_exec(r->db, over, NULL, NULL, NULL) != SQLITE_OK;
    if (r->doubt && !sqlite3_get_autocommit(r->db))
        (void)sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
}

enum rc db_end(struct registry *r, enum rc rc)
{
    bool commit = !rc;

    if (commit)
        rc = db_run(r, NULL, "COMMIT", "");
    /* Some failures (disk full) have rolled back already. */
    if (rc && !sqlite3_get_autocommit(r->db))
        (void)sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    /* After a doubt also when it went well: it may have had nothing to write. */
    if (commit && (rc || r->doubt))
        bury_commit(r);
    return rc;
}

enum rc db_settle(struct registry *r, enum rc rc, struct refusal *no)
{
    enum rc end = db_end(r, rc);

    return end == rc ? rc : db_refuse(r, end, no);
}
