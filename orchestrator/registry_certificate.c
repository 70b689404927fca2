/* A tenant's certificates, its host names, and that they fit. */
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/registry_db.h"
#include "orchestrator/registry_tenant_db.h"

#define SELECT_CERTIFICATE                                                                    \
    "SELECT c.id, c.tenant, t.name, c.fingerprint, c.key_id, c.key_type, c.subject, c.names," \
    " c.self_signed, c.not_before, c.not_after, c.added_at"                                   \
    " FROM certificate c JOIN tenant t ON t.id = c.tenant "

static void read_certificate(sqlite3_stmt *stmt, struct registry_certificate *out)
{
    out->id = db_u64(stmt, 0);
    out->tenant = db_u64(stmt, 1);
    db_text(stmt, 2, out->tenant_name, sizeof out->tenant_name);
    db_text(stmt, 3, out->fingerprint, sizeof out->fingerprint);
    db_text(stmt, 4, out->key_id, sizeof out->key_id);
    db_text(stmt, 5, out->key_type, sizeof out->key_type);
    db_text(stmt, 6, out->subject, sizeof out->subject);
    db_text(stmt, 7, out->names, sizeof out->names);
    out->self_signed = sqlite3_column_int(stmt, 8) != 0;
    out->not_before = sqlite3_column_int64(stmt, 9);
    out->not_after = sqlite3_column_int64(stmt, 10);
    out->added_at = sqlite3_column_int64(stmt, 11);
}

enum rc registry_certificates(struct registry *r, uint64_t tenant, uint64_t after, unsigned limit,
                              registry_certificate_cb *cb, void *arg)
{
    struct registry_certificate cert;
    sqlite3_stmt *stmt;
    enum rc rc;

    if (tenant)
        rc = db_query(r, &stmt,
                      SELECT_CERTIFICATE "WHERE c.tenant = ? AND c.id > ? ORDER BY c.id LIMIT ?",
                      "uui", tenant, after, (int64_t)limit);
    else
        rc = db_query(r, &stmt, SELECT_CERTIFICATE "WHERE c.id > ? ORDER BY c.id LIMIT ?", "ui",
                      after, (int64_t)limit);
    if (rc)
        return rc;
    while (!(rc = db_row(r, stmt))) {
        read_certificate(stmt, &cert);
        if (!cb(arg, &cert)) {
            db_done(stmt);
            return RC_OK;
        }
    }
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc registry_chain_used(struct registry *r, const char *fingerprint, bool *used)
{
    return db_exists(r, used, "SELECT EXISTS (SELECT 1 FROM certificate WHERE fingerprint = ?)",
                     fingerprint);
}

enum rc registry_key_used(struct registry *r, const char *key_id, bool *used)
{
    return db_exists(r, used, "SELECT EXISTS (SELECT 1 FROM certificate WHERE key_id = ?)", key_id);
}

/*----- host names -----*/

static enum rc refuse_taken(struct registry *r, const char *host, struct refusal *no)
{
    char owner[REGISTRY_NAME_SIZE];
    sqlite3_stmt *stmt;
    enum rc rc = db_query(r, &stmt,
                          "SELECT t.name FROM hostname h JOIN tenant t ON t.id = h.tenant"
                          " WHERE h.name = ?",
                          "t", host);

    if (!rc)
        rc = db_row(r, stmt);
    if (rc)
        return db_refuse(r, rc, no);
    db_text(stmt, 0, owner, sizeof owner);
    db_done(stmt);
    refusal_what(no, RC_EXISTS, "host name %s is taken", host);
    refusal_why(no, "tenant %s has it", owner);
    return refusal_todo(no, "choose another, or remove it there");
}

enum rc tenant_set_hosts(struct registry *r, const struct registry_tenant *t,
                         const struct registry_wish *wish, struct refusal *no)
{
    char host[HOSTNAME_SIZE];
    unsigned changed;
    int64_t owner;
    enum rc rc;

    if (wish->hosts_nr > REGISTRY_HOSTS_MAX) {
        refusal_what(no, RC_TOO_LARGE, "too many host names for tenant %s", t->name);
        refusal_why(no, "a tenant has at most %d", REGISTRY_HOSTS_MAX);
        return refusal_todo(no, "use a wildcard such as *.acme.example, or a second tenant");
    }
    rc = db_run(r, NULL, "DELETE FROM hostname WHERE tenant = ?", "u", t->id);
    for (size_t i = 0; !rc && i < wish->hosts_nr; i++) {
        rc = hostname_normalize(wish->hosts[i], host, no);
        if (rc)
            return rc;
        rc = db_run(r, &changed, "INSERT OR IGNORE INTO hostname (name, tenant) VALUES (?, ?)",
                    "tu", host, t->id);
        if (rc || changed)
            continue;
        /* Named twice by this tenant is fine. */
        rc = db_number(r, &owner, "SELECT tenant FROM hostname WHERE name = ?", "t", host);
        if (!rc && (uint64_t)owner != t->id)
            return refuse_taken(r, host, no);
    }
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

/*----- certificates -----*/

static void note_dropped(struct registry_dropped *dropped, const char *fingerprint,
                         const char *key_id)
{
    CHECK(dropped->nr < REGISTRY_CERTS_MAX);
    memcpy(dropped->cert[dropped->nr].fingerprint, fingerprint, REGISTRY_HASH_SIZE);
    memcpy(dropped->cert[dropped->nr].key_id, key_id, REGISTRY_HASH_SIZE);
    dropped->nr++;
}

struct certs {
    size_t nr;
    struct registry_certificate cert[REGISTRY_CERTS_MAX];
};

static bool collect_cert(void *arg, const struct registry_certificate *cert)
{
    struct certs *certs = arg;

    CHECK(certs->nr < REGISTRY_CERTS_MAX);
    certs->cert[certs->nr++] = *cert;
    return true;
}

enum rc tenant_list_certs(struct registry *r, uint64_t tenant, struct registry_dropped *out)
{
    struct certs certs = {.nr = 0};
    enum rc rc = registry_certificates(r, tenant, 0, REGISTRY_CERTS_MAX, collect_cert, &certs);

    out->nr = 0;
    for (size_t i = 0; !rc && i < certs.nr; i++)
        note_dropped(out, certs.cert[i].fingerprint, certs.cert[i].key_id);
    return rc;
}

static const char *kind_of(const struct registry_certificate *cert)
{
    return strncmp(cert->key_type, "RSA", 3) == 0 ? "RSA" : "EC";
}

static enum rc remove_cert(struct registry *r, const struct registry_certificate *cert,
                           struct registry_dropped *dropped)
{
    note_dropped(dropped, cert->fingerprint, cert->key_id);
    return db_run(r, NULL, "DELETE FROM certificate WHERE id = ?", "u", cert->id);
}

enum rc tenant_set_cert(struct registry *r, const struct registry_tenant *t,
                        const struct registry_certificate *cert, int64_t now,
                        struct registry_dropped *dropped, struct refusal *no)
{
    struct certs certs = {.nr = 0};
    enum rc rc = registry_certificates(r, t->id, 0, REGISTRY_CERTS_MAX, collect_cert, &certs);

    for (size_t i = 0; !rc && i < certs.nr; i++)
        if (strcmp(kind_of(&certs.cert[i]), kind_of(cert)) == 0)
            rc = remove_cert(r, &certs.cert[i], dropped);
    if (!rc)
        rc = db_run(r, NULL,
                    "INSERT INTO certificate (tenant, kind, key_type, fingerprint, key_id, subject,"
                    " names, self_signed, not_before, not_after, added_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    "uttttttiiii", t->id, kind_of(cert), cert->key_type, cert->fingerprint,
                    cert->key_id, cert->subject, cert->names, (int64_t)cert->self_signed,
                    cert->not_before, cert->not_after, now);
    return rc ? db_refuse(r, rc, no) : RC_OK;
}

struct cover {
    const char *names;
    char missed[HOSTNAME_SIZE]; /* the first host that they do not cover */
};

static bool look_for_missed(void *arg, const char *host)
{
    struct cover *cover = arg;

    if (hostname_covered(cover->names, host))
        return true;
    memcpy(cover->missed, host, strlen(host) + 1);
    return false;
}

enum rc tenant_check_cover(struct registry *r, const struct registry_tenant *t,
                           const struct registry_certificate *newer,
                           struct registry_dropped *dropped, struct refusal *no)
{
    struct certs certs = {.nr = 0};
    enum rc rc = registry_certificates(r, t->id, 0, REGISTRY_CERTS_MAX, collect_cert, &certs);

    for (size_t i = 0; !rc && i < certs.nr; i++) {
        const struct registry_certificate *cert = &certs.cert[i];
        struct cover cover = {.names = cert->names};

        rc = registry_hosts(r, t->id, look_for_missed, &cover);
        if (rc || !cover.missed[0])
            continue;
        if (newer && strcmp(cert->fingerprint, newer->fingerprint) != 0) {
            rc = remove_cert(r, cert, dropped);
            continue;
        }
        refusal_what(no, RC_INVAL, "host name %s is not covered by %s certificate", cover.missed,
                     newer ? "the" : "the tenant's");
        refusal_why(no, "its names are %.200s", cert->names[0] ? cert->names : "none");
        return refusal_todo(no, "give a certificate that has all of the tenant's host names");
    }
    return rc ? db_refuse(r, rc, no) : RC_OK;
}
