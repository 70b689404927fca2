/* Chains and keys that are taken, and those that are refused. */
#include "cert_house.h"

/*----- what is taken -----*/

static void an_ec_pair_is_stored_and_described(void **state)
{
    struct house *h = *state;
    char command[512];
    struct stat st;
    int chain, key;

    house_make_pair(h, "acme", EC, "DNS:acme.localhost,DNS:*.acme.localhost,IP:10.0.0.1");
    house_must(h, house_import(h, "acme.pem", "acme.key", "acme.localhost"));
    assert_string_equal(h->facts.key_type, "EC P-256");
    assert_string_equal(h->facts.names, "acme.localhost,*.acme.localhost");
    assert_string_equal(h->facts.subject, "CN=acme");
    assert_true(h->facts.self_signed);
    assert_int_equal(h->facts.not_after - h->facts.not_before, 30ll * 24 * 3600 * 1000);
    house_must_equal(h, h->facts.fingerprint,
                     "openssl x509 -in acme.pem -outform DER | sha256sum | cut -c1-64");
    house_must_equal(h, h->facts.key_id,
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
    house_must_equal(h, stored, "openssl x509 -in acme.pem -noout -pubkey | sha256sum");
    snprintf(command, sizeof command, "cmp acme.pem certs/%s.pem", h->facts.fingerprint);
    house_sh(h, command);
    house_must_equal(h, "2", "ls -A keys certs | grep -c .pem");
}

static void rsa_and_p_384_pairs_are_taken(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "r", RSA, "DNS:r.localhost");
    house_must(h, house_import(h, "r.pem", "r.key", "r.localhost"));
    assert_string_equal(h->facts.key_type, "RSA 2048");
    house_make_pair(h, "p", "ec -pkeyopt ec_paramgen_curve:P-384", "DNS:p.localhost");
    house_must(h, house_import(h, "p.pem", "p.key", "p.localhost"));
    assert_string_equal(h->facts.key_type, "EC P-384");
}

static void old_key_formats_are_taken(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "e", EC, "DNS:e.localhost");
    house_sh(h, "openssl ec -in e.key -param_out -out params; openssl ec -in e.key -out sec1;"
                "cat params sec1 >both");
    house_must(h, house_import(h, "e.pem", "both", "e.localhost"));
    house_make_pair(h, "r", RSA, "DNS:r.localhost");
    house_sh(h, "openssl rsa -traditional -in r.key -out pkcs1");
    house_must(h, house_import(h, "r.pem", "pkcs1", "r.localhost"));
}

static void make_chain(struct house *h)
{
    house_sh(h, "openssl req -x509 -newkey " EC
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
    house_sh(h, "cat leaf.pem mid.pem root.pem >good; cat mid.pem leaf.pem >swapped;"
                "cat leaf.pem root.pem >gap");
    assert_int_equal(house_import(h, "swapped", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "not the issuer");
    assert_int_equal(house_import(h, "gap", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "certificate 2 is not the issuer of certificate 1");
    house_sh(h, "cat mid.pem root.pem >above");
    assert_int_equal(house_import(h, "above", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "does not match");
    assert_int_equal(house_import(h, "good", "mid.key", "a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "certificate 2 of the chain");
    assert_int_equal(house_import(h, "good", "leaf.key", "x.a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "x.a.leaf.localhost");
    house_must(h, house_import(h, "good", "leaf.key", "a.leaf.localhost"));
    assert_false(h->facts.self_signed);
    house_must(h, house_import(h, "good", "leaf.key", "*.leaf.localhost"));
}

/* People keep both in one file: the key must not go where chains go. */
static void a_key_in_the_chain_s_file_stays_out_of_the_store(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "a", EC, "DNS:a.localhost");
    house_sh(h, "cat a.key a.pem >both.pem");
    house_must(h, house_import(h, "both.pem", "both.pem", "a.localhost"));
    house_must_equal(h, "0", "grep -c PRIVATE certs/* || true");
    house_must_equal(h, "0", "grep -c CERTIFICATE keys/* || true");
}

static void a_self_signed_pair_covers_its_hosts(void **state)
{
    struct house *h = *state;
    const char *hosts[] = {"acme.localhost", "*.acme.localhost"};
    struct cert_request request = {
        .uid = geteuid(), .gid = getegid(), .hosts = hosts, .hosts_nr = 2};
    char command[512];

    house_must(h, house_run(h, &request));
    assert_string_equal(h->facts.names, "acme.localhost,*.acme.localhost");
    assert_string_equal(h->facts.key_type, "EC P-256");
    assert_string_equal(h->facts.subject, "CN=acme.localhost");
    assert_true(h->facts.self_signed);
    snprintf(command, sizeof command,
             "openssl verify -purpose sslserver -verify_hostname x.acme.localhost -CAfile "
             "certs/%s.pem certs/%s.pem | sed 's/.*: //'",
             h->facts.fingerprint, h->facts.fingerprint);
    house_must_equal(h, "OK", command);
    /* Again is another key. */
    char first[REGISTRY_HASH_SIZE];
    strcpy(first, h->facts.key_id);
    house_must(h, house_run(h, &request));
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
    house_must(h, house_run(h, &request));
    assert_non_null(strstr(h->facts.names, names[REGISTRY_HOSTS_MAX - 1]));
}

static void two_imports_at_once_do_not_mix(void **state)
{
    struct house *h = *state;
    const char *a = "a.localhost", *b = "b.localhost";
    struct cert_request ra = {.uid = geteuid(), .gid = getegid(), .hosts = &a, .hosts_nr = 1},
                        rb = {.uid = geteuid(), .gid = getegid(), .hosts = &b, .hosts_nr = 1};

    assert_int_equal(cert_store_import(h->store, &ra, house_on_imported, h, &h->no), RC_OK);
    assert_int_equal(cert_store_import(h->store, &rb, house_on_imported, h, &h->no), RC_OK);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(h->called, 2);
    house_must(h, h->rc);
    house_must_equal(h, "4", "ls -A keys certs | grep -c .pem");
}

/*----- what is refused -----*/

static void a_date_that_is_over_or_to_come_is_refused(void **state)
{
    struct house *h = *state;

    make_chain(h);
    house_sh(
        h, "touch index; echo 01 >serial; printf '[ca]\\ndefault_ca=d\\n[d]\\nnew_certs_dir=.\\n"
           "database=index\\nserial=serial\\ndefault_md=sha256\\npolicy=p\\n[p]\\n"
           "commonName=supplied\\n' >ca.cnf;"
           "sign() { openssl ca -batch -config ca.cnf -in leaf.csr -cert mid.pem -keyfile mid.key "
           "-extfile leaf.ext -notext -startdate $1 -enddate $2 -out $3; };"
           "sign 20200101000000Z 20210101000000Z old; : >index; "
           "sign 20900101000000Z 20910101000000Z new");
    assert_int_equal(house_import(h, "old", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "expired on 2021-01-01");
    assert_int_equal(house_import(h, "new", "leaf.key", "a.leaf.localhost"), RC_INVAL);
    house_must_say(h, "not valid yet");
}

static void a_key_of_another_pair_is_refused(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "a", EC, "DNS:a.localhost");
    house_make_pair(h, "b", EC, "DNS:a.localhost");
    house_make_pair(h, "r", RSA, "DNS:a.localhost");
    assert_int_equal(house_import(h, "a.pem", "b.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "does not match");
    assert_int_equal(house_import(h, "a.pem", "r.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "does not match");
}

static void a_host_that_is_not_covered_is_refused_by_name(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "a", EC, "DNS:a.localhost");
    assert_int_equal(house_import(h, "a.pem", "a.key", "b.localhost"), RC_INVAL);
    house_must_say(h, "b.localhost");
    house_make_pair(h, "c.localhost", EC, "");
    assert_int_equal(house_import(h, "c.localhost.pem", "c.localhost.key", "c.localhost"),
                     RC_INVAL);
    house_must_say(h, "no subject alternative names");
}

static void an_encrypted_key_is_refused(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "a", EC, "DNS:a.localhost");
    house_sh(h, "openssl pkey -in a.key -aes256 -passout pass:secret -out new.key;"
                "openssl ec -in a.key -aes256 -passout pass:secret -out old.key");
    assert_int_equal(house_import(h, "a.pem", "new.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "encrypted");
    assert_int_equal(house_import(h, "a.pem", "old.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "encrypted");
}

static void keys_that_the_front_cannot_serve_with_are_refused(void **state)
{
    static const char *const kinds[] = {"rsa:1024", "ec -pkeyopt ec_paramgen_curve:P-521",
                                        "ec -pkeyopt ec_paramgen_curve:secp256k1", "ed25519"};
    struct house *h = *state;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        house_make_pair(h, "a", kinds[i], "DNS:a.localhost");
        assert_int_equal(house_import(h, "a.pem", "a.key", "a.localhost"), RC_INVAL);
        house_must_say(h, "cannot use");
    }
}

static void files_that_are_neither_are_refused_by_path(void **state)
{
    struct house *h = *state;

    house_make_pair(h, "a", EC, "DNS:a.localhost");
    house_sh(
        h,
        "printf -- '-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n' >garbage;"
        "printf -- '-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n' >badkey;"
        "echo hello >text; : >empty; mkdir folder; mkfifo fifo;"
        "openssl x509 -in a.pem -outform DER -out der; head -c 300000 /dev/zero | tr '\\0' x >big;"
        "cat a.pem garbage >half; head -n 5 a.pem >cut");
    assert_int_equal(house_import(h, "garbage", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "garbage");
    assert_int_equal(house_import(h, "text", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "no PEM certificate");
    assert_int_equal(house_import(h, "empty", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "no PEM certificate");
    assert_int_equal(house_import(h, "half", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "half");
    assert_int_equal(house_import(h, "cut", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "cut");
    assert_int_equal(house_import(h, "der", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "binary");
    assert_int_equal(house_import(h, "big", "a.key", "a.localhost"), RC_TOO_LARGE);
    house_must_say(h, "too large");
    assert_int_equal(house_import(h, "fifo", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "plain file");
    assert_int_equal(house_import(h, "folder", "a.key", "a.localhost"), RC_INVAL);
    house_must_say(h, "plain file");
    assert_int_equal(house_import(h, "none", "a.key", "a.localhost"), RC_NOT_FOUND);
    house_must_say(h, "/none");
    assert_int_equal(house_import(h, "a.pem", "none", "a.localhost"), RC_NOT_FOUND);
    house_must_say(h, "/none");
    assert_int_equal(house_import(h, "a.pem", "a.pem", "a.localhost"), RC_INVAL);
    house_must_say(h, "no PEM private key");
    assert_int_equal(house_import(h, "a.pem", "badkey", "a.localhost"), RC_INVAL);
    house_must_say(h, "badkey");
}

static void a_relative_path_is_refused(void **state)
{
    struct house *h = *state;
    const char *host = "a.localhost";
    struct cert_request request = {
        .chain_path = "a.pem", .key_path = "a.key", .hosts = &host, .hosts_nr = 1};

    assert_int_equal(house_run(h, &request), RC_INVAL);
    house_must_say(h, "absolute");
}

/* roomkeyd is root, the admin is not: what only root may read is not the admin's to give. */
static void a_file_is_read_with_the_rights_of_who_asks(void **state)
{
    struct house *h = *state;

    if (geteuid() != 0) {
        print_message("needs root\n");
        skip();
    }
    house_make_pair(h, "a", EC, "DNS:a.localhost");
    house_sh(h, "chmod 755 .; chmod 600 a.key; chmod 644 a.pem");
    assert_int_equal(house_import_as(h, 65534, "a.pem", "a.key", "a.localhost"), RC_DENIED);
    house_must_say(h, "a.key");
    house_sh(h, "chown 65534 a.key");
    house_must(h, house_import_as(h, 65534, "a.pem", "a.key", "a.localhost"));
    house_must_equal(h, "0 600", "stat -c '%u %a' keys/*");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
