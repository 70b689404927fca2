/* What the registry's files share: the one SQLite connection, its statements, its rows.
 *
 * Statements are literals; each is prepared once and kept, found again by the literal's address.
 * Private to registry*.c. */
#ifndef ORCHESTRATOR_REGISTRY_DB_H
#define ORCHESTRATOR_REGISTRY_DB_H

#include <sqlite3.h>

#include "orchestrator/registry.h"

#define DB_STATEMENTS 128 /* slots, a power of two, well above the number of literals */

struct registry {
    sqlite3 *db;
    int lock_fd;
    bool lazy;        /* synchronous=NORMAL is on */
    bool doubt;       /* a commit has failed that the next start may find done */
    uint64_t busy_us; /* clock_us() when this call began to wait for another program's lock */
    uint64_t held_us; /* no call waits for it before then */
    unsigned events_since_prune;
    char error[REGISTRY_TEXT_SIZE];
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } kept[DB_STATEMENTS];
};

/* From schema/db, made by the build: migration i+1 brings version i to i+1. */
extern const char *const registry_schema[];
extern const unsigned registry_schema_nr;

/* How durable a transaction must be when it is committed. */
enum db_sync { DB_FULL, DB_LAZY };

/* db_end() commits on RC_OK, else rolls back; it returns what the call is to return. */
RC_MUST_CHECK enum rc db_begin(struct registry *r, enum db_sync sync);
RC_MUST_CHECK enum rc db_end(struct registry *r, enum rc rc);

/* Binds by `types`, one letter each: i int64_t, u uint64_t, t const char *.
 * db_query then db_row… until not RC_OK; to stop before, db_done.  RC_NOT_FOUND: no more rows. */
RC_MUST_CHECK enum rc db_query(struct registry *r, sqlite3_stmt **stmt, const char *sql,
                               const char *types, ...);
RC_MUST_CHECK enum rc db_row(struct registry *r, sqlite3_stmt *stmt);
void db_done(sqlite3_stmt *stmt);
/* A statement without rows.  *changed may be NULL. */
RC_MUST_CHECK enum rc db_run(struct registry *r, unsigned *changed, const char *sql,
                             const char *types, ...);
/* The one number that a query gives; RC_NOT_FOUND. */
RC_MUST_CHECK enum rc db_number(struct registry *r, int64_t *out, const char *sql,
                                const char *types, ...);
/* What a SELECT EXISTS with one text says. */
RC_MUST_CHECK enum rc db_exists(struct registry *r, bool *out, const char *sql, const char *text);

void db_text(sqlite3_stmt *stmt, int column, char *out, size_t size);
uint64_t db_u64(sqlite3_stmt *stmt, int column);

/* Notes the connection's last error and translates it. */
enum rc db_error(struct registry *r);
/* Puts a failure of the database into words; db_advise() adds only what to do. */
enum rc db_advise(enum rc rc, struct refusal *no);
enum rc db_refuse(const struct registry *r, enum rc rc, struct refusal *no);

/* db_end() of a call that refuses: `no` holds the words when rc came from a refusal; a failing
 * commit gets its own. */
RC_MUST_CHECK enum rc db_settle(struct registry *r, enum rc rc, struct refusal *no);

/* Within a transaction. */
RC_MUST_CHECK enum rc db_event(struct registry *r, const char *tenant, const char *kind,
                               int64_t now, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
