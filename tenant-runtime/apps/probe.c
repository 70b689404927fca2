/* probe: what tests and benchmarks ask an image to do.
 *
 *   GET  /version      its version and a newline
 *   GET  /bytes/N      N bytes, up to 2^40; byte i is (i * 31 + 7) mod 251
 *   POST /sha256       digest of the body, in hex
 *   POST /echo         the body, while it still comes
 *   GET  /sleep/MS     answers after MS milliseconds
 *   GET  /handover     JSON: what the front told about this connection
 *   GET  /busy/MS      takes a busy lease for MS milliseconds, answers at once
 *   GET  /crash        dies
 *
 * HEAD goes where GET goes.  A number that is none is 400. */
#include <ctype.h>
#include <errno.h>
#include <mbedtls/sha256.h>
#include <roomkey/app.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT   "text/plain"
#define BYTES  "application/octet-stream"
#define PERIOD 251u /* the bytes repeat: 31 and 251 have no common divisor */
#define CHUNK  ((size_t)PERIOD * 261)

static uint8_t pattern[PERIOD + CHUNK];

static int start(void)
{
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)((i * 31 + 7) % PERIOD);
    return 0;
}

/* A decimal number up to `max`, and nothing else. */
static bool number(const char *s, uint64_t max, uint64_t *out)
{
    unsigned long long v;
    char *end;

    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    v = strtoull(s, &end, 10);
    if (*end || errno || v > max)
        return false;
    *out = v;
    return true;
}

/*----- one function a path -----*/

static void version(struct rk_request *req, uint64_t unused)
{
    (void)unused;
    rk_replyf(req, 200, TEXT, "%s\n", rk_version());
}

static void bytes(struct rk_request *req, uint64_t n)
{
    if (rk_begin(req, 200, BYTES, (int64_t)n))
        return;
    if (strcmp(rk_method(req), "HEAD") == 0)
        return;
    for (uint64_t at = 0; at < n; at += CHUNK) { /* CHUNK is whole periods */
        uint64_t left = n - at;

        if (rk_write(req, pattern, left < CHUNK ? left : CHUNK))
            return;
    }
}

static void sha256(struct rk_request *req, uint64_t unused)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t buf[16384], digest[32];
    char hex[2 * sizeof digest + 1];
    mbedtls_sha256_context sha;
    ptrdiff_t n;

    (void)unused;
    mbedtls_sha256_init(&sha);
    if (mbedtls_sha256_starts(&sha, 0))
        goto out;
    while ((n = rk_read(req, buf, sizeof buf)) > 0)
        if (mbedtls_sha256_update(&sha, buf, (size_t)n))
            goto out;
    if (n < 0 || mbedtls_sha256_finish(&sha, digest))
        goto out;
    for (size_t i = 0; i < sizeof digest; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[sizeof hex - 1] = '\n';
    rk_reply(req, 200, TEXT, hex, sizeof hex);
out:
    mbedtls_sha256_free(&sha);
}

static void echo(struct rk_request *req, uint64_t unused)
{
    uint8_t buf[16384];
    ptrdiff_t n;

    (void)unused;
    if (rk_begin(req, 200, BYTES, rk_length(req)))
        return;
    while ((n = rk_read(req, buf, sizeof buf)) > 0)
        if (rk_write(req, buf, (size_t)n))
            return;
}

static void sleep_ms(struct rk_request *req, uint64_t ms)
{
    if (rk_sleep(req, ms) == 0)
        rk_replyf(req, 200, TEXT, "slept %llu ms\n", (unsigned long long)ms);
}

static void busy(struct rk_request *req, uint64_t ms)
{
    if (rk_busy(ms))
        rk_replyf(req, 200, TEXT, "busy for %llu ms\n", (unsigned long long)ms);
    else
        rk_replyf(req, 503, TEXT, "too many leases are held: wait for one to end\n");
}

static void crash(struct rk_request *req, uint64_t unused)
{
    (void)req, (void)unused;
    abort();
}

/* A JSON string of `s`, in quotes, at most `size` bytes with its NUL. */
static const char *json(char *to, size_t size, const char *s)
{
    size_t n = 0;

    to[n++] = '"';
    for (; *s && n + 8 < size; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\' || c < ' ' || c >= 0x7f) /* no claim that it is UTF-8 */
            n += (size_t)snprintf(to + n, size - n, "\\u%04x", c);
        else
            to[n++] = (char)c;
    }
    to[n++] = '"';
    to[n] = '\0';
    return to;
}

static void handover(struct rk_request *req, uint64_t unused)
{
    char sni[1600], alpn[256], addr[320];
    struct rk_connection c;

    (void)unused;
    rk_connection(req, &c);
    rk_replyf(req, 200, "application/json",
              "{\"tls_version\":\"%s\",\"suite\":\"%s\",\"sni\":%s,\"alpn\":%s,"
              "\"client_addr\":%s,\"client_port\":%u,\"resumed\":%s,\"woken\":%s,"
              "\"times\":{\"hello_unix_ms\":%lld,\"route_us\":%u,\"boot_asked_us\":%u,"
              "\"boot_done_us\":%u,\"handshake_us\":%u,\"handover_us\":%u,"
              "\"first_byte_us\":%u}}\n",
              c.tls_version, c.suite, json(sni, sizeof sni, c.sni), json(alpn, sizeof alpn, c.alpn),
              json(addr, sizeof addr, c.client_addr), (unsigned)c.client_port,
              c.resumed ? "true" : "false", c.woken ? "true" : "false",
              (long long)c.times.hello_unix_ms, (unsigned)c.times.route_us,
              (unsigned)c.times.boot_asked_us, (unsigned)c.times.boot_done_us,
              (unsigned)c.times.handshake_us, (unsigned)c.times.handover_us,
              (unsigned)c.times.first_byte_us);
}

/*----- which -----*/

static const struct route {
    const char *method, *path; /* a path that ends in '/' wants a number behind it */
    uint64_t max;
    void (*serve)(struct rk_request *req, uint64_t number);
} routes[] = {
    {"GET", "/version", 0, version},          {"GET", "/bytes/", UINT64_C(1) << 40, bytes},
    {"POST", "/sha256", 0, sha256},           {"POST", "/echo", 0, echo},
    {"GET", "/sleep/", UINT32_MAX, sleep_ms}, {"GET", "/handover", 0, handover},
    {"GET", "/busy/", UINT32_MAX, busy},      {"GET", "/crash", 0, crash},
};

static void serve(struct rk_request *req)
{
    const char *path = rk_path(req), *method = rk_method(req);
    uint64_t n = 0;

    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const struct route *r = &routes[i];
        size_t len = strlen(r->path);
        bool counts = r->path[len - 1] == '/';

        if (counts ? strncmp(path, r->path, len) != 0 : strcmp(path, r->path) != 0)
            continue;
        if (strcmp(method, r->method) != 0) {
            if (rk_begin(req, 405, TEXT, 0) == 0)
                rk_set(req, "Allow", r->method);
        } else if (counts && !number(path + len, r->max, &n)) {
            rk_replyf(req, 400, TEXT, "%sN wants a number from 0 to %llu\n", r->path,
                      (unsigned long long)r->max);
        } else {
            r->serve(req, n);
        }
        return;
    }
    rk_replyf(req, 404, TEXT, "no such path\n");
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_start = start, .on_request = serve);
