#include "cert_house.h"

void house_open(struct house *h, const char *helper)
{
    if (cert_store_open(&h->loop, h->scratch.dir, helper, &h->store, &h->no) != RC_OK)
        fail_msg("%s: %s", h->no.what, h->no.why);
}

int house_set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);

    scratch_make(&h->scratch);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    house_open(h, KEYIMPORT);
    *state = h;
    return 0;
}

int house_tear_down(void **state)
{
    struct house *h = *state;

    cert_store_close(h->store);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

void house_sh(struct house *h, const char *command)
{
    if (scratch_sh(&h->scratch, "set -e; %s", command) != 0)
        fail_msg("%s", command);
}

void house_make_pair(struct house *h, const char *name, const char *kind, const char *san)
{
    char command[1024];

    snprintf(command, sizeof command,
             "openssl req -x509 -newkey %s -nodes -keyout %s.key -out %s.pem -subj '/CN=%s' "
             "-days 30 %s%s",
             kind, name, name, name, san[0] ? "-addext subjectAltName=" : "", san);
    house_sh(h, command);
}

void house_on_imported(void *arg, enum rc rc, const struct registry_certificate *facts,
                       const struct refusal *no)
{
    struct house *h = arg;

    h->called++;
    h->rc = rc;
    if (rc)
        h->no = *no;
    else
        h->facts = *facts;
}

enum rc house_run(struct house *h, const struct cert_request *request)
{
    h->called = 0;
    if (cert_store_import(h->store, request, house_on_imported, h, &h->no) != RC_OK)
        return h->no.rc;
    assert_int_equal(h->called, 0);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->called, 1);
    return h->rc;
}

enum rc house_import_as(struct house *h, uid_t uid, const char *chain, const char *key,
                        const char *host)
{
    char chain_path[128], key_path[128];
    struct cert_request request = {.uid = uid,
                                   .gid = uid ? (gid_t)uid : getgid(),
                                   .chain_path = chain_path,
                                   .key_path = key_path,
                                   .hosts = &host,
                                   .hosts_nr = 1};

    snprintf(chain_path, sizeof chain_path, "%s/%s", h->scratch.dir, chain);
    snprintf(key_path, sizeof key_path, "%s/%s", h->scratch.dir, key);
    return house_run(h, &request);
}

enum rc house_import(struct house *h, const char *chain, const char *key, const char *host)
{
    return house_import_as(h, geteuid(), chain, key, host);
}

void house_must(struct house *h, enum rc rc)
{
    char line[2048];

    if (rc)
        fail_msg("%s", refusal_line(&h->no, line, sizeof line));
}

void house_must_say(struct house *h, const char *words)
{
    char line[2048], n[16];

    if (!strstr(refusal_line(&h->no, line, sizeof line), words))
        fail_msg("\"%s\" is not in: %s", words, line);
    assert_string_not_equal(h->no.why, "");
    assert_string_not_equal(h->no.todo, "");
    /* And nothing is left behind. */
    scratch_out(&h->scratch, n, sizeof n, "ls -A keys certs | grep -c 'pem\\|import' || true");
    assert_string_equal(n, "0");
}

void house_must_equal(struct house *h, const char *value, const char *command)
{
    char out[4096];

    scratch_out(&h->scratch, out, sizeof out, command);
    assert_string_equal(out, value);
}
