/* roomkey/app.h: what an app is written against.
 *
 *     #include <roomkey/app.h>
 *
 *     static void serve(struct rk_request *req)
 *     {
 *         rk_reply(req, 200, "text/plain", "hello\n", 6);
 *     }
 *
 *     ROOMKEY_APP("greeter", "1.0.0", .on_request = serve);
 *
 * `roomkey-cc greeter.c -o greeter.img` makes one image file of it, that runs as
 * a sandboxed process and as a virtual machine, unchanged.
 *
 * The runtime is one thread.  Each request runs in a fiber of its own, from
 * on_request's call to its return, so handlers are written straight on: a call
 * that has to wait (rk_read, rk_write, rk_sleep, rk_reply) lets the others run
 * meanwhile.  Between such calls nothing else runs: no locks are needed, and a
 * handler that computes for long holds up all others.  A fiber's stack is 64 KiB:
 * what is larger belongs on the heap, and a stack that runs over ends the instance.
 * When the client is gone these calls return RK_GONE; clean up and return.
 *
 * An app has its memory, the clock and the connections that it is handed: no files,
 * sockets, threads or processes.  A call of the C library that needs one ends the
 * instance.  What it prints is in the tenant's log, a line at a time, as with rk_log.
 *
 * A request, and every string got from it, lives until on_request returns. */
#ifndef ROOMKEY_APP_H
#define ROOMKEY_APP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rk_request;

/* Negative results of calls that return a count. */
enum {
    RK_GONE = -1,    /* the client is gone, its body broke off, or the instance is
                        being stopped: return; what is left to say the runtime says */
    RK_INVALID = -2, /* the call makes no sense now: headers after the body … */
    RK_NOMEM = -3,
    RK_TOO_LARGE = -4, /* the body is larger than the app's max_body */
};

struct rk_app {
    /* Before any request; 0 for ready.  Anything else: the version is broken, and
     * is rolled back.  May be NULL. */
    int (*on_start)(void);
    /* Serves one request, in a fiber.  One that returns without an answer sends a
     * 500; one whose body is not all read is the runtime's to finish. */
    void (*on_request)(struct rk_request *req);
    /* Before the instance goes away; all requests have ended.  May be NULL. */
    void (*on_stop)(void);
    /* True while all is well; asked by the orchestrator.  May be NULL. */
    bool (*on_health)(void);
    uint64_t max_body; /* bytes of a request's body; 0: no limit */
    /* How long a client may take, in milliseconds; 0: as docs/CONFIG.md has it. */
    uint32_t idle_ms;  /* between requests: then close_notify (75 s) */
    uint32_t head_ms;  /* for a request's head, from its first byte: then 408 (10 s) */
    uint32_t read_ms;  /* for more of a body, in rk_read: then 408 (60 s); 500 bytes buy a second */
    uint32_t write_ms; /* to take 16 KiB more of an answer, in rk_write: then a reset (60 s) */
};

/*----- the request -----*/

const char *rk_method(const struct rk_request *req); /* "GET", … */
const char *rk_target(const struct rk_request *req); /* as sent: "/a%20b?c=d" */
const char *rk_path(const struct rk_request *req);   /* before any '?', decoded never */
const char *rk_query(const struct rk_request *req);  /* after '?', or "" */
const char *rk_host(const struct rk_request *req);   /* lower case, no port */
/* The first field of that name in any case, or NULL. */
const char *rk_header(const struct rk_request *req, const char *name);

/* Bytes of the body, 0 when there is none, -1 when they come in chunks. */
int64_t rk_length(const struct rk_request *req);

/* Waits for body bytes: how many were put in `buf` (at most `size`), 0 at the
 * end, or negative.  Answers an Expect: 100-continue on first use. */
ptrdiff_t rk_read(struct rk_request *req, void *buf, size_t size);

/*----- the answer -----*/

/* Whole answer in one call.  `len` bytes at `body`.  0 or negative. */
int rk_reply(struct rk_request *req, int status, const char *content_type, const void *body,
             size_t len);
/* Same with a printf-formatted body. */
__attribute__((format(printf, 4, 5))) int rk_replyf(struct rk_request *req, int status,
                                                    const char *content_type, const char *fmt, ...);

/* Or piece by piece: rk_begin, rk_set for further fields, then rk_write … and the
 * handler's return ends the body.  `status` is 200 … 599.  `length` is the body's,
 * -1 if not known (chunked, or until close for HTTP/1.0); writing more than `length`
 * is RK_INVALID, returning with less resets the connection.  To HEAD the body is
 * left out, whatever is written. */
int rk_begin(struct rk_request *req, int status, const char *content_type, int64_t length);
/* A field, before the first rk_write.  RK_INVALID on CR, LF or NUL in it, and for
 * those that are the runtime's: Connection, Content-Length, Transfer-Encoding, Date
 * and their like.  RK_TOO_LARGE when all fields are more than 8 KiB. */
int rk_set(struct rk_request *req, const char *name, const char *value);
/* Waits until `len` bytes are taken; backpressure is felt here.  Small pieces are
 * collected and sent when the handler waits or returns.  0 or negative. */
int rk_write(struct rk_request *req, const void *buf, size_t len);

/*----- the connection, as the front handed it over (never a key) -----*/

struct rk_times { /* µs after the ClientHello came; 0: did not happen */
    int64_t hello_unix_ms;
    uint32_t route_us, boot_asked_us, boot_done_us, handshake_us, handover_us;
    uint32_t first_byte_us; /* until the first byte of an answer was written;
                               before that: until now */
};
struct rk_connection {
    const char *tls_version; /* "TLSv1.3" */
    const char *suite;       /* the registry's name */
    const char *sni;
    const char *alpn; /* "" when none was agreed on */
    const char *client_addr;
    uint16_t client_port;
    bool resumed;
    bool woken; /* this connection woke the instance */
    struct rk_times times;
};
void rk_connection(const struct rk_request *req, struct rk_connection *out);

/*----- the instance -----*/

const char *rk_tenant(void);  /* name of the tenant this instance is of */
const char *rk_name(void);    /* of the image's manifest */
const char *rk_version(void); /* of the image's manifest */
uint64_t rk_generation(void);

/* Keeps the instance from being idle for `ms` milliseconds at most, whatever its
 * connections do.  A lease id, or 0 when there are too many (64). */
uint32_t rk_busy(uint64_t ms);
void rk_busy_end(uint32_t lease);

uint64_t rk_now_ns(void);                          /* monotonic */
int64_t rk_unix_ms(void);                          /* wall clock */
int rk_sleep(struct rk_request *req, uint64_t ms); /* 0, or RK_GONE at once */
void rk_random(void *buf, size_t len);             /* cryptographic; never fails */

enum rk_level { RK_ERROR = 3, RK_WARNING = 4, RK_INFO = 6, RK_DEBUG = 7 };
__attribute__((format(printf, 2, 3))) void rk_log(enum rk_level level, const char *fmt, ...);

/*----- the manifest (schema/wire/image.md) -----*/

/* ROOMKEY_APP(name, version, .on_request = …, …): exactly once in an image.  To
 * ask for more memory than 8 MiB define ROOMKEY_MEMORY_KIB before the include. */
#ifndef ROOMKEY_MEMORY_KIB
#define ROOMKEY_MEMORY_KIB 8192
#endif
#define ROOMKEY_ABI  1
#define ROOMKEY_ALPN "http/1.1"

#define ROOMKEY_TEXT(field, s) \
    uint16_t field##_len;      \
    char field[sizeof(s) - 1]

#define ROOMKEY_APP(name_, version_, ...)                                       \
    const struct rk_app rk_app = {__VA_ARGS__};                                 \
    const char rk_app_name[] = name_;                                           \
    const char rk_app_version[] = version_;                                     \
    struct __attribute__((packed)) rk_manifest {                                \
        uint16_t manifest_version, abi;                                         \
        uint32_t memory_kib;                                                    \
        ROOMKEY_TEXT(name, name_);                                              \
        ROOMKEY_TEXT(version, version_);                                        \
        ROOMKEY_TEXT(alpn, ROOMKEY_ALPN);                                       \
    };                                                                          \
    __attribute__((section(".note.roomkey"), used, aligned(4))) const struct {  \
        uint32_t namesz, descsz, type;                                          \
        char vendor[8];                                                         \
        struct rk_manifest desc;                                                \
    } rk_note = {8,                                                             \
                 sizeof(struct rk_manifest),                                    \
                 1,                                                             \
                 "Roomkey",                                                     \
                 {1, ROOMKEY_ABI, ROOMKEY_MEMORY_KIB, sizeof(name_) - 1, name_, \
                  sizeof(version_) - 1, version_, sizeof(ROOMKEY_ALPN) - 1, ROOMKEY_ALPN}}

extern const struct rk_app rk_app;
extern const char rk_app_name[], rk_app_version[];

#endif
