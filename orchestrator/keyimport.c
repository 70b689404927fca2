#include "orchestrator/keyimport.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <mbedtls/entropy.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/secret.h"
#include "orchestrator/files.h"

static const char usage[] = "usage: roomkey-keyimport UID GID pair CHAIN KEY HOST...\n"
                            "       roomkey-keyimport UID GID self-signed HOST...\n"
                            "Started by roomkeyd, which gives the files to be filled as "
                            "descriptors 3 (key) and 4 (chain).\n";

/* Static, so that there is one place to wipe. */
static unsigned char key_in[KEYIMPORT_KEY_MAX + 1], key_out[KEYIMPORT_KEY_MAX];
static unsigned char chain_in[KEYIMPORT_CHAIN_MAX + 1], chain_out[KEYIMPORT_CHAIN_MAX];

/*----- privileges -----*/

static enum rc refuse_user(struct refusal *no, const char *what)
{
    refusal_what(no, RC_DENIED, "cannot read files as the user who asks");
    refusal_why(no, "%s: %s", what, strerror(errno));
    return refusal_todo(no, "run roomkeyd as root, or ask as the user that it runs as");
}

/* For good, and with the user's own groups: ssl-cert, for one, may read /etc/ssl/private. */
static enum rc become(uid_t uid, gid_t gid, struct refusal *no)
{
    const struct passwd *user;

    if (geteuid() == uid && (uid == 0 || getuid() == uid))
        return RC_OK;
    if (geteuid() != 0) {
        errno = EPERM;
        return refuse_user(no, "roomkeyd is not root");
    }
    user = getpwuid(uid);
    if ((user ? initgroups(user->pw_name, gid) : setgroups(1, &gid)) != 0)
        return refuse_user(no, "setgroups");
    if (setresgid(gid, gid, gid) != 0)
        return refuse_user(no, "setresgid");
    if (setresuid(uid, uid, uid) != 0)
        return refuse_user(no, "setresuid");
    if (setresuid(0, 0, 0) == 0) {
        errno = 0;
        return refuse_user(no, "root could be had back");
    }
    return RC_OK;
}

/*----- files -----*/

static enum rc refuse_file(struct refusal *no, const char *path, enum rc rc, const char *why,
                           const char *todo)
{
    refusal_what(no, rc, "cannot read %.256s", path);
    refusal_why(no, "%s", why);
    return refusal_todo(no, "%s", todo);
}

/* The whole file and a NUL, which *len counts; `size` bytes of room. */
static enum rc slurp(const char *path, unsigned char *buf, size_t size, size_t *len,
                     struct refusal *no)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    size_t used = 0;
    ssize_t n = 0;

    if (fd < 0)
        return refuse_file(no, path, files_rc(errno), strerror(errno),
                           "give a file that you may read");
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return refuse_file(no, path, RC_INVAL, "it is not a plain file", "give a plain file");
    }
    while (used < size && (n = read(fd, buf + used, size - used)) > 0)
        used += (size_t)n;
    close(fd);
    if (n < 0)
        return refuse_file(no, path, RC_IO, "reading failed", "look at the disk");
    if (used == size)
        return refuse_file(no, path, RC_TOO_LARGE, "it is too large to be what it should be",
                           "give a PEM file");
    if (memchr(buf, 0, used))
        return refuse_file(no, path, RC_INVAL, "it is not a PEM file: it holds binary data",
                           "convert it: openssl x509 or openssl pkey, with -inform DER");
    buf[used] = '\0';
    *len = used + 1;
    return RC_OK;
}

static enum rc fill(int fd, const unsigned char *pem, size_t len, struct refusal *no)
{
    enum rc rc = files_write(fd, pem, len);

    if (!rc && fsync(fd) != 0)
        rc = files_rc(errno);
    if (!rc)
        return RC_OK;
    refusal_what(no, rc, "cannot store the certificate and its key");
    refusal_why(no, "%s", rc == RC_FULL ? "the disk of the state folder is full" : rc_text(rc));
    return refusal_todo(no, "make room there, then try again");
}

static enum rc put(const struct keyimport *k, struct refusal *no)
{
    size_t key_len = 0, chain_len = 0;
    enum rc rc = keyimport_key_pem(k, key_out, sizeof key_out, &key_len);

    if (!rc)
        rc = keyimport_chain_pem(k, chain_out, sizeof chain_out, &chain_len);
    if (rc) {
        refusal_what(no, rc, "cannot write the certificate and its key as PEM");
        refusal_why(no, "%s", rc_text(rc));
        return refusal_todo(no, "leave only the leaf and its intermediates in the chain");
    }
    rc = fill(KEYIMPORT_CHAIN_FD, chain_out, chain_len, no);
    if (!rc)
        rc = fill(KEYIMPORT_KEY_FD, key_out, key_len, no);
    if (rc && (ftruncate(KEYIMPORT_KEY_FD, 0) != 0 || ftruncate(KEYIMPORT_CHAIN_FD, 0) != 0))
        refusal_why(no, "%s", strerror(errno));
    return rc;
}

/*----- the story -----*/

static enum rc take_pair(struct keyimport *k, const char *chain_path, const char *key_path,
                         struct refusal *no)
{
    size_t len = 0;
    enum rc rc = slurp(chain_path, chain_in, sizeof chain_in, &len, no);

    if (!rc)
        rc = keyimport_chain(k, chain_path, chain_in, len, time(NULL), no);
    if (!rc)
        rc = slurp(key_path, key_in, sizeof key_in, &len, no);
    if (!rc)
        rc = keyimport_key(k, key_path, key_in, len, no);
    return rc;
}

static enum rc run(struct keyimport *k, const char *chain_path, const char *key_path,
                   struct refusal *no)
{
    enum rc rc = chain_path ? take_pair(k, chain_path, key_path, no)
                            : keyimport_self_signed(k, time(NULL), no);

    if (!rc)
        rc = keyimport_match(k, no);
    return rc ? rc : put(k, no);
}

static int tell(enum rc rc, const struct registry_certificate *f, const struct refusal *no)
{
    json_t *line =
        rc ? json_pack("{s:i, s:s, s:s, s:s}", "rc", (int)rc, "what", no->what, "why", no->why,
                       "todo", no->todo)
           : json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I}", "fingerprint", f->fingerprint,
                       "key_id", f->key_id, "key_type", f->key_type, "subject", f->subject, "names",
                       f->names, "self_signed", f->self_signed, "not_before",
                       (json_int_t)f->not_before, "not_after", (json_int_t)f->not_after);
    int failed = !line || json_dumpf(line, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF ||
                 fflush(stdout) != 0;

    json_decref(line);
    return rc || failed ? 1 : 0;
}

/* Arguments are roomkeyd's: they are checked, but not explained to anybody. */
static bool parse(int argc, char **argv, uid_t *uid, gid_t *gid, int *first_host)
{
    char *end_uid, *end_gid;

    if (argc < 5)
        return false;
    *uid = (uid_t)strtoul(argv[1], &end_uid, 10);
    *gid = (gid_t)strtoul(argv[2], &end_gid, 10);
    *first_host = strcmp(argv[3], "pair") == 0 ? 6 : strcmp(argv[3], "self-signed") == 0 ? 4 : argc;
    return argv[1][0] && argv[2][0] && !*end_uid && !*end_gid && *first_host < argc &&
           argc - *first_host <= REGISTRY_HOSTS_MAX;
}

int main(int argc, char **argv)
{
    static struct keyimport k;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    struct refusal no;
    bool pair;
    int first_host, status;
    uid_t uid;
    gid_t gid;
    enum rc rc;

    if (!parse(argc, argv, &uid, &gid, &first_host)) {
        fputs(usage, argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    pair = first_host == 6;
    /* Neither a core file nor a debugger of the same user gets at the key. */
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    rc = become(uid, gid, &no);
    if (prctl(PR_SET_DUMPABLE, 0) != 0 && !rc)
        rc = refuse_user(&no, "prctl");

    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_pk_init(&k.key);
    mbedtls_x509_crt_init(&k.chain);
    k.random = &random;
    k.hosts = (const char *const *)(argv + first_host);
    k.hosts_nr = (size_t)(argc - first_host);
    if (!rc && mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0) != 0)
        rc = refusal_what(&no, RC_CRYPTO, "cannot import a key: there is no randomness");
    if (!rc)
        rc = run(&k, pair ? argv[4] : NULL, pair ? argv[5] : NULL, &no);

    mbedtls_pk_free(&k.key);
    mbedtls_x509_crt_free(&k.chain);
    mbedtls_ctr_drbg_free(&random);
    mbedtls_entropy_free(&entropy);
    secret_wipe(key_in, sizeof key_in);
    secret_wipe(key_out, sizeof key_out);
    /* A chain's file may hold the key as well. */
    secret_wipe(chain_in, sizeof chain_in);
    status = tell(rc, &k.facts, &no);
    return status;
}
