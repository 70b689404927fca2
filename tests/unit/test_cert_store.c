/* Real files: OpenSSL makes the pairs, the real helper takes them in. */
#include <fcntl.h>
#include <sys/stat.h>

#include "orchestrator/cert_store.h"
#include "scratch.h"

struct house {
    struct scratch scratch;
    uv_loop_t loop;
    struct cert_store *store;
    struct refusal no;
    unsigned called;
    enum rc rc;
    struct registry_certificate facts;
};

static void open_store(struct house *h, const char *helper)
{
    if (cert_store_open(&h->loop, h->scratch.dir, helper, &h->store, &h->no) != RC_OK)
        fail_msg("%s: %s", h->no.what, h->no.why);
}

static int set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);

    scratch_make(&h->scratch);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    open_store(h, KEYIMPORT);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct house *h = *state;

    cert_store_close(h->store);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

static void sh(struct house *h, const char *command)
{
    if (scratch_sh(&h->scratch, "set -e; %s", command) != 0)
        fail_msg("%s", command);
}

/* NAME.pem and NAME.key, self-signed, with these arguments and names. */
static void make_pair(struct house *h, const char *name, const char *kind, const char *san)
{
    char command[1024];

    snprintf(command, sizeof command,
             "openssl req -x509 -newkey %s -nodes -keyout %s.key -out %s.pem -subj '/CN=%s' "
             "-days 30 %s%s",
             kind, name, name, name, san[0] ? "-addext subjectAltName=" : "", san);
    sh(h, command);
}

#define EC  "ec -pkeyopt ec_paramgen_curve:P-256"
#define RSA "rsa:2048"

static void on_imported(void *arg, enum rc rc, const struct registry_certificate *facts,
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

static enum rc run(struct house *h, const struct cert_request *request)
{
    h->called = 0;
    if (cert_store_import(h->store, request, on_imported, h, &h->no) != RC_OK)
        return h->no.rc;
    assert_int_equal(h->called, 0);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->called, 1);
    return h->rc;
}

static enum rc import_as(struct house *h, uid_t uid, const char *chain, const char *key,
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
    return run(h, &request);
}

static enum rc import(struct house *h, const char *chain, const char *key, const char *host)
{
    return import_as(h, geteuid(), chain, key, host);
}

static void must(struct house *h, enum rc rc)
{
    char line[2048];

    if (rc)
        fail_msg("%s", refusal_line(&h->no, line, sizeof line));
}

static void must_say(struct house *h, const char *words)
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

static void must_equal(struct house *h, const char *value, const char *command)
{
    char out[4096];

    scratch_out(&h->scratch, out, sizeof out, command);
    assert_string_equal(out, value);
}

/*----- what is taken -----*/

static void an_ec_pair_is_stored_and_described(void **state)
{
    struct house *h = *state;
    char command[512];
    struct stat st;
    int chain, key;

    make_pair(h, "acme", EC, "DNS:acme.localhost,DNS:*.acme.localhost,IP:10.0.0.1");
    must(h, import(h, "acme.pem", "acme.key", "acme.localhost"));
    assert_string_equal(h->facts.key_type, "EC P-256");
    assert_string_equal(h->facts.names, "acme.localhost,*.acme.localhost");
    assert_string_equal(h->facts.subject, "CN=acme");
    assert_true(h->facts.self_signed);
    assert_int_equal(h->facts.not_after - h->facts.not_before, 30ll * 24 * 3600 * 1000);
    must_equal(h, h->facts.fingerprint,
               "openssl x509 -in acme.pem -outform DER | sha256sum | cut -c1-64");
    must_equal(h, h->facts.key_id,
               "openssl pkey -in acme.key -pubout -outform DER | sha256sum | cut -c1-64");

    assert_int_equal(cert_store_chain(h->store, h->facts.fingerprint, &chain), RC_OK);
    assert_int_equal(cert_store_key(h->store, h->facts.key_id, &key), RC_OK);
    assert_int_equal(fstat(key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(fcntl(key, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(chain);
    close(key);
    /* What was stored is the pair. */
    snprintf(command, sizeof command, "openssl pkey -in keys/%s.pem -pubout | sha256sum",
             h->facts.key_id);
    char stored[128];
    scratch_out(&h->scratch, stored, sizeof stored, command);
    must_equal(h, stored, "openssl x509 -in acme.pem -noout -pubkey | sha256sum");
    snprintf(command, sizeof command, "cmp acme.pem certs/%s.pem", h->facts.fingerprint);
    sh(h, command);
    must_equal(h, "2", "ls -A keys certs | grep -c .pem");
}

static void rsa_and_p_384_pairs_are_taken(void **state)
{
    struct house *h = *state;

    make_pair(h, "r", RSA, "DNS:r.localhost");
    must(h, import(h, "r.pem", "r.key", "r.localhost"));
    assert_string_equal(h->facts.key_type, "RSA 2048");
    make_pair(h, "p", "ec -pkeyopt ec_paramgen_curve:P-384", "DNS:p.localhost");
    must(h, import(h, "p.pem", "p.key", "p.localhost"));
    assert_string_equal(h->facts.key_type, "EC P-384");
}

static void old_key_formats_are_taken(void **state)
{
    struct house *h = *state;

    make_pair(h, "e", EC, "DNS:e.localhost");
    sh(h, "openssl ec -in e.key -param_out -out params; openssl ec -in e.key -out sec1;"
          "cat params sec1 >both");
    must(h, import(h, "e.pem", "both", "e.localhost"));
    make_pair(h, "r", RSA, "DNS:r.localhost");
    sh(h, "openssl rsa -traditional -in r.key -out pkcs1");
    must(h, import(h, "r.pem", "pkcs1", "r.localhost"));
}

static void make_chain(struct house *h)
{
    sh(h, "openssl req -x509 -newkey " EC
          " -nodes -keyout root.key -out root.pem -subj /CN=root -days 9;"
          "openssl req -newkey " EC " -nodes -keyout mid.key -out mid.csr -subj /CN=mid;"
          "printf 'basicConstraints=critical,CA:TRUE\\n' >ca.ext;"
          "openssl x509 -req -in mid.csr -CA root.pem -CAkey root.key -CAcreateserial -days 9"
          " -extfile ca.ext -out mid.pem;"
          "openssl req -newkey " EC " -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf;"
          "printf 'subjectAltName=DNS:*.leaf.localhost\\n' >leaf.ext;"
          "openssl x509 -req -in leaf.csr -CA mid.pem -CAkey mid.key -CAcreateserial -days 9"
          " -extfile leaf.ext -out leaf.pem");
}

static void a_chain_with_a_wildcard_is_taken_in_order(void **state)
{
    struct house *h = *state;

    make_chain(h);
    sh(h, "cat leaf.pem mid.pem root.pem >good; cat mid.pem leaf.pem >swapped;"
          "cat leaf.pem root.pem >gap");
    assert_int_equal(import(h, "swapped", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    must_say(h, "not the issuer");
    assert_int_equal(import(h, "gap", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    must_say(h, "certificate 2 is not the issuer of certificate 1");
    sh(h, "cat mid.pem root.pem >above");
    assert_int_equal(import(h, "above", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    must_say(h, "does not match");
    assert_int_equal(import(h, "good", "mid.key", "a.leaf.localhost"), RC_INVAL);
    must_say(h, "certificate 2 of the chain");
    assert_int_equal(import(h, "good", "leaf.key", "x.a.leaf.localhost"), RC_INVAL);
    must_say(h, "x.a.leaf.localhost");
    must(h, import(h, "good", "leaf.key", "a.leaf.localhost"));
    assert_false(h->facts.self_signed);
    must(h, import(h, "good", "leaf.key", "*.leaf.localhost"));
}

/* People keep both in one file: the key must not go where chains go. */
static void a_key_in_the_chain_s_file_stays_out_of_the_store(void **state)
{
    struct house *h = *state;

    make_pair(h, "a", EC, "DNS:a.localhost");
    sh(h, "cat a.key a.pem >both.pem");
    must(h, import(h, "both.pem", "both.pem", "a.localhost"));
    must_equal(h, "0", "grep -c PRIVATE certs/* || true");
    must_equal(h, "0", "grep -c CERTIFICATE keys/* || true");
}

static void a_self_signed_pair_covers_its_hosts(void **state)
{
    struct house *h = *state;
    const char *hosts[] = {"acme.localhost", "*.acme.localhost"};
    struct cert_request request = {
        .uid = geteuid(), .gid = getegid(), .hosts = hosts, .hosts_nr = 2};
    char command[512];

    must(h, run(h, &request));
    assert_string_equal(h->facts.names, "acme.localhost,*.acme.localhost");
    assert_string_equal(h->facts.key_type, "EC P-256");
    assert_string_equal(h->facts.subject, "CN=acme.localhost");
    assert_true(h->facts.self_signed);
    snprintf(command, sizeof command,
             "openssl verify -purpose sslserver -verify_hostname x.acme.localhost -CAfile "
             "certs/%s.pem certs/%s.pem | sed 's/.*: //'",
             h->facts.fingerprint, h->facts.fingerprint);
    must_equal(h, "OK", command);
    /* Again is another key. */
    char first[REGISTRY_HASH_SIZE];
    strcpy(first, h->facts.key_id);
    must(h, run(h, &request));
    assert_string_not_equal(first, h->facts.key_id);
}

static void as_many_long_hosts_as_a_tenant_may_have_are_covered(void **state)
{
    struct house *h = *state;
    static char names[REGISTRY_HOSTS_MAX][64];
    const char *hosts[REGISTRY_HOSTS_MAX];
    struct cert_request request = {
        .uid = geteuid(), .gid = getegid(), .hosts = hosts, .hosts_nr = REGISTRY_HOSTS_MAX};

    for (unsigned n = 0; n < REGISTRY_HOSTS_MAX; n++) {
        snprintf(names[n], sizeof names[n], "a-rather-long-name-of-a-host-%02u.example.localhost",
                 n);
        hosts[n] = names[n];
    }
    must(h, run(h, &request));
    assert_non_null(strstr(h->facts.names, names[REGISTRY_HOSTS_MAX - 1]));
}

static void two_imports_at_once_do_not_mix(void **state)
{
    struct house *h = *state;
    const char *a = "a.localhost", *b = "b.localhost";
    struct cert_request ra = {.uid = geteuid(), .gid = getegid(), .hosts = &a, .hosts_nr = 1},
                        rb = {.uid = geteuid(), .gid = getegid(), .hosts = &b, .hosts_nr = 1};

    assert_int_equal(cert_store_import(h->store, &ra, on_imported, h, &h->no), RC_OK);
    assert_int_equal(cert_store_import(h->store, &rb, on_imported, h, &h->no), RC_OK);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->called, 2);
    must(h, h->rc);
    must_equal(h, "4", "ls -A keys certs | grep -c .pem");
}

/*----- what is refused -----*/

static void a_date_that_is_over_or_to_come_is_refused(void **state)
{
    struct house *h = *state;

    make_chain(h);
    sh(h, "touch index; echo 01 >serial; printf '[ca]\\ndefault_ca=d\\n[d]\\nnew_certs_dir=.\\n"
          "database=index\\nserial=serial\\ndefault_md=sha256\\npolicy=p\\n[p]\\n"
          "commonName=supplied\\n' >ca.cnf;"
          "sign() { openssl ca -batch -config ca.cnf -in leaf.csr -cert mid.pem -keyfile mid.key "
          "-extfile leaf.ext -notext -startdate $1 -enddate $2 -out $3; };"
          "sign 20200101000000Z 20210101000000Z old; : >index; "
          "sign 20900101000000Z 20910101000000Z new");
    assert_int_equal(import(h, "old", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    must_say(h, "expired on 2021-01-01");
    assert_int_equal(import(h, "new", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    must_say(h, "not valid yet");
}

static void a_key_of_another_pair_is_refused(void **state)
{
    struct house *h = *state;

    make_pair(h, "a", EC, "DNS:a.localhost");
    make_pair(h, "b", EC, "DNS:a.localhost");
    make_pair(h, "r", RSA, "DNS:a.localhost");
    assert_int_equal(import(h, "a.pem", "b.key", "a.localhost"), RC_INVAL);
    must_say(h, "does not match");
    assert_int_equal(import(h, "a.pem", "r.key", "a.localhost"), RC_INVAL);
    must_say(h, "does not match");
}

static void a_host_that_is_not_covered_is_refused_by_name(void **state)
{
    struct house *h = *state;

    make_pair(h, "a", EC, "DNS:a.localhost");
    assert_int_equal(import(h, "a.pem", "a.key", "b.localhost"), RC_INVAL);
    must_say(h, "b.localhost");
    make_pair(h, "c.localhost", EC, "");
    assert_int_equal(import(h, "c.localhost.pem", "c.localhost.key", "c.localhost"), RC_INVAL);
    must_say(h, "no subject alternative names");
}

static void an_encrypted_key_is_refused(void **state)
{
    struct house *h = *state;

    make_pair(h, "a", EC, "DNS:a.localhost");
    sh(h, "openssl pkey -in a.key -aes256 -passout pass:secret -out new.key;"
          "openssl ec -in a.key -aes256 -passout pass:secret -out old.key");
    assert_int_equal(import(h, "a.pem", "new.key", "a.localhost"), RC_INVAL);
    must_say(h, "encrypted");
    assert_int_equal(import(h, "a.pem", "old.key", "a.localhost"), RC_INVAL);
    must_say(h, "encrypted");
}

static void keys_that_the_front_cannot_serve_with_are_refused(void **state)
{
    static const char *const kinds[] = {"rsa:1024", "ec -pkeyopt ec_paramgen_curve:P-521",
                                        "ec -pkeyopt ec_paramgen_curve:secp256k1", "ed25519"};
    struct house *h = *state;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        make_pair(h, "a", kinds[i], "DNS:a.localhost");
        assert_int_equal(import(h, "a.pem", "a.key", "a.localhost"), RC_INVAL);
        must_say(h, "cannot use");
    }
}

static void files_that_are_neither_are_refused_by_path(void **state)
{
    struct house *h = *state;

    make_pair(h, "a", EC, "DNS:a.localhost");
    sh(h,
       "printf -- '-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n' >garbage;"
       "printf -- '-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n' >badkey;"
       "echo hello >text; : >empty; mkdir folder; mkfifo fifo;"
       "openssl x509 -in a.pem -outform DER -out der; head -c 300000 /dev/zero | tr '\\0' x >big;"
       "cat a.pem garbage >half; head -n 5 a.pem >cut");
    assert_int_equal(import(h, "garbage", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "garbage");
    assert_int_equal(import(h, "text", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "no PEM certificate");
    assert_int_equal(import(h, "empty", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "no PEM certificate");
    assert_int_equal(import(h, "half", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "half");
    assert_int_equal(import(h, "cut", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "cut");
    assert_int_equal(import(h, "der", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "binary");
    assert_int_equal(import(h, "big", "a.key", "a.localhost"), RC_TOO_LARGE);
    must_say(h, "too large");
    assert_int_equal(import(h, "fifo", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "plain file");
    assert_int_equal(import(h, "folder", "a.key", "a.localhost"), RC_INVAL);
    must_say(h, "plain file");
    assert_int_equal(import(h, "none", "a.key", "a.localhost"), RC_NOT_FOUND);
    must_say(h, "/none");
    assert_int_equal(import(h, "a.pem", "none", "a.localhost"), RC_NOT_FOUND);
    must_say(h, "/none");
    assert_int_equal(import(h, "a.pem", "a.pem", "a.localhost"), RC_INVAL);
    must_say(h, "no PEM private key");
    assert_int_equal(import(h, "a.pem", "badkey", "a.localhost"), RC_INVAL);
    must_say(h, "badkey");
}

static void a_relative_path_is_refused(void **state)
{
    struct house *h = *state;
    const char *host = "a.localhost";
    struct cert_request request = {
        .chain_path = "a.pem", .key_path = "a.key", .hosts = &host, .hosts_nr = 1};

    assert_int_equal(run(h, &request), RC_INVAL);
    must_say(h, "absolute");
}

/* roomkeyd is root, the admin is not: what only root may read is not the admin's to give. */
static void a_file_is_read_with_the_rights_of_who_asks(void **state)
{
    struct house *h = *state;

    if (geteuid() != 0) {
        print_message("needs root\n");
        skip();
    }
    make_pair(h, "a", EC, "DNS:a.localhost");
    sh(h, "chmod 755 .; chmod 600 a.key; chmod 644 a.pem");
    assert_int_equal(import_as(h, 65534, "a.pem", "a.key", "a.localhost"), RC_DENIED);
    must_say(h, "a.key");
    sh(h, "chown 65534 a.key");
    must(h, import_as(h, 65534, "a.pem", "a.key", "a.localhost"));
    must_equal(h, "0 600", "stat -c '%u %a' keys/*");
}

/*----- the helper itself fails -----*/

static void with_helper(struct house *h, const char *script)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/helper", h->scratch.dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
    cert_store_close(h->store);
    open_store(h, path);
}

static enum rc import_any(struct house *h)
{
    const char *host = "a.localhost";
    struct cert_request request = {
        .uid = geteuid(), .gid = getegid(), .hosts = &host, .hosts_nr = 1};

    return run(h, &request);
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FACTS(fingerprint, key_id)                                                 \
    "echo '{\"fingerprint\":\"" fingerprint "\",\"key_id\":\"" key_id              \
    "\",\"key_type\":\"EC\",\"subject\":\"\",\"names\":\"\",\"self_signed\":true," \
    "\"not_before\":1,\"not_after\":2}'"

static void a_helper_that_makes_no_sense_is_refused(void **state)
{
    static const char *const scripts[] = {
        "exit 0",
        "echo nonsense",
        "echo '{}'",
        "echo '{\"rc\":0,\"what\":\"x\"}'; exit 1",
        "echo '{\"rc\":999,\"what\":\"x\"}'; exit 1",
        "kill -9 $$",
        "head -c 100000 /dev/zero",
        /* A hash that would be another file. */
        FACTS("../../x", HASH),
        FACTS(HASH, "../../x"),
    };
    struct house *h = *state;

    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        with_helper(h, scripts[i]);
        assert_int_equal(import_any(h), RC_FAILED);
        must_say(h, "roomkey-keyimport");
    }
    /* … whatever it has said before. */
    with_helper(h, FACTS(HASH, HASH) "; kill -9 $$");
    assert_int_equal(import_any(h), RC_FAILED);
    must_say(h, "signal 9");
    with_helper(h, FACTS(HASH, HASH));
    must(h, import_any(h));
}

static void a_helper_that_is_not_there_is_refused(void **state)
{
    struct house *h = *state;

    cert_store_close(h->store);
    open_store(h, "/nonexistent/roomkey-keyimport");
    assert_int_equal(import_any(h), RC_FAILED);
    must_say(h, "/nonexistent/roomkey-keyimport");
}

static void cancel(uv_prepare_t *prepare)
{
    struct house *h = prepare->data;

    uv_close((uv_handle_t *)prepare, NULL);
    cert_store_cancel(h->store);
}

static void a_helper_that_hangs_is_ended_by_cancel(void **state)
{
    struct house *h = *state;
    uv_prepare_t prepare = {.data = h};

    with_helper(h, "exec sleep 1000");
    assert_int_equal(uv_prepare_init(&h->loop, &prepare), 0);
    assert_int_equal(uv_prepare_start(&prepare, cancel), 0);
    assert_int_equal(import_any(h), RC_CANCELED);
    must_say(h, "stopping");
}

/*----- what is there -----*/

static bool used_is(void *arg, const char *hash)
{
    (void)hash;
    return *(bool *)arg;
}

/* The last key that went, and how many have. */
struct gone {
    char key_id[REGISTRY_HASH_SIZE];
    unsigned nr;
};

static void note_gone(void *arg, const char *key_id)
{
    struct gone *g = arg;

    snprintf(g->key_id, sizeof g->key_id, "%s", key_id);
    g->nr++;
}

static void what_nobody_needs_is_dropped_or_swept(void **state)
{
    struct house *h = *state;
    bool used = true;
    struct cert_store_users users = {.chain = used_is, .key = used_is, .arg = &used};
    struct gone gone = {.nr = 0};
    int fd;

    cert_store_watch_keys(h->store, note_gone, &gone);
    must(h, import_any(h));
    cert_store_drop(h->store, h->facts.fingerprint, h->facts.key_id, &users);
    assert_int_equal(gone.nr, 0);
    assert_int_equal(cert_store_sweep(h->store, &users), RC_OK);
    must_equal(h, "2", "ls -A keys certs | grep -c .pem");
    used = false;
    cert_store_drop(h->store, h->facts.fingerprint, h->facts.key_id, &users);
    must_equal(h, "0", "ls -A keys certs | grep -c .pem || true");
    assert_int_equal(gone.nr, 1);
    assert_string_equal(gone.key_id, h->facts.key_id);
    assert_int_equal(cert_store_chain(h->store, h->facts.fingerprint, &fd), RC_NOT_FOUND);
    assert_int_equal(cert_store_key(h->store, h->facts.key_id, &fd), RC_NOT_FOUND);
    must(h, import_any(h));
    assert_int_equal(cert_store_sweep(h->store, &users), RC_OK);
    must_equal(h, "0", "ls -A keys certs | grep -c .pem || true");
    assert_int_equal(cert_store_chain(h->store, "../x", &fd), RC_INVAL);
    assert_int_equal(cert_store_key(h->store, "../y", &fd), RC_INVAL);
}

static void what_a_crash_left_is_removed_at_the_next_start(void **state)
{
    struct house *h = *state;

    sh(h, "echo half >keys/.import-3; echo half >certs/.import-3");
    cert_store_close(h->store);
    open_store(h, KEYIMPORT);
    must_equal(h, "0", "ls -A keys certs | grep -c import || true");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_ec_pair_is_stored_and_described),
        TEST(rsa_and_p_384_pairs_are_taken),
        TEST(old_key_formats_are_taken),
        TEST(a_chain_with_a_wildcard_is_taken_in_order),
        TEST(a_key_in_the_chain_s_file_stays_out_of_the_store),
        TEST(a_self_signed_pair_covers_its_hosts),
        TEST(as_many_long_hosts_as_a_tenant_may_have_are_covered),
        TEST(two_imports_at_once_do_not_mix),
        TEST(a_date_that_is_over_or_to_come_is_refused),
        TEST(a_key_of_another_pair_is_refused),
        TEST(a_host_that_is_not_covered_is_refused_by_name),
        TEST(an_encrypted_key_is_refused),
        TEST(keys_that_the_front_cannot_serve_with_are_refused),
        TEST(files_that_are_neither_are_refused_by_path),
        TEST(a_relative_path_is_refused),
        TEST(a_file_is_read_with_the_rights_of_who_asks),
        TEST(a_helper_that_makes_no_sense_is_refused),
        TEST(a_helper_that_is_not_there_is_refused),
        TEST(a_helper_that_hangs_is_ended_by_cancel),
        TEST(what_nobody_needs_is_dropped_or_swept),
        TEST(what_a_crash_left_is_removed_at_the_next_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
