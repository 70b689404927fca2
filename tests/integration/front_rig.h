/* The real roomkey-front between a fake roomkeyd, fake tenants and real OpenSSL
 * clients, all of them this test, one step after the other.
 *
 * A step waits for its event with a deadline and fails the test when it does not
 * come.  What the front says on stderr goes to the test's. */
#ifndef TESTS_FRONT_RIG_H
#define TESTS_FRONT_RIG_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

#include "common/core/control.h"
#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/core/ring.h"
#include "tests/unit/unit.h"

#define RIG_NAME     "acme.example"
#define RIG_TENANT   7u
#define RIG_INSTANCE 41u
#define RIG_WAIT_MS  10000

struct rig {
    char dir[64];
    pid_t front, worker;
    pid_t keys;   /* gives the agent its keys: front_keys.h */
    int log;      /* the front's stderr */
    int listener; /* RUN/front.sock */
    int orch;     /* the worker's connection */
    int port, http_port;
};

/* Descriptors that the front is allowed; 0: as many as the test. */
extern unsigned rig_files;

/* The certificates that rig_route() gives, by name: ec (P-256), p384, rsa.  NULL: ec
 * and rsa. */
extern const char *const *rig_certs;

/* Starts the front with one worker and the options in `extra` (NULL-terminated,
 * may be NULL); back when the worker is in step with the fake roomkeyd. */
void rig_start(struct rig *r, const char *const *extra);
/* SIGTERM; the front must exit with 0. */
void rig_stop(struct rig *r);
/* Takes the next connection to RUN/front.sock, up to SYNCED; HOLDING are counted. */
unsigned rig_greet(struct rig *r);
/* The key agent that is there; waits for one that is not `before` (0: any). */
pid_t rig_agent(struct rig *r, pid_t before);
/* roomkeyd is gone, with its sockets; another listens. */
void rig_orch_dies(struct rig *r);

/* A socket of the worker's, as whoever has broken into it has it: root's only.  Of its two pairs
 * the one to its parent came first. */
enum rig_socket { RIG_TO_PARENT, RIG_TO_AGENT };
int rig_taken(struct rig *r, enum rig_socket which);

/* The next message of this type; STATS and ACTIVITY in front of it are dropped. */
void rig_expect(struct rig *r, enum control_type type, struct control_msg *m);
void rig_send(struct rig *r, const struct control_msg *m, const int *fds, size_t nfds);
/* ROUTE with rig_certs; or "as before" with `certs` false. */
void rig_route(struct rig *r, uint64_t request, uint32_t wake_timeout_ms, bool certs);
void rig_refuse(struct rig *r, uint64_t request, enum rc why);

/*----- a tenant -----*/

struct rig_tenant {
    int memory, bell, worker_bell;
    void *mem;
    size_t len;
    struct ring ring; /* as server */
    uint64_t generation;
    bool greeted;
};

/* Ring memory with its HELLO on it. */
void rig_tenant_make(struct rig_tenant *t, uint64_t generation);
void rig_tenant_free(struct rig_tenant *t);
/* READY for it, as instance RIG_INSTANCE + generation. */
void rig_ready(struct rig *r, uint64_t request, struct rig_tenant *t);

struct rig_frame {
    struct mux_head head;
    uint8_t payload[MUX_PAYLOAD_MAX];
};
/* The next frame must be of this type; CREDIT in front of it is dropped unless
 * asked for. */
void rig_take(struct rig_tenant *t, enum mux_type type, struct rig_frame *f);
/* OPEN, decoded. */
uint64_t rig_take_open(struct rig_tenant *t, struct handover *h);
void rig_put(struct rig_tenant *t, enum mux_type type, uint64_t conn, const void *p, size_t n);
void rig_ring_worker(struct rig_tenant *t);
/* Waits until the worker has taken all frames. */
void rig_wait_taken(struct rig_tenant *t);
/* Waits until the worker rings. */
void rig_wait_bell(struct rig_tenant *t);

/*----- a client -----*/

struct rig_client {
    int fd;
    SSL *ssl; /* NULL: plain */
};

struct rig_tls {
    int version;         /* TLS1_2_VERSION …; 0: any */
    const char *suite;   /* of that version; NULL: any */
    const char *name;    /* NULL: RIG_NAME */
    SSL_SESSION *resume; /* or NULL */
    const char *sigalgs; /* signatures that it takes; NULL: any */
    int receive;         /* bytes of its socket's buffer; 0: as the kernel likes */
};

void rig_connect(struct rig *r, struct rig_client *c);
/* Sends the ClientHello. */
void rig_hello(struct rig *r, struct rig_client *c, const struct rig_tls *how);
/* Until the handshake is over; false when it failed. */
bool rig_shake(struct rig_client *c);
void rig_write(struct rig_client *c, const void *p, size_t n);
/* Exactly `n` plaintext bytes. */
void rig_read(struct rig_client *c, void *p, size_t n);
/* Until the end: how many bytes came; *clean: close_notify did too. */
size_t rig_read_all(struct rig_client *c, char *p, size_t size, bool *clean);
/* On the bare socket: bytes until EOF (0 there), or -1 when reset. */
ssize_t rig_raw(struct rig_client *c, void *p, size_t size);
void rig_hang_up(struct rig_client *c, bool reset);

#endif
