#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/clock.h"
#include "common/host/log.h"
#include "orchestrator/files.h"
#include "orchestrator/registry_db.h"

/* How long a call waits for another program's lock, and how long no other waits after that: the
 * loop stands still meanwhile. */
#define BUSY_US 20000u
#define HELD_US 1000000u
#define LOOK_US 500u

static int on_busy(void *arg, int times)
{
    struct registry *r = arg;
    uint64_t now = clock_us();

    if (times == 0)
        r->busy_us = now;
    if (now < r->held_us)
        return 0;
    if (now - r->busy_us >= BUSY_US) {
        r->held_us = now + HELD_US;
        return 0;
    }
    usleep(LOOK_US);
    return 1;
}

static void refuse_open(struct refusal *no, enum rc rc, const char *path, const char *why)
{
    refusal_what(no, rc, "cannot open the registry %s", path);
    refusal_why(no, "%s", why);
}

/* quick_check reads every page but compares no index with its table: 10^5 tenants take a fraction
 * of a second. */
static enum rc check_whole(struct registry *r)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt, "PRAGMA quick_check(1)", "");

    if (!rc)
        rc = db_row(r, stmt);
    if (rc)
        return rc;
    if (strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") != 0) {
        snprintf(r->error, sizeof r->error, "database disk image is malformed: %s",
                 (const char *)sqlite3_column_text(stmt, 0));
        rc = RC_DB;
    }
    db_done(stmt);
    return rc;
}

static enum rc migrate_one(struct registry *r, unsigned to)
{
    char sql[64];
    enum rc rc = db_begin(r, DB_FULL);

    if (rc)
        return rc;
    snprintf(sql, sizeof sql, "PRAGMA user_version = %u", to);
    if (sqlite3_exec(r->db, registry_schema[to - 1], NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(r->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        rc = db_error(r);
    return db_end(r, rc);
}

static void note_file(void *arg, const char *name)
{
    bool *any = arg;

    *any = *any || name[0] != '.';
}

static bool has_files(const char *state_dir, const char *name)
{
    char path[PATH_MAX + 16];
    bool any = false;
    int dir;

    snprintf(path, sizeof path, "%s/%s", state_dir, name);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno != ENOENT;
    any = files_each(dir, note_file, &any) != RC_OK || any;
    close(dir);
    return any;
}

/* To a new registry every file is one that nobody needs, and would be swept: keys for good. */
static enum rc check_lost(const char *state_dir, const char *path, struct refusal *no)
{
    const char *folder = has_files(state_dir, "keys")            ? "keys"
                         : has_files(state_dir, "images/sha256") ? "images"
                                                                 : NULL;

    if (!folder)
        return RC_OK;
    refuse_open(no, RC_NOT_FOUND, path, "");
    refusal_why(no, "it is missing or empty, but %s/%s is not", state_dir, folder);
    return refusal_todo(no, "restore roomkey.db from a backup, or give an empty --state folder");
}

static enum rc migrate(struct registry *r, const char *state_dir, const char *path,
                       struct refusal *no)
{
    int64_t version;
    enum rc rc = db_number(r, &version, "PRAGMA user_version", "");

    if (rc)
        return db_refuse(r, rc, no);
    if (version < 0 || version > registry_schema_nr) {
        refuse_open(no, RC_VERSION, path, "");
        refusal_why(no, "it has schema version %lld, this roomkeyd knows up to %u",
                    (long long)version, registry_schema_nr);
        return refusal_todo(no, "run a roomkeyd at least as new as the one that wrote it");
    }
    if (version == 0)
        rc = check_lost(state_dir, path, no);
    if (rc)
        return rc;
    for (unsigned v = (unsigned)version; v < registry_schema_nr; v++) {
        rc = migrate_one(r, v + 1);
        if (rc)
            return db_refuse(r, rc, no);
    }
    return RC_OK;
}

/* Room for what the life of tenants writes, so that they wake and sleep on a full disk too.  The
 * log is written from its start again when it has its 1000 pages; in the file itself rows take the
 * place of older ones, and may take free pages.  A disk that has no such room now, or cannot
 * promise any, is as well as before. */
#define LOG_ROOM   (5 << 20)
#define PAGES_ROOM (1 << 20)

static bool reserve_log(const char *state_dir)
{
    char path[PATH_MAX + 16];
    bool ok;
    int fd;

    snprintf(path, sizeof path, "%s/roomkey.db-wal", state_dir);
    /* Its closing drops no lock of SQLite's: that has none on this file. */
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    ok = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOG_ROOM) == 0;
    close(fd);
    return ok;
}

/* Pages that the file has and nothing is in; a checkpoint gives them their place on the disk. */
static bool reserve_pages(struct registry *r)
{
    static const char take_and_free[] =
        "BEGIN IMMEDIATE; CREATE TABLE room (bytes); INSERT INTO room VALUES (zeroblob(1048576));"
        "DROP TABLE room; COMMIT";
    int64_t pages = 0;
    int chunk = PAGES_ROOM;

    _Static_assert(PAGES_ROOM == 1048576, "the same as in the statement");
    if (sqlite3_file_control(r->db, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk) != SQLITE_OK ||
        db_number(r, &pages, "PRAGMA freelist_count", ""))
        return false;
    if (pages < PAGES_ROOM / 4096 / 2 &&
        sqlite3_exec(r->db, take_and_free, NULL, NULL, NULL) != SQLITE_OK) {
        if (!sqlite3_get_autocommit(r->db))
            (void)sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
        return false;
    }
    return sqlite3_wal_checkpoint_v2(r->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
           SQLITE_OK;
}

static void keep_room(struct registry *r, const char *state_dir)
{
    if (!reserve_pages(r) || !reserve_log(state_dir))
        log_warning("no room on the disk could be kept for the registry: when it is full, tenants "
                    "that sleep will not wake");
}

static enum rc configure(struct registry *r)
{
    sqlite3_busy_handler(r->db, on_busy, r);
    /* The schema's text is ours, the file may be anybody's. */
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (sqlite3_exec(r->db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
                     NULL, NULL, NULL) != SQLITE_OK)
        return db_error(r);
    return check_whole(r);
}

enum rc registry_open(const char *state_dir, struct registry **out, struct refusal *no)
{
    struct registry *r = calloc(1, sizeof *r);
    char path[PATH_MAX];
    enum rc rc;
    int fd;

    if (!r) {
        refusal_what(no, RC_NOMEM, "cannot open the registry");
        return refusal_why(no, "out of memory");
    }
    r->lock_fd = -1;
    snprintf(path, sizeof path, "%s/roomkey.db", state_dir);
    /* Two would each start the same tenants. */
    rc = files_lock(state_dir, "--state", &r->lock_fd, no);
    if (rc)
        goto out;

    /* SQLite would make it readable to all. */
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        refuse_open(no, files_rc(errno), path, strerror(errno));
        rc = refusal_todo(no, "see to it that the user of roomkeyd may write it");
        goto out;
    }
    close(fd);

    if (sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        rc = r->db ? db_error(r) : RC_NOMEM;
    else
        rc = configure(r);
    if (rc) {
        refuse_open(no, rc, path, r->error);
        (void)db_advise(rc, no);
        goto out;
    }
    rc = migrate(r, state_dir, path, no);
    if (!rc)
        keep_room(r, state_dir);
out:
    if (rc)
        registry_close(r);
    else
        *out = r;
    return rc;
}

void registry_close(struct registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        (void)sqlite3_finalize(r->kept[i].stmt);
    (void)sqlite3_close(r->db);
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    free(r);
}

enum rc registry_writable(struct registry *r)
{
    enum rc rc = db_begin(r, DB_LAZY);

    if (!rc)
        rc = db_run(r, NULL, "ROLLBACK", "");
    return rc;
}

const char *registry_error(const struct registry *r)
{
    return r->error;
}

enum rc registry_counts(struct registry *r, struct registry_counts *out)
{
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt,
                          "SELECT (SELECT count(*) FROM tenant),"
                          " (SELECT count(*) FROM tenant WHERE suspended),"
                          " (SELECT count(*) FROM hostname), (SELECT count(*) FROM image)",
                          "");

    if (!rc)
        rc = db_row(r, stmt);
    if (rc)
        return rc;
    *out = (struct registry_counts){
        .tenants = db_u64(stmt, 0),
        .suspended = db_u64(stmt, 1),
        .hosts = db_u64(stmt, 2),
        .images = db_u64(stmt, 3),
    };
    db_done(stmt);
    return RC_OK;
}
